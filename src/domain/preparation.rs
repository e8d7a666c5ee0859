//! The preparation: all that decides features besides weights and chips.

use serde::{Deserialize, Serialize};

use super::{Band, Digest, Family, Generation, Input, Level};

/// What decides the features of a data set's chips under given weights.
///
/// Its digest is over its canonical JSON. A field that is added later is skipped while it has the value that was implied
/// before it existed; `tests/it/digests.rs` holds the digest of every setting ever shipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preparation {
    /// Raised when the same settings would give other features.
    pub revision: u32,
    pub family: Family,
    pub generation: Generation,
    /// Encoded one after the other, joined over channels; empty for a family with one fixed set of bands.
    pub inputs: Vec<Input>,
    /// Of what the inputs are normalised by.
    pub statistics: Digest,
    /// `ignore` or `clay_v0`.
    pub clouds: String,
    /// `wgs84`, `clay_v0_benchmark` or `none`.
    pub latlon: String,
    /// Processing levels of the optical bands that are used; L1C is taken for L2A, and said.
    pub levels: Vec<Level>,
    /// Bands that some chips lack and that are used: they are 0 after normalisation, as what is not finite.
    pub filled: Vec<Band>,
    /// Of the encoder's arithmetic: `f32`.
    pub precision: String,
}

impl Preparation {
    /// The digest of all of it.
    pub fn digest(&self) -> Digest {
        // A plain struct of words and digests always serialises.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}
