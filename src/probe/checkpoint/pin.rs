//! Pinning: a checkpoint is proven and its encoder copied into a file that is ours, in one pass over its tensors.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use serde_json::{Map, json};
use tempfile::NamedTempFile;

use super::{
    CheckpointError, Encoder, Options,
    contents::{self, Container},
    dtype_of,
    error::Result,
    file::TrainerFile,
    no_size, proof,
    view::View,
};
use crate::domain::{Digest, Fault, Pinned, Reason};

/// Proves a checkpoint and copies its encoder into `<pins>/<weights_digest>.safetensors`.
///
/// The copy keeps the stored dtypes and is renamed into place when whole and on disk; one that is there already is
/// kept. One tensor is in memory at a time. Of the trainer's file only the directory, `data.pkl` and the encoder's
/// storages are read. Fails with `changed` when the file was written to or replaced meanwhile, and with
/// `io` when our own folder cannot be written.
pub fn pin(path: &Path, pins: &Path, options: &Options) -> Result<Pinned, CheckpointError> {
    let file = TrainerFile::open(path)?;
    let copied = copy(&file, pins, options);
    // What a file says while it is being rewritten, good or bad, counts for nothing.
    file.check_unchanged()?;
    let (copy, pinned) = copied?;
    let there = fs::metadata(&pinned.pin).is_ok_and(|meta| meta.is_file() && meta.len() == pinned.pin_bytes);
    if !there {
        copy.as_file().sync_all().map_err(|e| ours(pins, &e))?;
        copy.persist(&pinned.pin).map_err(|e| ours(&pinned.pin, &e.error))?;
        File::open(pins).and_then(|folder| folder.sync_all()).map_err(|e| ours(pins, &e))?;
    }
    Ok(Pinned { pin_bytes: fs::metadata(&pinned.pin).map_err(|e| ours(&pinned.pin, &e))?.len(), ..pinned })
}

/// The copy, not renamed yet, and what is known of it.
fn copy(file: &TrainerFile, pins: &Path, options: &Options) -> Result<(NamedTempFile, Pinned)> {
    let path = file.path();
    let (mut container, contents) = contents::open(file, options)?;
    let encoder = Encoder::find(&container, contents)?;
    let encoder = encoder.with_non_finite(&mut container);
    if let Some(refusal) = encoder.refusal(path) {
        return Err(refusal);
    }
    let Some(shape) = encoder.shape else {
        return Err(no_size(path));
    };
    let mut metadata = Map::new();
    metadata.insert("format".into(), "clay-probe pin 1".into());
    metadata.insert("source".into(), path.display().to_string().into());
    if let Some((epoch, _)) = encoder.epoch {
        metadata.insert("epoch".into(), epoch.to_string().into());
    }
    if let Some((step, _)) = encoder.global_step {
        metadata.insert("global_step".into(), step.to_string().into());
    }

    fs::create_dir_all(pins).map_err(|e| ours(pins, &e))?;
    let copy = tempfile::Builder::new()
        .prefix(".tmp-")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(pins)
        .map_err(|e| ours(pins, &e))?;
    let layout = Layout::of(&encoder.views, metadata);
    let weights_digest = layout.write_tensors(&mut container, &encoder.views, &copy)?;
    let file_digest = container.file_digest(weights_digest)?;
    let header = layout.header(file_digest);
    copy.as_file().write_all_at(&header, 0).map_err(|e| ours(copy.path(), &e))?;
    let pinned = Pinned {
        pin: pins.join(format!("{weights_digest}.safetensors")),
        pin_bytes: layout.bytes(),
        format: encoder.format,
        file_digest,
        weights_digest,
        epoch: encoder.epoch,
        global_step: encoder.global_step,
        encoder: shape,
        dtype: dtype_of(&encoder.views).to_owned(),
        about: encoder.about,
    };
    Ok((copy, pinned))
}

/// Where each tensor of the copy lies: the widest elements first, so that all are aligned, then by name.
struct Layout {
    metadata: Map<String, serde_json::Value>,
    tensors: Map<String, serde_json::Value>,
    /// Offsets in the data section.
    offsets: BTreeMap<String, u64>,
    data: u64,
}

impl Layout {
    fn of(views: &BTreeMap<String, View>, metadata: Map<String, serde_json::Value>) -> Self {
        let mut order: Vec<(&String, &View)> = views.iter().collect();
        order.sort_by_key(|(_, view)| std::cmp::Reverse(view.dtype.size()));
        let (mut tensors, mut offsets, mut at) = (Map::new(), BTreeMap::new(), 0);
        for (name, view) in order {
            let end = at + view.bytes();
            // Only floating types pass the check, and their names are those of safetensors in lower case.
            let dtype = view.dtype.name().to_uppercase();
            tensors.insert(name.clone(), json!({"dtype": dtype, "shape": view.shape, "data_offsets": [at, end]}));
            offsets.insert(name.clone(), at);
            at = end;
        }
        Self { metadata, tensors, offsets, data: at }
    }

    /// The length and the header, padded so that the tensors start at a multiple of 64 bytes; its length does not
    /// depend on the digest.
    fn header(&self, file_digest: Digest) -> Vec<u8> {
        let mut metadata = self.metadata.clone();
        metadata.insert("file_digest".into(), file_digest.to_string().into());
        let mut object = Map::from_iter([("__metadata__".to_owned(), metadata.into())]);
        object.extend(self.tensors.clone());
        let mut json = serde_json::Value::Object(object).to_string().into_bytes();
        json.resize((json.len() + 8).next_multiple_of(64) - 8, b' ');
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.append(&mut json);
        header
    }

    fn start(&self) -> u64 {
        self.header(Digest::of(&[])).len() as u64
    }

    /// Bytes of the whole file.
    fn bytes(&self) -> u64 {
        self.start() + self.data
    }

    fn write_tensors(
        &self,
        container: &mut Container,
        views: &BTreeMap<String, View>,
        copy: &NamedTempFile,
    ) -> Result<Digest> {
        let start = self.start();
        copy.as_file().set_len(self.bytes()).map_err(|e| ours(copy.path(), &e))?;
        let proof = proof::read_all(container, views, |name, bytes| {
            let at = start + self.offsets.get(name).copied().unwrap_or_default();
            copy.as_file().write_all_at(bytes, at).map_err(|e| ours(copy.path(), &e))
        })?;
        proof.digest_or_refusal(container.file().path())
    }
}

/// A failure of our own folder; not the checkpoint's fault.
fn ours(path: &Path, source: &io::Error) -> CheckpointError {
    let refusal = CheckpointError::refuse(Reason::Io, path, format!("could not be written: {source}"));
    CheckpointError { fault: Fault::Surroundings, ..refusal.with_hint("is the disk full, or `store.dir` not ours?") }
}
