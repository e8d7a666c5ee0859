//! Pinning: a checkpoint is proven and its encoder copied into a file that is ours, in one pass over its tensors.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use tempfile::NamedTempFile;

use super::{Options, dtype_of, find::Found, layout::Layout, proof};
use crate::{
    domain::{Fault, Pinned, Reason},
    probe::checkpoint::{self, CheckpointError, Result, TrainerFile},
};

/// Proves a checkpoint and copies its encoder into `<pins>/<weights_digest>.safetensors`.
///
/// The copy keeps the stored dtypes, says all that is known of the encoder (so that it opens to the same facts), and is
/// renamed into place when whole and on disk; one that is there already and says the same is kept. One tensor is in
/// memory at a time. Of the trainer's file only the directory, `data.pkl` and the encoder's
/// storages are read. Fails with `changed` when the file was written to or replaced meanwhile, and with
/// `io` when our own folder cannot be written.
pub fn pin(path: &Path, pins: &Path, options: &Options) -> Result<Pinned, CheckpointError> {
    let file = TrainerFile::open(path)?;
    let copied = copy(&file, pins, options);
    // What a file says while it is being rewritten, good or bad, counts for nothing.
    file.check_unchanged()?;
    let (copy, layout, pinned) = copied?;
    if !is_there(&pinned.pin, &layout) {
        copy.as_file().sync_all().map_err(|e| ours(pins, &e))?;
        copy.persist(&pinned.pin).map_err(|e| ours(&pinned.pin, &e.error))?;
        File::open(pins).and_then(|folder| folder.sync_all()).map_err(|e| ours(pins, &e))?;
    }
    Ok(Pinned { pin_bytes: fs::metadata(&pinned.pin).map_err(|e| ours(&pinned.pin, &e))?.len(), ..pinned })
}

/// Whether a pin of these weights lies there whole, and says the same of them.
fn is_there(pin: &Path, layout: &Layout) -> bool {
    let opened = TrainerFile::open(pin).and_then(|file| checkpoint::open(&file, &[]));
    opened.is_ok_and(|(_, contents)| layout.is_told_by(&contents.metadata))
}

/// The copy, not renamed yet, and what is known of it.
fn copy(file: &TrainerFile, pins: &Path, options: &Options) -> Result<(NamedTempFile, Layout, Pinned)> {
    let path = file.path();
    let (mut container, contents) = checkpoint::open(file, &options.opaque_globals)?;
    let found = Found::find(&container, contents, options)?.with_non_finite(&mut container);
    let facts = found.facts_or_refusal(path)?;

    fs::create_dir_all(pins).map_err(|e| ours(pins, &e))?;
    let copy = tempfile::Builder::new()
        .prefix(".tmp-")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(pins)
        .map_err(|e| ours(pins, &e))?;
    let layout = Layout::of(&found, &facts, path.display().to_string());
    copy.as_file().set_len(layout.bytes()).map_err(|e| ours(copy.path(), &e))?;
    let positions = layout.positions();
    let proof = proof::read_all(&mut container, &found.views, |name, bytes| {
        let at = positions.get(name).copied().unwrap_or_default();
        copy.as_file().write_all_at(bytes, at).map_err(|e| ours(copy.path(), &e))
    })?;
    let weights_digest = proof.digest_or_refusal(path)?;
    let file_digest = container.file_digest(weights_digest)?;
    copy.as_file().write_all_at(&layout.header(file_digest), 0).map_err(|e| ours(copy.path(), &e))?;
    let pinned = Pinned {
        pin: pins.join(format!("{weights_digest}.safetensors")),
        pin_bytes: layout.bytes(),
        format: found.format,
        file_digest,
        weights_digest,
        epoch: found.epoch,
        global_step: found.global_step,
        encoder: facts,
        dtype: dtype_of(&found.views).to_owned(),
        about: found.about,
    };
    Ok((copy, layout, pinned))
}

/// A failure of our own folder; not the checkpoint's fault.
fn ours(path: &Path, source: &io::Error) -> CheckpointError {
    let refusal = CheckpointError::refuse(Reason::Io, path, format!("could not be written: {source}"));
    CheckpointError { fault: Fault::Surroundings, ..refusal.with_hint("is the disk full, or `store.dir` not ours?") }
}
