//! The trainer's file: one descriptor, plain reads at positions, and whether it changed meanwhile.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::error::{CheckpointError, Result};
use crate::domain::{Identity, Reason};

fn identity(meta: &Metadata) -> Identity {
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Identity {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        mtime_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
    }
}

/// A file of the trainer, opened once and read with plain reads: never mapped, locked or written.
#[derive(Clone, Debug)]
pub(in crate::probe) struct TrainerFile {
    path: PathBuf,
    file: Arc<File>,
    opened: Identity,
    position: u64,
    /// Bytes read so far, by all clones.
    read: Arc<AtomicU64>,
}

impl TrainerFile {
    /// Opens the file (through a link, if it is one).
    pub fn open(path: &Path) -> Result<Self> {
        // Without `NONBLOCK` the opening of a named pipe would wait for a writer for ever.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|e| CheckpointError::io(path, &e))?;
        let meta = file.metadata().map_err(|e| CheckpointError::io(path, &e))?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "is a folder, not a file" } else { "is not a regular file" };
            return Err(CheckpointError::refuse(Reason::Unreadable, path, what));
        }
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            opened: identity(&meta),
            position: 0,
            read: Arc::default(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes at the time of opening.
    pub fn size(&self) -> u64 {
        self.opened.size
    }

    /// Bytes read since it was opened.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Fills `buffer` from `at`.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_exact_at(buffer, at).map_err(|e| CheckpointError::io(&self.path, &e))
    }

    /// Up to `len` bytes of the file's start.
    pub fn start(&self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len.min(self.size()) as usize];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Refuses with `changed` when the content may be another than at the time of opening.
    ///
    /// A file that was deleted meanwhile (trainers keep the best few) is whole all the same: its content lives on
    /// behind the open descriptor.
    pub fn check_unchanged(&self) -> Result<()> {
        let meta = self.file.metadata().map_err(|e| CheckpointError::io(&self.path, &e))?;
        let now = identity(&meta);
        let changed = |how: &str| {
            let refusal = CheckpointError::later(Reason::Changed, &self.path, format!("was {how} while it was read"));
            Err(refusal.with_hint("it is read again once it has settled"))
        };
        match std::fs::metadata(&self.path) {
            Ok(meta) if (meta.dev(), meta.ino()) != (now.device, now.inode) => changed("replaced"),
            Ok(_) if now != self.opened => changed("written to"),
            // Deleting changes ctime, and nothing else.
            Err(_) if Identity { ctime_ns: self.opened.ctime_ns, ..now } != self.opened => changed("written to"),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Read for TrainerFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not beyond the size at opening: a file that grows meanwhile is refused at the end anyhow.
        let left = self.opened.size.saturating_sub(self.position);
        let len = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..len], self.position)?;
        self.position += read as u64;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Seek for TrainerFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.opened.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::domain::Fault;

    #[test]
    fn writing_and_replacing_are_noticed_and_deleting_is_not_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ckpt");
        let reason_after = |change: &dyn Fn()| {
            fs::write(&path, b"first").unwrap();
            let file = TrainerFile::open(&path).unwrap();
            file.check_unchanged().unwrap();
            change();
            file.check_unchanged().err().map(|e| (e.reason, e.fault))
        };
        let other = folder.path().join("b.ckpt");
        let changed = Some((Reason::Changed, Fault::Passing));
        assert_eq!(reason_after(&|| fs::write(&path, b"first and more").unwrap()), changed);
        assert_eq!(reason_after(&|| fs::write(&path, b"").unwrap()), changed);
        let replace = || {
            fs::write(&other, b"first").unwrap();
            fs::rename(&other, &path).unwrap();
        };
        assert_eq!(reason_after(&replace), changed);
        assert_eq!(reason_after(&|| fs::remove_file(&path).unwrap()), None, "its content lives on");
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe.ckpt");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        assert_eq!(TrainerFile::open(&path).unwrap_err().reason, Reason::Unreadable);
    }
}
