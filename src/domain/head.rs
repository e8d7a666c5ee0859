//! The heads that are fitted to frozen features, and what decides their numbers besides the features.

use serde::{Deserialize, Serialize};

use super::{Digest, Seed, words};

words! {
    /// A head.
    pub enum HeadName {
        /// The documented flood decoder.
        Conv = "conv",
        /// A 1x1 convolution to the pixels of a patch.
        Linear = "linear",
        /// Clay's own segmentation head for v1.5.
        Segmentor = "segmentor",
        /// Ridge regression on the share of water of each patch, in closed form.
        Ridge = "ridge",
    }
}

words! {
    /// What a reader of a score should know of its fit.
    pub enum FitNote {
        /// Its loss still fell by over 1% in the last tenth of its steps.
        Underfit = "underfit",
        /// It predicts one class for every pixel of the validation side.
        OneClass = "one-class",
    }
}

/// What decides a head's numbers, besides weights, data, assignment and preparation.
///
/// Its digest is over its canonical JSON. A field that is added later is skipped while it has the value that was implied
/// before it existed; `tests/it/digests.rs` holds the digest of every setting ever shipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadSettings {
    /// Raised when the same settings would give other numbers.
    pub revision: u32,
    pub head: HeadName,
    pub seeds: Vec<Seed>,
    pub fit_steps: u32,
    pub batch_size: u32,
    pub learning_rate: f64,
    /// Counts are at this threshold; 0.5 is implied.
    #[serde(default = "half", skip_serializing_if = "is_half")]
    pub threshold: f64,
}

fn half() -> f64 {
    0.5
}

fn is_half(threshold: &f64) -> bool {
    *threshold == 0.5
}

impl HeadSettings {
    /// Of a head that has no seeds and no steps: all that is about fitting is 0.
    pub fn closed_form(head: HeadName) -> Self {
        let (seeds, threshold) = (Vec::new(), half());
        Self { revision: 1, head, seeds, fit_steps: 0, batch_size: 0, learning_rate: 0.0, threshold }
    }

    /// The digest of all of it.
    pub fn digest(&self) -> Digest {
        // A plain struct of numbers and words always serialises.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}
