//! What a head is fitted to: labels counted per cell of pixels that share a logit.
//!
//! Where a head's last step doubles each logit, a cell of two by two pixels shares one logit z. Its part of the loss is
//! `n1*softplus(-z) + n0*softplus(z)` with n1 wet and n0 dry labelled pixels, and its derivative
//! `(n0 + n1)*sigmoid(z) - n1`: the doubling need not be done, and nothing is lost. Elsewhere a cell is a pixel.

use crate::{
    domain::Confusion,
    probe::score::{histogram::Histogram, sigmoid},
};

/// Labelled pixels of one chip per cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// Pixels per side of a cell.
    cell: usize,
    /// Wet pixels of each cell, row by row.
    wet: Vec<u8>,
    /// Dry pixels of each cell.
    dry: Vec<u8>,
    /// Labelled pixels of the chip.
    pub labelled: u64,
}

impl Targets {
    /// Of `labels` `[side, side]`: 1 water, 0 land, anything else ignored. `side` is a multiple of `cell`, which is at
    /// most 15 pixels.
    pub fn new(labels: &[u8], side: usize, cell: usize) -> Self {
        let cells = side / cell;
        let mut targets = Self { cell, wet: vec![0; cells * cells], dry: vec![0; cells * cells], labelled: 0 };
        for (i, &label) in labels.iter().enumerate() {
            let cell = i / side / cell * cells + i % side / cell;
            match label {
                1 => targets.wet[cell] += 1,
                0 => targets.dry[cell] += 1,
                _ => continue,
            }
            targets.labelled += 1;
        }
        targets
    }

    /// Wet and dry labelled pixels.
    pub fn classes(&self) -> (u64, u64) {
        let wet = self.wet.iter().copied().map(u64::from).sum();
        (wet, self.labelled - wet)
    }

    /// Each logit with the wet and dry pixels of its cell.
    fn with<'a>(&'a self, logits: &'a [f32]) -> impl Iterator<Item = (f32, u8, u8)> {
        logits.iter().zip(&self.wet).zip(&self.dry).map(|((&z, &wet), &dry)| (z, wet, dry))
    }

    /// The summed loss (nats) over labelled pixels and the counts, for one logit per cell.
    ///
    /// A pixel is predicted wet where `sigmoid(z) > threshold`, in f32 as PyTorch computes it.
    pub fn score(&self, logits: &[f32], threshold: f32) -> (f64, Confusion) {
        let pixels = (self.wet.len() * self.cell * self.cell) as u64;
        let mut counts = Confusion { ignored: pixels - self.labelled, ..Default::default() };
        let mut loss = Loss::default();
        for (z, wet, dry) in self.with(logits) {
            loss.add(z, wet, dry);
            let (wet, dry) = (u64::from(wet), u64::from(dry));
            if sigmoid(z) > threshold {
                counts.tp += wet;
                counts.fp += dry;
            } else {
                counts.fn_ += wet;
                counts.tn += dry;
            }
        }
        (loss.sum(), counts)
    }

    /// Adds the labelled pixels of each logit to a histogram.
    pub fn count_into(&self, logits: &[f32], histogram: &mut Histogram) {
        self.with(logits).for_each(|(z, wet, dry)| histogram.add(z, wet.into(), dry.into()));
    }

    /// The summed loss, and into `gradient` its derivative by each logit over `labelled` pixels (of the whole batch).
    pub fn loss(&self, logits: &[f32], labelled: u64, gradient: &mut Vec<f32>) -> f64 {
        let scale = 1.0 / labelled as f32;
        let mut loss = Loss::default();
        for (z, wet, dry) in self.with(logits) {
            loss.add(z, wet, dry);
            gradient.push((f32::from(wet + dry) * sigmoid(z) - f32::from(wet)) * scale);
        }
        loss.sum()
    }
}

/// A sum of `n1*softplus(-z) + n0*softplus(z)`, finite where every z is, in f64.
///
/// `softplus(x) = max(x, 0) + ln(1 + exp(-|x|))`, and the logarithms of many are one of their product.
struct Loss {
    sum: f64,
    /// Of `1 + exp(-|z|)`, each at most 2, so that several hundred pixels stay below the largest f64.
    product: f64,
}

