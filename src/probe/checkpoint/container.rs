//! The two containers of a checkpoint: told apart by content, opened, read from.

use super::{
    archive::Archive,
    contents::Contents,
    error::{CheckpointError, Result},
    file::TrainerFile,
    safetensors, torch,
    view::{Store, View},
};
use crate::domain::{Digest, Reason};

/// An open container, from which tensors are read.
pub(in crate::probe) enum Container {
    Zip(Box<Archive>),
    Safetensors(TrainerFile),
}

/// Reads what a file's container says; what it is decides its content, not its name. `opaque_globals` are full names
/// (`module.name`) that a pickle may mention besides the built-in list.
pub(in crate::probe) fn open(file: &TrainerFile, opaque_globals: &[String]) -> Result<(Container, Contents)> {
    let path = file.path();
    let refuse = |what| CheckpointError::refuse(Reason::NotACheckpoint, path, what);
    let not_yet = |what| CheckpointError::later(Reason::NotACheckpoint, path, what).half_written();
    let start = file.start(1_024)?;
    match start.as_slice() {
        [] => Err(not_yet("is empty")),
        [b'P', b'K', 3, 4, ..] => {
            let mut archive = Archive::open(file.clone())?;
            let contents = torch::read(&mut archive, opaque_globals)?;
            Ok((Container::Zip(Box::new(archive)), contents))
        }
        [b'P'] | [b'P', b'K'] | [b'P', b'K', 3] => {
            Err(CheckpointError::later(Reason::Truncated, path, "holds only the first bytes of a ZIP archive"))
        }
        // A pickled long: the magic number before the tensors.
        [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, ..] => {
            let what = "is in PyTorch's legacy format (before 1.6)";
            let hint = "load it and save it again with a newer one";
            Err(CheckpointError::refuse(Reason::LegacyFormat, path, what).with_hint(hint))
        }
        [0x80, 2..=5, ..] => Err(refuse("is a bare pickle, not what `torch.save` writes")),
        start if safetensors::is_likely(start, file.size()) => {
            let contents = safetensors::read(file)?;
            Ok((Container::Safetensors(file.clone()), contents))
        }
        // Some file systems give a file its size before its bytes.
        start if start.iter().all(|&b| b == 0) => Err(not_yet("starts with zeros")),
        [b'<', ..] => Err(refuse("is text, perhaps an error page of a download, not a checkpoint")),
        _ => Err(refuse("is neither a ZIP archive of `torch.save` nor safetensors")),
    }
}

impl Container {
    pub fn file(&self) -> &TrainerFile {
        match self {
            Self::Zip(archive) => archive.file(),
            Self::Safetensors(file) => file,
        }
    }

    /// Replaces `into` by the tensor's bytes, row-major, in its stored dtype; `scratch` is used on the way.
    pub fn read(&mut self, view: &View, into: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<()> {
        let raw = if view.is_contiguous() { &mut *into } else { &mut *scratch };
        let range = view.range();
        match (&mut *self, &view.store) {
            (Self::Zip(archive), Store::Entry(name)) => archive.read(name, range, raw)?,
            (container, store) => {
                let at = if let Store::At(at) = store { *at } else { 0 };
                // A view never has more bytes than its file, so these are there to be read.
                raw.clear();
                raw.resize((range.end - range.start) as usize, 0);
                container.file().read_exact_at(raw, at + range.start)?;
            }
        }
        if !view.is_contiguous() {
            view.gather(scratch, into);
        }
        Ok(())
    }

    /// blake3 over what tells the file from others without reading gigabytes of optimizer state: of a ZIP its size,
    /// directory and pickle; of safetensors its size, header and the digest of the weights.
    pub fn file_digest(&mut self, weights: Digest) -> Result<Digest> {
        let file = match self {
            Self::Zip(archive) => return Ok(archive.digest()?.into()),
            Self::Safetensors(file) => file,
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"clay-probe file safetensors 1");
        hasher.update(&file.size().to_le_bytes());
        hasher.update(&safetensors::header(file)?);
        hasher.update(weights.to_string().as_bytes());
        Ok(hasher.finalize().into())
    }
}
