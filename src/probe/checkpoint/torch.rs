//! What `torch.save` wrote: the state dict's tensors, and what the file says of itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{
    archive::Archive,
    contents::{Contents, Entry},
    error::{CheckpointError, Result},
    pickle,
    refusal::Refusal,
    value::{Arena, Id, Tensor, Value},
    view::{Store, View},
};
use crate::domain::{Epoch, Format, Reason, ValueSource};

/// Reads the pickle of an archive.
pub(super) fn read(archive: &mut Archive, opaque_globals: &[String]) -> Result<Contents> {
    let path = archive.file().path().to_owned();
    let refuse = |reason, what: String| CheckpointError::refuse(reason, &path, what);
    if archive.is_big_endian()? {
        return Err(refuse(Reason::WrongDtype, "was written on a big-endian machine, which is not supported".into()));
    }
    let bytes = archive.pickle()?;
    let (arena, top) = pickle::read(&bytes, opaque_globals).map_err(|refusal| match refusal {
        Refusal::Bad(what) => refuse(Reason::BadPickle, format!("holds a `data.pkl` that cannot be read: {what}")),
        Refusal::Unsafe(names) => refuse(
            Reason::UnsafePickle,
            format!(
                "mentions `{}` in its pickle, which is on no list of harmless names (nothing was run)",
                names.join("`, `")
            ),
        )
        .with_hint("if that is only data, add the name to `probe.opaque_globals`"),
    })?;
    let no_state_dict = |what: String| refuse(Reason::NoStateDict, what);
    let Some(dict) = arena.dict(top) else {
        return Err(no_state_dict(format!("holds {} instead of a dictionary", arena.get(top).kind())));
    };
    let state_dict = match arena.lookup(dict, "state_dict") {
        Some(id) => arena.dict(id).ok_or_else(|| {
            no_state_dict(format!("has a `state_dict` that is {} instead of a dictionary", arena.get(id).kind()))
        })?,
        None if dict.iter().any(|&(_, value)| matches!(arena.get(value), Value::Tensor(_))) => dict,
        None => {
            let keys: Vec<_> = dict.iter().filter_map(|&(k, _)| arena.str(k)).take(8).collect();
            return Err(no_state_dict(format!("has no `state_dict`; its keys are {keys:?}")));
        }
    };
    let lightning = arena.lookup(dict, "pytorch-lightning_version").is_some();
    let number = |key| arena.lookup(dict, key).and_then(|id| arena.int(id));
    let entries = state_dict.iter().filter_map(|&(key, value)| {
        let name = arena.str(key)?.to_owned();
        Some((name, entry(&arena, value, archive)))
    });
    let hyper_parameters = arena.lookup(dict, "hyper_parameters").filter(|&id| arena.dict(id).is_some());
    Ok(Contents {
        format: if lightning { Format::Lightning } else { Format::Torch },
        epoch: number("epoch").and_then(|n| u32::try_from(n).ok()).map(|n| (Epoch(n), ValueSource::File)),
        global_step: number("global_step").and_then(|n| u64::try_from(n).ok()).map(|n| (n, ValueSource::File)),
        about: about(&arena, dict),
        hyper_parameters: hyper_parameters.and_then(|id| arena.json(id)),
        metadata: BTreeMap::new(),
        entries: entries.collect(),
    })
}

fn entry(arena: &Arena, value: Id, archive: &Archive) -> Entry {
    match arena.get(value) {
        Value::Tensor(tensor) => match view(arena, tensor, archive) {
            Ok(view) => Entry::Tensor(view),
            Err((reason, what)) => Entry::Broken(reason, what),
        },
        other => Entry::Other(other.kind()),
    }
}

/// The tensor as a view of its storage's entry, whose size is held against the declared one.
fn view(arena: &Arena, tensor: &Tensor, archive: &Archive) -> Result<View, (Reason, String)> {
    let storage = tensor.storage;
    let name = format!("data/{}", arena.str(storage.key).unwrap_or_default());
    let declared = storage.elements.checked_mul(storage.dtype.size() as u64);
    match archive.size(&name) {
        None => {
            return Err((
                Reason::Truncated,
                format!("its bytes, the ZIP entry `{}`, are missing", name.escape_debug()),
            ));
        }
        Some(size) if Some(size) != declared => {
            let elements = storage.elements;
            let what = format!(
                "its bytes, the ZIP entry `{}`, are {size} instead of {elements} elements of {}",
                name.escape_debug(),
                storage.dtype.name()
            );
            return Err((Reason::Truncated, what));
        }
        Some(_) => {}
    }
    let store = Store::Entry(name);
    View::new(storage.dtype, (&tensor.shape, &tensor.stride), tensor.offset, storage.elements, store)
        .map_err(|what| (Reason::BadPickle, format!("it {what}")))
}

/// Lightning's version, plain hyper-parameters and other plain numbers and words at the top.
fn about(arena: &Arena, dict: &[(Id, Id)]) -> Json {
    let mut about = Map::new();
    for &(key, value) in dict.iter().take(100) {
        let plain = match (arena.str(key), arena.get(value)) {
            (Some("epoch" | "global_step"), _) => continue,
            (Some("hyper_parameters"), _) => true,
            (Some(_), value) => matches!(value, Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_)),
            _ => false,
        };
        let (Some(key), true) = (arena.str(key), plain) else { continue };
        let key = if key == "pytorch-lightning_version" { "lightning_version" } else { key };
        if let Some(json) = arena.json(value) {
            about.insert(key.chars().take(200).collect(), json);
        }
    }
    Json::Object(about)
}
