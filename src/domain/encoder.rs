//! What is known of an encoder: its family, its size, and what its inputs are normalised by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Band, Digest, words};

words! {
    /// A family of encoders: one network, in several sizes.
    pub enum Family {
        ClayV0 = "clay-v0",
        ClayV1 = "clay-v1",
    }
}

words! {
    /// A release of a family whose inputs differ from the others'.
    pub enum Generation {
        V0 = "0",
        /// Radar in linear power.
        V1_0 = "1.0",
        /// Radar in dB.
        V1_5 = "1.5",
    }
}

words! {
    /// What a Clay v1 encoder takes in one pass: the bands of one sensor, by the names of its `metadata.yaml`.
    pub enum Input {
        /// Ten bands: B02, B03, B04, B05, B06, B07, B08, B8A, B11, B12.
        Sentinel2L2a = "sentinel-2-l2a",
        /// VV, VH.
        Sentinel1Rtc = "sentinel-1-rtc",
    }
}

impl Family {
    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::ClayV0 => "Clay v0",
            Self::ClayV1 => "Clay v1",
        }
    }
}

impl Generation {
    /// The family that it is a release of.
    pub fn family(self) -> Family {
        match self {
            Self::V0 => Family::ClayV0,
            Self::V1_0 | Self::V1_5 => Family::ClayV1,
        }
    }
}

impl Input {
    /// Its bands in the order of the pixel channels.
    pub fn bands(self) -> &'static [Band] {
        match self {
            Self::Sentinel2L2a => &[
                Band::B02,
                Band::B03,
                Band::B04,
                Band::B05,
                Band::B06,
                Band::B07,
                Band::B08,
                Band::B8A,
                Band::B11,
                Band::B12,
            ],
            Self::Sentinel1Rtc => &[Band::Vv, Band::Vh],
        }
    }
}

/// What is known of an encoder without its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderFacts {
    pub family: Family,
    pub generation: Generation,
    /// What told the generation, in words: "`hyper_parameters.dolls` is there".
    pub told_by: String,
    /// D, the width of a token.
    pub dim: usize,
    /// Number of transformer layers.
    pub depth: usize,
    /// H, attention heads.
    pub heads: usize,
    /// Width of a head.
    pub dim_head: usize,
    /// M, the hidden width of the MLPs.
    pub mlp_dim: usize,
    /// P, the side of a patch in pixels.
    pub patch_size: usize,
    /// Parameters of the encoder.
    pub parameters: u64,
    /// What stands before its tensors' names in the file: `model.encoder.`.
    pub prefix: String,
    pub tensors: TensorCounts,
    /// What its inputs are normalised by, where the file or its trainer tells it; else the family's own values hold.
    pub metadata: Option<InputMetadata>,
}

impl EncoderFacts {
    /// What was read of the file and what was not, in words: `265 of 265 tensors, 311 M parameters, 0 unused, 410
    /// foreign (teacher, decoder, optimizer) not read`.
    pub fn what_was_loaded(&self) -> String {
        let TensorCounts { loaded, needed, unused, foreign } = self.tensors;
        let parameters = match self.parameters {
            n @ 10_000_000.. => format!("{:.0} M", n as f64 / 1e6),
            n @ 1_000_000.. => format!("{:.1} M", n as f64 / 1e6),
            n => format!("{:.0} k", n as f64 / 1e3),
        };
        format!(
            "{loaded} of {needed} tensors, {parameters} parameters, {unused} unused, {foreign} foreign (teacher, \
             decoder, optimizer) not read"
        )
    }
}

/// What was read of a file's tensors, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorCounts {
    /// Tensors of the encoder that were read.
    pub loaded: u64,
    /// Tensors that the encoder has by its specification.
    pub needed: u64,
    /// Below the encoder's prefix and of no use: buffers that are computed anyhow. Anything else there refuses the file.
    pub unused: u64,
    /// Entries of the state dict outside the encoder (teacher, decoder, projection), which are never read; nor is the
    /// optimizer's state, which is no part of the state dict and not counted.
    pub foreign: u64,
}

/// Wavelengths, means and deviations of the inputs, as Clay's `metadata.yaml` has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputMetadata {
    /// Where it is from, in words; no part of its digest.
    pub source: String,
    pub inputs: BTreeMap<Input, InputStatistics>,
}

/// One input of [`InputMetadata`]; lists are in the order of [`Input::bands`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputStatistics {
    /// Micrometres; for radar a label, not physics.
    pub wavelengths: Vec<f32>,
    /// Of reflectance x 10000; of radar in dB, or of linear power (a positive mean of VV tells).
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
    /// Metres.
    pub gsd: f64,
}

impl InputMetadata {
    /// The digest of its values: a line ends where it changes.
    pub fn digest(&self) -> Digest {
        // Plain numbers and words always serialise.
        Digest::of(&serde_json::to_vec(&self.inputs).unwrap_or_default())
    }
}

impl InputStatistics {
    /// For radar: whether it is taken in linear power rather than in dB. dB means of radar are negative.
    pub fn is_linear_power(&self) -> bool {
        self.mean.first().is_some_and(|&vv| vv > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_is_told_in_one_line() {
        let mut facts = EncoderFacts {
            family: Family::ClayV1,
            generation: Generation::V1_5,
            told_by: "`hyper_parameters.dolls` is there".to_owned(),
            dim: 1024,
            depth: 24,
            heads: 16,
            dim_head: 64,
            mlp_dim: 4096,
            patch_size: 8,
            parameters: 311_442_944,
            prefix: "model.encoder.".to_owned(),
            tensors: TensorCounts { loaded: 265, needed: 265, unused: 0, foreign: 410 },
            metadata: None,
        };
        let large =
            "265 of 265 tensors, 311 M parameters, 0 unused, 410 foreign (teacher, decoder, optimizer) not read";
        assert_eq!(facts.what_was_loaded(), large);
        for (parameters, shown) in [(5_520_128, "5.5 M parameters"), (954_112, "954 k parameters")] {
            facts.parameters = parameters;
            assert!(facts.what_was_loaded().contains(shown), "{}", facts.what_was_loaded());
        }
    }
}
