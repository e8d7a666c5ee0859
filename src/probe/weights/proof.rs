//! The proof of a checkpoint's weights: every encoder tensor read once, its CRC and values checked, all digested.

use std::{collections::BTreeMap, path::Path};

use super::refusal_of;
use crate::{
    domain::Digest,
    probe::{
        checkpoint::{Container, Result, View},
        encoder::keys::Problems,
    },
};

/// What reading every tensor showed.
pub(super) struct Proof {
    digest: Digest,
    /// Tensors with values that are not finite, and how many.
    pub non_finite: Vec<String>,
}

impl Proof {
    /// The digest of the weights, unless a value is not finite.
    pub fn digest_or_refusal(self, path: &Path) -> Result<Digest> {
        let problems = Problems { non_finite: self.non_finite, ..Problems::default() };
        if problems.reason().is_some() { Err(refusal_of(path, &problems)) } else { Ok(self.digest) }
    }
}

/// Reads the tensors in the order of their names, one in memory at a time, and hands each to `sink`.
///
/// The digest is blake3 over, per tensor: name, number of dimensions, dimensions, dtype, bytes (row-major, in the
/// stored dtype, little-endian); lengths before texts, all counts as 64 bits little-endian.
pub(super) fn read_all(
    container: &mut Container,
    views: &BTreeMap<String, View>,
    mut sink: impl FnMut(&str, &[u8]) -> Result<()>,
) -> Result<Proof> {
    let mut hasher = blake3::Hasher::new();
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    let mut non_finite = Vec::new();
    for (name, view) in views {
        container.read(view, &mut bytes, &mut scratch)?;
        let dtype = view.dtype.name();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&(view.shape.len() as u64).to_le_bytes());
        for &size in &view.shape {
            hasher.update(&(size as u64).to_le_bytes());
        }
        hasher.update(&(dtype.len() as u64).to_le_bytes());
        hasher.update(dtype.as_bytes());
        hasher.update(&bytes);
        match view.dtype.count_non_finite(&bytes) {
            0 => {}
            1 => non_finite.push(format!("`{name}` (1 value)")),
            n => non_finite.push(format!("`{name}` ({n} values)")),
        }
        sink(name, &bytes)?;
    }
    Ok(Proof { digest: hasher.finalize().into(), non_finite })
}
