//! What is known of an encoder without reading a tensor: size, generation and what told it, what its inputs are
//! normalised by.

use std::path::Path;

use super::Options;
use crate::{
    domain::{EncoderFacts, Family, Fault, InputMetadata, Reason, TensorCounts},
    probe::{
        checkpoint::{CheckpointError, Result},
        encoder::{
            Evidence,
            keys::Size,
            metadata::{self, MetadataError},
            recognise::{self, Recognised, Unrecognised},
        },
    },
};

/// `format` in the metadata of our own copies; only in these do the other keys below mean what they mean here.
pub(super) const PIN_FORMAT: &str = "clay-probe pin 2";

/// The facts of an encoder of that size; of a pin those of the file that it was copied from.
pub(super) fn of(
    path: &Path,
    evidence: &Evidence,
    recognised: &Recognised,
    size: Size,
    counts: TensorCounts,
    options: &Options,
) -> Result<EncoderFacts> {
    let (generation, told_by) =
        recognise::generation(evidence, recognised, &size).map_err(|e| unrecognised(path, &e))?;
    let pinned = |key: &str| evidence.metadata.get(key).filter(|_| is_pin(evidence)).cloned();
    let count = |key: &str, own: u64| pinned(key).and_then(|text| text.parse().ok()).unwrap_or(own);
    let metadata = match recognised.family {
        Family::ClayV0 => None, // its statistics are part of the family
        Family::ClayV1 => input_metadata(path, evidence, pinned("statistics_from"), options)?,
    };
    Ok(EncoderFacts {
        family: recognised.family,
        generation,
        told_by: pinned("told_by").unwrap_or(told_by),
        dim: size.dim,
        depth: size.depth,
        heads: size.heads,
        dim_head: size.dim_head,
        mlp_dim: size.mlp_dim,
        patch_size: size.patch_size,
        parameters: size.parameters,
        prefix: pinned("prefix").unwrap_or_else(|| recognised.prefix.clone()),
        tensors: TensorCounts {
            unused: count("unused", counts.unused),
            foreign: count("foreign", counts.foreign),
            ..counts
        },
        metadata,
    })
}

/// Whether the file is one of our own copies.
pub(super) fn is_pin(evidence: &Evidence) -> bool {
    evidence.metadata.get("format").is_some_and(|format| format == PIN_FORMAT)
}

/// What the inputs are normalised by, where anybody tells: the file that was given, the `statistics` of a safetensors
/// file, the trainer's own file where it can be read.
fn input_metadata(
    path: &Path,
    evidence: &Evidence,
    pinned_from: Option<String>,
    options: &Options,
) -> Result<Option<InputMetadata>> {
    if let Some(given) = &options.metadata {
        return metadata::read(given).map(Some).map_err(|e| refusal(&e));
    }
    if let Some(text) = evidence.metadata.get("statistics") {
        let inputs = metadata::from_json(text).map_err(|what| {
            let what = format!("has `statistics` in its metadata that cannot be used: {what}");
            CheckpointError::refuse(Reason::Metadata, path, what)
        })?;
        let source = pinned_from.unwrap_or_else(|| "`statistics` in the file's metadata".to_owned());
        return Ok(Some(InputMetadata { source, inputs }));
    }
    let told = evidence.hyper_parameter("metadata_path").and_then(|path| path.as_str());
    Ok(told.and_then(|told| of_trainer(path, Path::new(told))))
}

/// The file that the trainer named, relative to its own folder: the checkpoint's or one above it. What cannot be read or
/// is no such file is passed over, as the file may lie on another machine.
fn of_trainer(checkpoint: &Path, told: &Path) -> Option<InputMetadata> {
    let checkpoint = std::path::absolute(checkpoint).ok()?;
    // An absolute path takes the place of the folder.
    checkpoint.ancestors().skip(1).find_map(|folder| metadata::read(&folder.join(told)).ok())
}

fn refusal(error: &MetadataError) -> CheckpointError {
    // A file that cannot be read now may be there later.
    let fault = if matches!(error, MetadataError::Unreadable { .. }) { Fault::Passing } else { Fault::Final };
    let hint = Some(error.hint().to_owned());
    CheckpointError { reason: error.reason(), message: error.to_string(), hint, fault }
}

/// The refusal of a file in which no encoder is recognised.
pub(super) fn unrecognised(path: &Path, why: &Unrecognised) -> CheckpointError {
    CheckpointError { hint: why.hint(), ..CheckpointError::refuse(why.reason(), path, why.to_string()) }
}