impl Default for Loss {
    fn default() -> Self {
        Self { sum: 0.0, product: 1.0 }
    }
}

impl Loss {
    fn add(&mut self, z: f32, wet: u8, dry: u8) {
        let tail = 1.0 + f64::from((-z.abs()).exp());
        for _ in 0..wet + dry {
            self.product *= tail;
        }
        if self.product > 1e200 {
            self.sum += self.product.ln();
            self.product = 1.0;
        }
        let z = f64::from(z);
        self.sum += f64::from(wet) * (-z).max(0.0) + f64::from(dry) * z.max(0.0);
    }

    fn sum(&self) -> f64 {
        self.sum + self.product.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixel by pixel, as the formula reads.
    fn plain(labels: &[u8], side: usize, cell: usize, logits: &[f32], threshold: f32) -> (f64, Confusion) {
        let (mut loss, mut c) = (0.0, Confusion::default());
        for (i, &label) in labels.iter().enumerate() {
            let z = f64::from(logits[i / side / cell * (side / cell) + i % side / cell]);
            match (label, sigmoid(z as f32) > threshold) {
                (1, true) => c.tp += 1,
                (1, false) => c.fn_ += 1,
                (0, true) => c.fp += 1,
                (0, false) => c.tn += 1,
                _ => {
                    c.ignored += 1;
                    continue;
                }
            }
            let p = 1.0 / (1.0 + (-z).exp());
            loss -= if label == 1 { p.ln() } else { (1.0 - p).ln() };
        }
        (loss, c)
    }

    #[test]
    fn cells_count_as_pixels_do() {
        let side = 8;
        let labels: Vec<u8> = (0..64).map(|i| [0, 1, 255, 1, 0, 0, 7][i * i % 7]).collect();
        for cell in [1, 2, 4] {
            let logits: Vec<f32> = (0..64 / (cell * cell)).map(|i| ((i * 37 % 64) as f32 - 31.5) * 0.15).collect();
            let targets = Targets::new(&labels, side, cell);
            for threshold in [0.5, 0.3] {
                let (loss, counts) = targets.score(&logits, threshold);
                let (want, want_counts) = plain(&labels, side, cell, &logits, threshold);
                assert_eq!(counts, want_counts);
                assert!((loss - want).abs() < 1e-7 * want, "{cell}: {loss} {want}");
            }
            let of = |class: u8| labels.iter().filter(|l| **l == class).count() as u64;
            assert_eq!(targets.classes(), (of(1), of(0)));
            // The derivative against differences of the plain loss.
            let mut gradient = Vec::new();
            targets.loss(&logits, targets.labelled, &mut gradient);
            for (i, &got) in gradient.iter().enumerate() {
                let moved = |by: f32| {
                    let mut moved = logits.clone();
                    moved[i] += by;
                    plain(&labels, side, cell, &moved, 0.5).0
                };
                let want = (moved(0.0625) - moved(-0.0625)) / 0.125 / targets.labelled as f64;
                assert!((want - f64::from(got)).abs() <= 1e-3 * want.abs(), "{cell}, {i}: {got} {want}");
            }
        }
    }

    /// The logarithm of the product is taken before it leaves the range of f64.
    #[test]
    fn a_loss_over_many_pixels() {
        let targets = Targets::new(&[1; 10_000], 100, 1);
        let (loss, _) = targets.score(&[0.0; 10_000], 0.5);
        assert!((loss - 10_000.0 * 2f64.ln()).abs() < 1e-8, "{loss}");
        assert!(targets.score(&[f32::NAN; 10_000], 0.5).0.is_nan());
        assert!(!targets.score(&[f32::INFINITY; 10_000], 0.5).0.is_finite());
    }

    #[test]
    fn saturated_logits_stay_finite() {
        let targets = Targets::new(&[1, 0, 1, 0], 2, 2);
        assert_eq!(targets.score(&[200.0], 0.5).0, 400.0);
        assert_eq!(targets.score(&[-200.0], 0.5).0, 400.0);
        let unlabelled = Targets::new(&[255; 4], 2, 2);
        assert_eq!(unlabelled.score(&[1.0], 0.5), (0.0, Confusion { ignored: 4, ..Default::default() }));
    }
}
