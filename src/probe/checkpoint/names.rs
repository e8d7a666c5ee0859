//! From the keys of a state dict to the names of an encoder: wrappers and prefix removed.

use std::{collections::BTreeMap, path::Path};

use super::{
    contents::Entry,
    error::{CheckpointError, Result},
};
use crate::domain::Reason;

/// Buffers that some revisions store, and that are computed anyhow.
const IGNORED: [&str; 2] = ["pos_encoding", "band_encoding"];
/// One of these makes an encoder one of Clay v0.
const MARKS: [&str; 3] = ["patch_embedding.rgb.proj.weight", "latlon_embedding.weight", "time_embedding.weight"];

/// The entries of the encoder by name, without the segments that wrappers add (`module.`, `_orig_mod.`, wherever
/// they stand) and without the prefix `model.encoder.` or `encoder.`.
///
/// Refuses what is no encoder of Clay v0 (`no-encoder`, `clay-v1`) and keys that coincide (`duplicate-tensor`).
pub(super) fn encoder_entries(path: &Path, entries: Vec<(String, Entry)>) -> Result<BTreeMap<String, Entry>> {
    let clean: Vec<(String, String, Entry)> = entries.into_iter().map(|(key, e)| (unwrapped(&key), key, e)).collect();
    let has = |prefix: &str| clean.iter().any(|(name, ..)| name.starts_with(prefix));
    let prefix = ["model.encoder.", "encoder."].into_iter().find(|prefix| has(prefix)).unwrap_or_default();
    let named = |name: &str| has_exactly(&clean, &format!("{prefix}{name}"));
    let marks = MARKS.iter().filter(|mark| named(mark)).count();
    let v1_tensors = has(&format!("{prefix}patch_embedding.weight_generator."));
    let v1_parts = prefix == "model.encoder." && ["model.teacher.", "model.proj.", "model.mrl."].into_iter().any(has);
    if marks < MARKS.len() && (v1_tensors || v1_parts) {
        let what = "holds the encoder of Clay v1 (1.0 or 1.5); only Clay v0 is supported";
        return Err(CheckpointError::refuse(Reason::ClayV1, path, what));
    }
    if marks == 0 {
        let mut starts: Vec<String> = clean.iter().map(|(_, key, _)| start_of(key)).collect();
        starts.sort_unstable();
        starts.dedup();
        starts.truncate(6);
        let keys = match starts.as_slice() {
            [] => "its state dict is empty".to_owned(),
            starts => format!("its {} keys start with {}", clean.len(), starts.join(", ")),
        };
        let what = format!("holds no encoder of Clay v0: no `{}`; {keys}", MARKS[0]);
        return Err(CheckpointError::refuse(Reason::NoEncoder, path, what));
    }
    let mut found: BTreeMap<String, (String, Entry)> = BTreeMap::new();
    let mut twice = Vec::new();
    for (name, key, entry) in clean {
        let Some(name) = name.strip_prefix(prefix).filter(|name| !IGNORED.contains(name)) else { continue };
        if let Some((first, _)) = found.insert(name.to_owned(), (key.clone(), entry)) {
            twice.push(format!("`{name}` (as `{}` and `{}`)", first.escape_debug(), key.escape_debug()));
        }
    }
    if !twice.is_empty() {
        twice.truncate(20);
        let what = format!("holds tensors twice: {}", twice.join(", "));
        return Err(CheckpointError::refuse(Reason::DuplicateTensor, path, what));
    }
    Ok(found.into_iter().map(|(name, (_, entry))| (name, entry)).collect())
}

fn has_exactly(clean: &[(String, String, Entry)], name: &str) -> bool {
    clean.iter().any(|(n, ..)| n == name)
}

fn unwrapped(key: &str) -> String {
    let kept: Vec<&str> = key.split('.').filter(|segment| !matches!(*segment, "module" | "_orig_mod")).collect();
    kept.join(".")
}

/// The first two segments of a key, for a message.
fn start_of(key: &str) -> String {
    let start: Vec<&str> = key.split('.').take(2).collect();
    let start: String = start.join(".").chars().take(60).collect();
    format!("`{}.`", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_stripped_wherever_they_stand() {
        for key in ["module.model.encoder.a.b", "model._orig_mod.encoder.a.b", "_orig_mod.model.module.encoder.a.b"] {
            assert_eq!(unwrapped(key), "model.encoder.a.b");
        }
        assert_eq!(unwrapped("modules.a"), "modules.a");
    }
}
