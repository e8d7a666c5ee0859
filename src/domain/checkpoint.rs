//! What is known of a checkpoint once its content was read: its format, its encoder's size, its pin.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Digest, EncoderFacts, Epoch, words};

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
    /// What is known of the encoder.
    pub encoder: EncoderFacts,
    /// The dtype of the stored weights: `f32`, `f16`, `bf16`, or `mixed`.
    pub dtype: String,
    /// What else the file says of itself: Lightning's version, plain hyper-parameters.
    pub about: serde_json::Value,
}
