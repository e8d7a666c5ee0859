//! What tells one version of a file from another without reading it.

use std::{fmt, str::FromStr};

/// A file's identity: it is known when all five are. Written `device:inode:size:mtime_ns:ctime_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

impl Identity {
    /// Whether `later` can be the same content, written further: the same inode, grown.
    pub fn grew_into(&self, later: &Self) -> bool {
        (self.device, self.inode) == (later.device, later.inode) && later.size > self.size
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}:{}", self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns)
    }
}

impl FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let read = || {
            let &[device, inode, size, mtime, ctime] = parts.as_slice() else { return None };
            Some(Self {
                device: device.parse().ok()?,
                inode: inode.parse().ok()?,
                size: size.parse().ok()?,
                mtime_ns: mtime.parse().ok()?,
                ctime_ns: ctime.parse().ok()?,
            })
        };
        read().ok_or_else(|| format!("`{text}` is not a file's identity"))
    }
}
