//! What the few known calls of a pickle make: dictionaries, storages, tensor views. Nothing is run.

use super::{
    globals::Global,
    refusal::{Refusal, Result},
    value::{Arena, Id, Storage, Tensor, Value},
};

/// As many dimensions as PyTorch allows.
const MAX_DIMS: usize = 64;

/// What a call results in.
pub(super) enum Made {
    /// One of its arguments.
    Is(Id),
    New(Value),
}

/// The result of calling `global` with the tuple `args`.
pub(super) fn result(arena: &mut Arena, global: Global, args: Id) -> Result<Made> {
    let Value::Tuple(args) = arena.get(args) else {
        return Err(Refusal::bad(format!("a call with {} for arguments", arena.get(args).kind())));
    };
    let first = args.first().copied();
    Ok(match global {
        Global::Dict => Made::New(Value::Dict(first.map_or_else(Vec::new, |id| items(arena, id)))),
        Global::Tensor => Made::New(Value::Tensor(Box::new(tensor(arena, args)?))),
        Global::Parameter => match first.filter(|&id| matches!(arena.get(id), Value::Tensor(_))) {
            Some(tensor) => Made::Is(tensor),
            None => return Err(Refusal::bad("a parameter that is not a tensor")),
        },
        Global::Size => match first.filter(|&id| arena.sequence(id).is_some()) {
            Some(sizes) => Made::Is(sizes),
            None => return Err(Refusal::bad("a `torch.Size` that is not a tuple")),
        },
        Global::Storage(_) | Global::Opaque => Made::New(Value::Opaque),
    })
}

/// What a dictionary is made from: another one, or pairs; anything else (a default factory) adds nothing.
fn items(arena: &Arena, id: Id) -> Vec<(Id, Id)> {
    let pair = |id: &Id| match arena.sequence(*id) {
        Some(&[key, value]) => Some((key, value)),
        _ => None,
    };
    match arena.get(id) {
        Value::Dict(items) => items.clone(),
        Value::List(items) => items.iter().filter_map(pair).collect(),
        _ => Vec::new(),
    }
}

/// `_rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks)`.
fn tensor(arena: &Arena, args: &[Id]) -> Result<Tensor> {
    let &[storage, offset, shape, stride, ..] = args else {
        return Err(Refusal::bad("a tensor with too few arguments"));
    };
    let Value::Storage(storage) = *arena.get(storage) else {
        return Err(Refusal::bad(format!("a tensor over {} instead of a storage", arena.get(storage).kind())));
    };
    let natural = |id: Id| arena.int(id).and_then(|n| u64::try_from(n).ok());
    let sizes = |id: Id| -> Option<Vec<u64>> {
        let sizes = arena.sequence(id).filter(|sizes| sizes.len() <= MAX_DIMS)?;
        sizes.iter().map(|&id| natural(id)).collect()
    };
    match (natural(offset), sizes(shape), sizes(stride)) {
        (Some(offset), Some(shape), Some(stride)) if shape.len() == stride.len() => {
            Ok(Tensor { storage, offset, shape, stride })
        }
        _ => Err(Refusal::bad("a tensor whose offset, shape and stride are not counts")),
    }
}

/// The storage of a persistent id, `("storage", class, key, location, elements)`.
pub(super) fn storage(arena: &Arena, id: Id) -> Result<Storage> {
    let &[tag, class, key, _location, elements, ..] = arena.sequence(id).unwrap_or_default() else {
        return Err(Refusal::bad("a persistent id that is no storage"));
    };
    let class = match arena.get(class) {
        Value::Global(Global::Storage(dtype)) => Some(*dtype),
        _ => None,
    };
    let elements = arena.int(elements).and_then(|n| u64::try_from(n).ok());
    match (arena.str(tag), class, arena.str(key), elements) {
        (Some("storage"), Some(dtype), Some(_), Some(elements)) => Ok(Storage { dtype, key, elements }),
        _ => Err(Refusal::bad("a persistent id that is no storage")),
    }
}
