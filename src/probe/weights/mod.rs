//! The weights of an encoder out of a checkpoint file: recognised, held against the specification, proven, pinned.
//!
//! ```text
//! checkpoint (named tensors) -> encoder/recognise, keys, metadata -> find -> Weights -> pin, inspect
//! ```

mod facts; // sizes, generation, statistics: what is known without reading a tensor
mod find; // the encoder of a file, sound or not
mod inspect; // what a checkpoint is, or why it is refused
mod layout; // the pin's header, and where its tensors lie
mod pin; // the copy of the encoder that is ours
mod proof; // every tensor read: digest, finite

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use inspect::{CheckpointReport, inspect, looks_like_checkpoint};
pub use pin::pin;

use super::{
    checkpoint::{self, CheckpointError, Container, Result, TensorInfo, TrainerFile, View},
    encoder::{EncoderError, TensorSource, keys::Problems},
};
use crate::domain::{Digest, EncoderFacts, Epoch, Format, Reason, ValueSource};
use find::Found;

/// What the caller decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Full names (`module.name`) that a pickle may mention besides the built-in list; what is made of them is
    /// never looked into.
    pub opaque_globals: Vec<String>,
    /// `probe.prefix`: what stands before the encoder's tensors, where a file holds several. Empty: there is one.
    pub prefix: String,
    /// A `metadata.yaml` that was given for this file; it comes before what the file itself tells.
    pub metadata: Option<PathBuf>,
}

/// An opened checkpoint whose set of encoder tensors was checked.
pub struct Weights {
    path: PathBuf,
    container: Container,
    format: Format,
    epoch: Option<(Epoch, ValueSource)>,
    global_step: Option<(u64, ValueSource)>,
    about: serde_json::Value,
    encoder: EncoderFacts,
    tensors: BTreeMap<String, TensorInfo>,
    views: BTreeMap<String, View>,
    weights_digest: Option<Digest>,
}

/// Opens a `.ckpt` or `.safetensors` file, finds its encoder and checks names, shapes and dtypes; tensors are not read
/// yet.
pub fn open(path: &Path, options: &Options) -> Result<Weights, CheckpointError> {
    let (container, contents) = checkpoint::open(&TrainerFile::open(path)?, &options.opaque_globals)?;
    let found = Found::find(&container, contents, options)?;
    let facts = found.facts_or_refusal(path)?;
    Ok(Weights {
        path: path.to_owned(),
        container,
        format: found.format,
        epoch: found.epoch,
        global_step: found.global_step,
        about: found.about,
        encoder: facts,
        tensors: found.views.iter().map(|(name, view)| (name.clone(), view.info())).collect(),
        views: found.views,
        weights_digest: None,
    })
}

impl Weights {
    /// The file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The container.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The trainer's epoch, as the file itself tells it.
    pub fn epoch(&self) -> Option<(Epoch, ValueSource)> {
        self.epoch
    }

    /// The trainer's global step, as the file itself tells it.
    pub fn global_step(&self) -> Option<(u64, ValueSource)> {
        self.global_step
    }

    /// What else the file says of itself: `lightning_version`, plain `hyper_parameters`, other plain values.
    pub fn about(&self) -> &serde_json::Value {
        &self.about
    }

    /// The encoder's family, generation and size, and what its inputs are normalised by.
    pub fn encoder(&self) -> &EncoderFacts {
        &self.encoder
    }

    /// Encoder tensors by their name without prefix and wrappers.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The dtype of the stored weights: `f32`, `f16`, `bf16`, `f64`, or `mixed`.
    pub fn dtype(&self) -> &'static str {
        dtype_of(&self.views)
    }

    /// Bytes read of the file so far, with its directory and pickle.
    pub fn bytes_read(&self) -> u64 {
        self.container.file().bytes_read()
    }

    /// One tensor, row-major, as f32; CRC and finiteness are checked.
    pub fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let Some(view) = self.views.get(name) else {
            return Err(CheckpointError::refuse(Reason::MissingTensor, &self.path, format!("has no tensor `{name}`")));
        };
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        self.container.read(view, &mut bytes, &mut scratch)?;
        if view.dtype.count_non_finite(&bytes) > 0 {
            let problems = Problems { non_finite: vec![format!("`{name}`")], ..Problems::default() };
            return Err(refusal_of(&self.path, &problems));
        }
        // The check at opening let floating types pass only.
        Ok(view.dtype.values(&bytes).unwrap_or_default())
    }

    /// Reads every encoder tensor once: CRCs, finiteness, digest.
    pub fn weights_digest(&mut self) -> Result<Digest, CheckpointError> {
        if let Some(digest) = self.weights_digest {
            return Ok(digest);
        }
        let proof = proof::read_all(&mut self.container, &self.views, |_, _| Ok(()))?;
        let digest = proof.digest_or_refusal(&self.path)?;
        self.weights_digest = Some(digest);
        Ok(digest)
    }

    /// The digest of the file: size, ZIP directory with its CRCs and `data.pkl`; of safetensors size, header and
    /// weights.
    pub fn file_digest(&mut self) -> Result<Digest, CheckpointError> {
        let weights = match self.format {
            Format::Safetensors => self.weights_digest()?,
            // Not part of a ZIP's digest.
            Format::Lightning | Format::Torch => Digest::of(&[]),
        };
        self.container.file_digest(weights)
    }
}

impl TensorSource for Weights {
    fn read(&mut self, name: &str) -> Result<Vec<f32>, EncoderError> {
        Ok(self.read_f32(name)?)
    }
}

fn dtype_of(views: &BTreeMap<String, View>) -> &'static str {
    let mut names = views.values().map(|view| view.dtype.name());
    match names.next() {
        Some(first) if names.all(|name| name == first) => first,
        _ => "mixed",
    }
}

/// The refusal that tells all problems of a set of tensors.
fn refusal_of(path: &Path, problems: &Problems) -> CheckpointError {
    let reason = problems.reason().unwrap_or(Reason::WrongShape);
    CheckpointError { hint: problems.hint(), ..CheckpointError::refuse(reason, path, problems.to_string()) }
}
