//! Checkpoints of the trainer: restricted readers, proof, pin.
//!
//! ```text
//! file -> archive -> pickle -> torch ─┐
//! file -> safetensors ────────────────┴─> contents -> names -> encoder/keys -> Checkpoint -> pin, inspect
//! ```
//!
//! A file is opened once and read with plain reads; nothing in it is run, imported or mapped.

mod archive; // the ZIP: directory, entries with their CRC
mod calls; // what the few known calls of a pickle make
mod contents; // what a container holds; dispatch by content
mod dtype; // element types
mod error;
mod file; // the trainer's file: one descriptor, unchanged or not
mod globals; // the names a pickle may mention
mod inspect; // what a checkpoint is, or why it is refused
mod names; // keys without wrappers and prefix
mod pickle; // the opcode machine
mod pin; // the copy of the encoder that is ours
mod proof; // every tensor read: digest, finite
mod safetensors;
mod torch; // state dict, epoch, hyper-parameters
mod value; // values of a pickle
mod view; // where a tensor lies

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use error::CheckpointError;
pub use inspect::{CheckpointReport, inspect, looks_like_checkpoint};
pub use pin::pin;

use super::encoder::keys::{self, Problems, Stored};
use crate::domain::{Digest, EncoderFacts, Epoch, Format, Reason, ValueSource};
use contents::{Container, Contents, Entry};
use error::Result;
use file::TrainerFile;
use view::View;

/// How many times its own size the tensors of a file may add up to.
const MAX_OVERLAP: u64 = 8;

/// Shape and stored dtype of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    pub shape: Vec<usize>,
    /// `f32`, `f16`, `bf16`, `i64`, ...
    pub dtype: String,
}

/// What the caller decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Full names (`module.name`) that a pickle may mention besides the built-in list; what is made of them is
    /// never looked into.
    pub opaque_globals: Vec<String>,
}

/// An opened checkpoint whose set of encoder tensors was checked.
pub struct Checkpoint {
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

impl Checkpoint {
    /// Opens a `.ckpt` or `.safetensors` file and checks names, shapes and dtypes of its encoder; tensors are not
    /// read yet.
    pub fn open(path: &Path, options: &Options) -> Result<Self, CheckpointError> {
        let (container, contents) = contents::open(&TrainerFile::open(path)?, options)?;
        let encoder = Encoder::find(&container, contents)?;
        let refusal = encoder.refusal(path);
        match (encoder.shape, refusal) {
            (Some(shape), None) => Ok(Self {
                path: path.to_owned(),
                container,
                format: encoder.format,
                epoch: encoder.epoch,
                global_step: encoder.global_step,
                about: encoder.about,
                encoder: shape,
                tensors: encoder.views.iter().map(|(name, view)| (name.clone(), info(view))).collect(),
                views: encoder.views,
                weights_digest: None,
            }),
            (_, Some(refusal)) => Err(refusal),
            // The check names what the sizes are inferred from; kept for the type's sake.
            (None, None) => Err(no_size(path)),
        }
    }

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

    /// The encoder's size.
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

    /// One tensor, row-major, as f32; CRC and finiteness are checked.
    pub fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let Some(view) = self.views.get(name) else {
            return Err(CheckpointError::refuse(Reason::MissingTensor, &self.path, format!("has no tensor `{name}`")));
        };
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        self.container.read(view, &mut bytes, &mut scratch)?;
        if view.dtype.count_non_finite(&bytes) > 0 {
            let mut problems = Problems::default();
            problems.non_finite.push(format!("`{name}`"));
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

/// The encoder of a file, sound or not.
struct Encoder {
    format: Format,
    epoch: Option<(Epoch, ValueSource)>,
    global_step: Option<(u64, ValueSource)>,
    about: serde_json::Value,
    shape: Option<EncoderFacts>,
    problems: Problems,
    views: BTreeMap<String, View>,
    /// The first tensor whose bytes are not there.
    broken: Option<(Reason, String)>,
}

impl Encoder {
    fn find(container: &Container, contents: Contents) -> Result<Self> {
        let path = container.file().path();
        let Contents { format, epoch, global_step, about, entries } = contents;
        let entries = names::encoder_entries(path, entries)?;
        let (mut found, mut views, mut broken) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, entry) in entries {
            match entry {
                Entry::Tensor(view) => {
                    found.insert(name.clone(), Stored::Tensor(info(&view)));
                    views.insert(name, view);
                }
                Entry::Other(what) => {
                    found.insert(name, Stored::Other(what));
                }
                Entry::Broken(reason, what) => broken.push((reason, format!("cannot read `{name}`: {what}"))),
            }
        }
        let (shape, problems) = keys::check(&found);
        // Views may overlap, but a file does not become many times larger by it.
        let bytes = views.values().fold(0u64, |sum, view| sum.saturating_add(view.bytes()));
        if bytes > container.file().size().saturating_mul(MAX_OVERLAP) {
            broken.push((Reason::WrongShape, format!("declares {bytes} bytes of tensors, far more than it has")));
        }
        Ok(Self { format, epoch, global_step, about, shape, problems, views, broken: broken.into_iter().next() })
    }

    /// Where names, shapes or dtypes are wrong, notes also which tensors are not finite, so that one message tells
    /// all; a sound set is left to the one pass over its tensors that digests them.
    fn with_non_finite(mut self, container: &mut Container) -> Self {
        if self.broken.is_none() && self.problems.reason().is_some() {
            // A read that fails here is less telling than the problem that is known.
            if let Ok(proof) = proof::read_all(container, &self.views, |_, _| Ok(())) {
                self.problems.non_finite = proof.non_finite;
            }
        }
        self
    }

    /// Why the set of tensors is refused, if it is. Bytes that are not there come first: the rest may be their fault.
    fn refusal(&self, path: &Path) -> Option<CheckpointError> {
        match &self.broken {
            Some((Reason::Truncated, what)) => Some(CheckpointError::later(Reason::Truncated, path, what)),
            Some((reason, what)) => Some(CheckpointError::refuse(*reason, path, what)),
            None => self.problems.reason().map(|_| refusal_of(path, &self.problems)),
        }
    }
}

fn info(view: &View) -> TensorInfo {
    TensorInfo { shape: view.shape.clone(), dtype: view.dtype.name().to_owned() }
}

fn dtype_of(views: &BTreeMap<String, View>) -> &'static str {
    let mut names = views.values().map(|view| view.dtype.name());
    match names.next() {
        Some(first) if names.all(|name| name == first) => first,
        _ => "mixed",
    }
}

fn refusal_of(path: &Path, problems: &Problems) -> CheckpointError {
    let reason = problems.reason().unwrap_or(Reason::WrongShape);
    CheckpointError { hint: problems.hint(), ..CheckpointError::refuse(reason, path, problems.to_string()) }
}

fn no_size(path: &Path) -> CheckpointError {
    CheckpointError::refuse(Reason::WrongShape, path, "does not tell its encoder's size")
}
