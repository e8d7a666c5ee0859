//! The bins.

use serde::{Deserialize, Serialize};

use crate::probe::score::sigmoid;

/// Bins of a histogram.
pub const BINS: usize = 512;

/// Logits beyond this, either way, count in the outermost bins.
pub const LIMIT: f64 = 16.0;

/// Bins per unit of the logit: a bin is 1/16 wide.
pub(super) const PER_UNIT: f64 = BINS as f64 / (2.0 * LIMIT);

/// The first bin above the edge at 0.
pub(super) const ABOVE_ZERO: usize = BINS / 2;

/// Labelled pixels by their logit: bin i holds those in (i/16 - 16, (i + 1)/16 - 16], the outermost also what is
/// beyond.
///
/// The edge at 0 is where `sigmoid(z) > 0.5` begins in f32, as PyTorch computes it and as heads are scored: logits up
/// to about 1e-7 are below it. So counts at 0.5 are those of the heads' own scores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredHistogram", into = "StoredHistogram")]
pub struct Histogram {
    /// `[BINS]`
    pub(super) wet: Vec<u64>,
    /// `[BINS]`
    pub(super) dry: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { wet: vec![0; BINS], dry: vec![0; BINS] }
    }
}

impl Histogram {
    /// Counts pixels that share the logit `z`. NaN counts as lowest: no threshold calls it wet.
    pub fn add(&mut self, z: f32, wet: u64, dry: u64) {
        let bin = bin(z);
        self.wet[bin] += wet;
        self.dry[bin] += dry;
    }

    /// Counts the pixels of another, disjoint set.
    pub fn merge(&mut self, other: &Self) {
        self.wet.iter_mut().zip(&other.wet).for_each(|(a, b)| *a += b);
        self.dry.iter_mut().zip(&other.dry).for_each(|(a, b)| *a += b);
    }

    /// Wet and dry pixels.
    pub fn classes(&self) -> (u64, u64) {
        (self.wet.iter().sum(), self.dry.iter().sum())
    }

    /// The bins' centres with their wet and dry pixels, from the highest logit down.
    pub fn from_the_top(&self) -> impl Iterator<Item = (f64, u64, u64)> {
        let bins = self.wet.iter().zip(&self.dry).enumerate().rev();
        bins.map(|(i, (&wet, &dry))| ((i as f64 + 0.5) / PER_UNIT - LIMIT, wet, dry))
    }
}

fn bin(z: f32) -> usize {
    let place = ((f64::from(z) + LIMIT) * PER_UNIT).ceil() - 1.0;
    match place.clamp(0.0, BINS as f64 - 1.0) as usize {
        ABOVE_ZERO if sigmoid(z) <= 0.5 => ABOVE_ZERO - 1,
        bin => bin,
    }
}

/// How a histogram is kept: the bins from the first to the last that holds a pixel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredHistogram {
    /// The place of the first.
    pub from: usize,
    pub wet: Vec<u64>,
    /// As many as `wet`.
    pub dry: Vec<u64>,
}

impl From<Histogram> for StoredHistogram {
    fn from(Histogram { wet, dry }: Histogram) -> Self {
        let holds = |i: &usize| wet[*i] + dry[*i] > 0;
        let Some(from) = (0..BINS).find(holds) else { return Self::default() };
        let to = (0..BINS).rfind(holds).map_or(BINS, |last| last + 1);
        Self { from, wet: wet[from..to].to_vec(), dry: dry[from..to].to_vec() }
    }
}

/// A stored histogram that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a histogram of {BINS} bins cannot hold {wet} wet and {dry} dry ones from bin {from} on")]
pub struct NotAHistogram {
    from: usize,
    wet: usize,
    dry: usize,
}

impl TryFrom<StoredHistogram> for Histogram {
    type Error = NotAHistogram;

    fn try_from(StoredHistogram { from, wet, dry }: StoredHistogram) -> Result<Self, NotAHistogram> {
        let fits = wet.len() == dry.len() && from.checked_add(wet.len()).is_some_and(|to| to <= BINS);
        if !fits {
            return Err(NotAHistogram { from, wet: wet.len(), dry: dry.len() });
        }
        let whole = |part: &[u64]| {
            let mut all = vec![0; BINS];
            all[from..from + part.len()].copy_from_slice(part);
            all
        };
        Ok(Self { wet: whole(&wet), dry: whole(&dry) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_belong_to_the_bin_below() {
        let cases = [
            (0.0, 255),
            (-0.0, 255),
            (5e-8, 255),
            (2e-7, 256),
            (1e-3, 256),
            (0.0625, 256),
            (0.0626, 257),
            (-0.0625, 254),
            (-1e-9, 255),
            (15.9375, 510),
            (15.94, 511),
            (16.0, 511),
            (99.0, 511),
            (-15.95, 0),
            (-16.0, 0),
            (-1e30, 0),
            (f32::INFINITY, 511),
            (f32::NEG_INFINITY, 0),
            (f32::NAN, 0),
        ];
        for (z, expected) in cases {
            assert_eq!(bin(z), expected, "{z}");
        }
        // Around 0, as the heads' own score sees it.
        for i in -2000..2000 {
            let z = i as f32 * 1e-9;
            assert_eq!(bin(z) >= ABOVE_ZERO, sigmoid(z) > 0.5, "{z}");
        }
    }

    #[test]
    fn merging_is_counting_together() {
        let logits = [-20.0, -1.0, 0.0, 0.3, 0.31, 7.0];
        let (mut all, mut a, mut b) = (Histogram::default(), Histogram::default(), Histogram::default());
        for (i, &z) in logits.iter().enumerate() {
            all.add(z, i as u64, 1);
            if i % 2 == 0 { &mut a } else { &mut b }.add(z, i as u64, 1);
        }
        a.merge(&b);
        assert_eq!((&a, a.classes()), (&all, (15, 6)));
        let top: Vec<_> = all.from_the_top().filter(|(_, wet, dry)| wet + dry > 0).collect();
        assert_eq!(top[..2], [(6.96875, 5, 1), (0.28125, 7, 2)]);
    }

    #[test]
    fn stored_and_read_again() {
        let mut some = Histogram::default();
        some.add(-2.0, 3, 0);
        some.add(-1.9, 0, 4);
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(text, r#"{"from":223,"wet":[3,0,0],"dry":[0,0,4]}"#);
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), some);
        let nothing = serde_json::to_string(&Histogram::default()).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&nothing).unwrap(), Histogram::default());
        for wrong in [
            r#"{"from":511,"wet":[1,2],"dry":[1,2]}"#,
            r#"{"from":0,"wet":[1],"dry":[]}"#,
            r#"{"from":18446744073709551615,"wet":[1],"dry":[1]}"#,
        ] {
            assert!(serde_json::from_str::<Histogram>(wrong).is_err(), "{wrong}");
        }
    }
}
