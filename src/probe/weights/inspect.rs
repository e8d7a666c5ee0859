//! What a checkpoint is, what would be read of it, or exactly why it is refused.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{Options, dtype_of, find::Found, proof};
use crate::{
    domain::{Digest, EncoderFacts, Epoch, Failure, Fault, Format, Reason, TensorCounts},
    probe::checkpoint::{self, Contents, Result, TrainerFile},
};

/// What `inspect CKPT` tells; what is not known is null.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointReport {
    /// `checkpoint`.
    pub kind: &'static str,
    pub path: String,
    pub file_digest: Option<Digest>,
    pub weights_digest: Option<Digest>,
    pub format: Option<Format>,
    pub epoch: Option<Epoch>,
    pub global_step: Option<u64>,
    pub encoder: Option<EncoderFacts>,
    /// What was read of the state dict, and what was not.
    pub tensors: Option<TensorCounts>,
    /// `f32`, `f16`, `bf16`, `f64` or `mixed`.
    pub dtype: Option<String>,
    pub usable: bool,
    /// A reason code; null when usable.
    pub reason: Option<Reason>,
    /// With what to do.
    pub message: Option<String>,
    /// Whether trying again later can help: the file is not there, not whole, or changing.
    pub retry: bool,
    /// Bytes read of the file, of `bytes`.
    pub bytes_read: u64,
    pub bytes: u64,
    /// `lightning_version`, plain `hyper_parameters`, other plain values of the file.
    pub about: serde_json::Value,
}

/// Whether a file's extension is one of a checkpoint: `.ckpt`, `.pt`, `.pth` or `.safetensors`.
pub fn looks_like_checkpoint(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    matches!(extension.as_deref(), Some("ckpt" | "pt" | "pth" | "safetensors"))
}

/// Reads a checkpoint and every tensor of its encoder, and tells what it is.
pub fn inspect(path: &Path, options: &Options) -> CheckpointReport {
    let mut report = CheckpointReport {
        kind: "checkpoint",
        path: path.display().to_string(),
        file_digest: None,
        weights_digest: None,
        format: None,
        epoch: None,
        global_step: None,
        encoder: None,
        tensors: None,
        dtype: None,
        usable: false,
        reason: None,
        message: None,
        retry: false,
        bytes_read: 0,
        bytes: 0,
        about: serde_json::Value::Null,
    };
    match TrainerFile::open(path).and_then(|file| {
        let read = report.read(&file, options);
        (report.bytes_read, report.bytes) = (file.bytes_read(), file.size());
        file.check_unchanged().and(read)
    }) {
        Ok(()) => report.usable = true,
        Err(refusal) => {
            let failure = Failure::from(refusal);
            (report.reason, report.message) = (Some(failure.reason), Some(failure.text()));
            report.retry = failure.fault != Fault::Final;
        }
    }
    report
}

impl CheckpointReport {
    /// Fills in what the file tells, as far as it goes.
    fn read(&mut self, file: &TrainerFile, options: &Options) -> Result<()> {
        let (mut container, contents) = checkpoint::open(file, &options.opaque_globals)?;
        self.tell(&contents);
        if contents.format != Format::Safetensors {
            // Of a ZIP it does not depend on the weights, so it is told also where these are refused.
            self.file_digest = Some(container.file_digest(Digest::of(&[]))?);
        }
        let found = Found::find(&container, contents, options)?;
        self.encoder = found.facts.clone();
        self.tensors = found.facts.as_ref().map(|facts| facts.tensors);
        self.dtype = Some(dtype_of(&found.views).to_owned());
        let found = found.with_non_finite(&mut container);
        found.facts_or_refusal(file.path())?;
        let digest = proof::read_all(&mut container, &found.views, |_, _| Ok(()))?.digest_or_refusal(file.path())?;
        self.weights_digest = Some(digest);
        self.file_digest = Some(container.file_digest(digest)?);
        Ok(())
    }

    fn tell(&mut self, contents: &Contents) {
        self.format = Some(contents.format);
        self.epoch = contents.epoch.map(|(epoch, _)| epoch);
        self.global_step = contents.global_step.map(|(step, _)| step);
        self.about = contents.about.clone();
    }
}

impl fmt::Display for CheckpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, key: &str, value: Option<String>| match value {
            Some(value) => writeln!(f, "  {key:<15}{value}"),
            None => Ok(()),
        };
        let format = self.format.map(|format| match format {
            Format::Lightning => "PyTorch Lightning checkpoint",
            Format::Torch => "PyTorch state dict",
            Format::Safetensors => "safetensors",
        });
        writeln!(f, "{}", self.path)?;
        line(f, "kind", format.map(str::to_owned))?;
        line(f, "lightning", self.about["lightning_version"].as_str().map(str::to_owned))?;
        line(f, "epoch", self.epoch.map(|e| e.to_string()))?;
        line(f, "global step", self.global_step.map(|s| s.to_string()))?;
        if let Some(e) = &self.encoder {
            line(f, "family", Some(format!("{}, generation {}: {}", e.family.title(), e.generation, e.told_by)))?;
            let sizes = format!(
                "width {}, depth {}, {} heads of {}, MLP {}, patches of {} px",
                e.dim, e.depth, e.heads, e.dim_head, e.mlp_dim, e.patch_size
            );
            line(f, "sizes", Some(sizes))?;
            writeln!(f, "  encoder: {}", e.what_was_loaded())?;
            line(f, "prefix", Some(e.prefix.clone()).filter(|prefix| !prefix.is_empty()))?;
            line(f, "parameters", Some(e.parameters.to_string()))?;
            line(f, "statistics", e.metadata.as_ref().map(|told| told.source.clone()))?;
        }
        line(f, "dtype", self.dtype.clone())?;
        line(f, "read", Some(format!("{} of {} bytes", self.bytes_read, self.bytes)).filter(|_| self.bytes > 0))?;
        line(f, "file digest", self.file_digest.map(|d| d.to_string()))?;
        line(f, "weights digest", self.weights_digest.map(|d| d.to_string()))?;
        match (&self.reason, &self.message) {
            (Some(reason), Some(message)) => {
                line(f, "refused", Some(reason.to_string()))?;
                line(f, "because", Some(message.clone()))
            }
            _ => line(f, "usable", Some("yes".to_owned())),
        }
    }
}
