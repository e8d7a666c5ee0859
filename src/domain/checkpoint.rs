//! What is known of a checkpoint once its content was read: its format, its encoder's size, its pin.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Digest, Epoch, words};

words! {
    /// The container a checkpoint came in.
    pub enum Format {
        /// A PyTorch Lightning `.ckpt`, weights only or full.
        Lightning = "lightning",
        /// A state dict written by `torch.save`.
        Torch = "torch",
        /// A `.safetensors` file.
        Safetensors = "safetensors",
    }
}

words! {
    /// Where an epoch or a global step was read.
    pub enum ValueSource {
        /// In the checkpoint itself.
        File = "file",
        /// In the metadata of a safetensors file.
        Metadata = "metadata",
        /// In what was posted.
        Posted = "posted",
        /// In the file's name.
        Name = "name",
        /// Told nowhere: the step stands in for the epoch's.
        Epoch = "epoch",
    }
}

words! {
    /// How a checkpoint became known.
    pub enum Via {
        /// Found in a watched directory.
        Scan = "scan",
        /// Posted.
        Post = "post",
    }
}

/// The size of an encoder, inferred from its tensors' shapes (`clay-v0`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderShape {
    /// The family of models: `clay-v0`.
    pub family: String,
    /// D, the width of a token.
    pub dim: usize,
    /// Number of transformer layers.
    pub depth: usize,
    /// H, attention heads.
    pub heads: usize,
    /// Width of a head; 64 in every v0 model.
    pub dim_head: usize,
    /// M, the hidden width of the MLPs.
    pub mlp_dim: usize,
    /// P, the side of a patch in pixels; 32.
    pub patch_size: usize,
    /// Parameters of the encoder.
    pub parameters: u64,
}

/// A proven checkpoint whose encoder was copied out of the trainer's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// The copy: `<pins>/<weights_digest>.safetensors`, renamed into place when whole.
    pub pin: PathBuf,
    /// Size of the copy in bytes.
    pub pin_bytes: u64,
    /// The container of the trainer's file.
    pub format: Format,
    /// Size, ZIP directory with its CRCs and `data.pkl` of the trainer's file.
    pub file_digest: Digest,
    /// The sorted encoder tensors: name, shape, dtype, bytes.
    pub weights_digest: Digest,
    /// The trainer's epoch as the file tells it.
    pub epoch: Option<(Epoch, ValueSource)>,
    /// The trainer's global step as the file tells it.
    pub global_step: Option<(u64, ValueSource)>,
    /// Size of the encoder.
    pub encoder: EncoderShape,
    /// The dtype of the stored weights: `f32`, `f16`, `bf16`, or `mixed`.
    pub dtype: String,
    /// What else the file says of itself: Lightning's version, plain hyper-parameters.
    pub about: serde_json::Value,
}
