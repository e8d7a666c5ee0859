//! What a head is fitted to: labels counted per cell of two by two pixels.
//!
//! The decoder's last step doubles each logit, so a cell shares one logit z. Its part of the loss is
//! `n1*softplus(-z) + n0*softplus(z)` with n1 wet and n0 dry labelled pixels, and its derivative
//! `(n0 + n1)*sigmoid(z) - n1`: the doubling need not be done, and nothing is lost.

use crate::domain::Confusion;

/// Labelled pixels of one chip per cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// Cells per side: half the chip's side.
    pub cells: usize,
    /// Wet pixels of each cell, 0 to 4, row by row.
    wet: Vec<u8>,
    /// Dry pixels of each cell.
    dry: Vec<u8>,
    /// Labelled pixels of the chip.
    pub labelled: u64,
}

impl Targets {
    /// Of `labels` `[side, side]`: 1 water, 0 land, anything else ignored. `side` is even.
    pub fn new(labels: &[u8], side: usize) -> Self {
        let cells = side / 2;
        let mut targets = Self { cells, wet: vec![0; cells * cells], dry: vec![0; cells * cells], labelled: 0 };
        for (i, &label) in labels.iter().enumerate() {
            let cell = i / side / 2 * cells + i % side / 2;
            match label {
                1 => targets.wet[cell] += 1,
                0 => targets.dry[cell] += 1,
                _ => continue,
            }
            targets.labelled += 1;
        }
        targets
    }

    /// The summed loss (nats) over labelled pixels and the counts, for one logit per cell.
    ///
    /// A pixel is predicted wet where `sigmoid(z) > threshold`, in f32 as PyTorch computes it.
    pub fn score(&self, logits: &[f32], threshold: f32) -> (f64, Confusion) {
        let mut counts =
            Confusion { ignored: 4 * (self.cells * self.cells) as u64 - self.labelled, ..Default::default() };
        let mut loss = 0.0;
        for ((&z, &wet), &dry) in logits.iter().zip(&self.wet).zip(&self.dry) {
            loss += cell_loss(z, wet, dry);
            let (wet, dry) = (u64::from(wet), u64::from(dry));
            if sigmoid(z) > threshold {
                counts.tp += wet;
                counts.fp += dry;
            } else {
                counts.fn_ += wet;
                counts.tn += dry;
            }
        }
        (loss, counts)
    }

    /// The summed loss, and into `gradient` its derivative by each logit over `labelled` pixels (of the whole batch).
    pub fn loss(&self, logits: &[f32], labelled: u64, gradient: &mut Vec<f32>) -> f64 {
        let scale = 1.0 / labelled as f32;
        let mut loss = 0.0;
        for ((&z, &wet), &dry) in logits.iter().zip(&self.wet).zip(&self.dry) {
            loss += cell_loss(z, wet, dry);
            gradient.push((f32::from(wet + dry) * sigmoid(z) - f32::from(wet)) * scale);
        }
        loss
    }
}

/// `n1*softplus(-z) + n0*softplus(z)`, finite for every finite z.
fn cell_loss(z: f32, wet: u8, dry: u8) -> f64 {
    let z = f64::from(z);
    let tail = (-z.abs()).exp().ln_1p(); // softplus(x) = max(x, 0) + ln(1 + exp(-|x|))
    f64::from(wet) * ((-z).max(0.0) + tail) + f64::from(dry) * (z.max(0.0) + tail)
}

/// `1 / (1 + exp(-z))`.
pub fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + (-z).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixel by pixel, as the formula reads.
    fn plain(labels: &[u8], side: usize, logits: &[f32], threshold: f32) -> (f64, Confusion) {
        let (mut loss, mut c) = (0.0, Confusion::default());
        for (i, &label) in labels.iter().enumerate() {
            let z = f64::from(logits[i / side / 2 * (side / 2) + i % side / 2]);
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
        let logits: Vec<f32> = (0..16).map(|i| (i as f32 - 7.5) * 0.7).collect();
        let targets = Targets::new(&labels, side);
        for threshold in [0.5, 0.3] {
            let ((loss, counts), (want, want_counts)) =
                (targets.score(&logits, threshold), plain(&labels, side, &logits, threshold));
            assert_eq!(counts, want_counts);
            assert!((loss - want).abs() < 1e-9 * want, "{loss} {want}");
        }
        // The derivative against differences of the loss.
        let mut gradient = Vec::new();
        let loss = targets.loss(&logits, targets.labelled, &mut gradient);
        for i in 0..16 {
            let mut moved = logits.clone();
            moved[i] += 1e-3;
            let slope = (targets.score(&moved, 0.5).0 - loss) / 1e-3 / targets.labelled as f64;
            assert!((slope - f64::from(gradient[i])).abs() < 1e-4, "{i}: {slope} {}", gradient[i]);
        }
    }

    #[test]
    fn saturated_logits_stay_finite() {
        let targets = Targets::new(&[1, 0, 1, 0], 2);
        assert_eq!(targets.score(&[200.0], 0.5).0, 400.0);
        assert_eq!(targets.score(&[-200.0], 0.5).0, 400.0);
        let unlabelled = Targets::new(&[255; 4], 2);
        assert_eq!(unlabelled.score(&[1.0], 0.5), (0.0, Confusion { ignored: 4, ..Default::default() }));
    }
}
