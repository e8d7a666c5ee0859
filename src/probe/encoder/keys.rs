//! Holding the tensors of a file against those that an encoder must have: one engine, a table per family.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{domain::Reason, probe::checkpoint::TensorInfo};

/// More layers than any model has; bounds what a made-up layer number can ask for.
const MAX_DEPTH: usize = 1_000;

/// What stands below an encoder's prefix, by name without prefix and wrappers.
pub type Found = BTreeMap<String, Stored>;

/// Tensors that must be there: name and shape, no number where a size could not be inferred.
pub(super) type Expected = Vec<(String, Vec<Option<usize>>)>;

/// What stands under an encoder's key.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    Tensor(TensorInfo),
    /// Something else, in words: `a string`.
    Other(&'static str),
}

/// Everything that is wrong with an encoder's tensors, each entry naming one (or a whole layer, `….*`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problems {
    pub missing: Vec<String>,
    pub unexpected: Vec<String>,
    pub wrong_shape: Vec<String>,
    pub wrong_dtype: Vec<String>,
    pub non_finite: Vec<String>,
    /// What the names suggest: a band group too few or too many.
    pub hints: Vec<String>,
}

impl Problems {
    fn kinds(&self) -> [(Reason, &'static str, &[String]); 5] {
        [
            (Reason::MissingTensor, "lacks", &self.missing),
            (Reason::UnexpectedTensor, "has unexpected", &self.unexpected),
            (Reason::WrongShape, "has the wrong shape:", &self.wrong_shape),
            (Reason::WrongDtype, "has the wrong dtype:", &self.wrong_dtype),
            (Reason::NonFinite, "has values that are not finite:", &self.non_finite),
        ]
    }

    /// The reason code of the first kind of problem there is, in the order missing, unexpected, shape, dtype, not
    /// finite; the message tells all of them.
    pub fn reason(&self) -> Option<Reason> {
        self.kinds().into_iter().find(|(_, _, names)| !names.is_empty()).map(|(reason, ..)| reason)
    }

    /// What the names suggest, in one text.
    pub fn hint(&self) -> Option<String> {
        Some(self.hints.join("; hint: ")).filter(|hint| !hint.is_empty())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        let mut between = "";
        for (_, words, names) in self.kinds().into_iter().filter(|(_, _, names)| !names.is_empty()) {
            let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            write!(f, "{between}{words} {shown}")?;
            if let Some(more @ 1..) = names.len().checked_sub(SHOWN) {
                write!(f, " and {more} more")?;
            }
            between = "; ";
        }
        Ok(())
    }
}

/// What the shapes of an encoder's tensors tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// D.
    pub dim: usize,
    pub depth: usize,
    /// H.
    pub heads: usize,
    pub dim_head: usize,
    /// M.
    pub mlp_dim: usize,
    /// P, pixels.
    pub patch_size: usize,
    pub parameters: u64,
    /// How many tensors an encoder of this size has.
    pub tensors: u64,
}

/// The size of an axis of a tensor that is there.
pub(super) fn axis(found: &Found, name: &str, axis: usize) -> Option<usize> {
    match found.get(name) {
        Some(Stored::Tensor(info)) => info.shape.get(axis).copied(),
        _ => None,
    }
}

/// The transformer's layers that something stands for.
pub(super) fn layers(found: &Found) -> BTreeSet<usize> {
    found.keys().filter_map(|name| layer_of(name)).collect()
}

fn layer_of(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("transformer.layers.")?.split_once('.')?;
    // `01` and `+1` are not how a layer is named: such a key is unexpected.
    number.parse().ok().filter(|n: &usize| n.to_string() == number)
}

/// The rows of a layer's tensor, from the first layer that has it.
pub(super) fn rows_in_any_layer(found: &Found, rest: &str) -> Option<usize> {
    layers(found).iter().find_map(|i| axis(found, &format!("transformer.layers.{i}.{rest}"), 0))
}

/// One more than the last layer's number.
pub(super) fn depth(found: &Found) -> usize {
    layers(found).last().map_or(0, |last| last.saturating_add(1))
}

/// The tensors of the layers that are there, `of` a layer's number; whole layers that are absent are noted as missing.
pub(super) fn expected_in_layers(found: &Found, problems: &mut Problems, of: impl Fn(usize) -> Expected) -> Expected {
    let (present, depth) = (layers(found), depth(found));
    if depth == 0 {
        problems.missing.push("`transformer.layers.0.*`".to_owned());
    }
    let absent = (0..depth.min(MAX_DEPTH)).filter(|i| !present.contains(i));
    problems.missing.extend(absent.map(|i| format!("`transformer.layers.{i}.*`")));
    if depth > MAX_DEPTH {
        problems.missing.push(format!("layers between {MAX_DEPTH} and {}", depth - 1));
    }
    present.into_iter().take(MAX_DEPTH).flat_map(of).collect()
}

/// Holds what was found against what is expected: names, shapes, dtypes.
pub(super) fn compare(found: &Found, expected: Expected, problems: &mut Problems) {
    let mut unseen: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    for (name, shape) in expected {
        unseen.remove(name.as_str());
        match found.get(&name) {
            None => problems.missing.push(format!("`{name}`")),
            Some(Stored::Other(what)) => problems.wrong_dtype.push(format!("`{name}` is {what}, not a tensor")),
            Some(Stored::Tensor(info)) => {
                let same = info.shape.len() == shape.len()
                    && info.shape.iter().zip(&shape).all(|(&is, want)| want.is_none_or(|want| is == want));
                if !same {
                    problems.wrong_shape.push(format!("`{name}` is {:?}, not {}", info.shape, Wanted(&shape)));
                }
                if !matches!(info.dtype.as_str(), "f64" | "f32" | "f16" | "bf16") {
                    problems.wrong_dtype.push(format!("`{name}` is {}, not floating point", info.dtype));
                }
            }
        }
    }
    problems.unexpected.extend(unseen.iter().map(|name| format!("`{}`", name.escape_debug())));
}

/// The values that tensors of known shapes hold.
pub(super) fn parameters(expected: &Expected) -> u64 {
    let numel = |shape: &[Option<usize>]| shape.iter().flatten().fold(1u64, |n, &d| n.saturating_mul(d as u64));
    expected.iter().fold(0, |sum, (_, shape)| sum.saturating_add(numel(shape)))
}

/// A wanted shape, `?` where the size could not be inferred.
struct Wanted<'a>(&'a [Option<usize>]);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.0.iter().map(|d| d.map_or_else(|| "?".to_owned(), |d| d.to_string()));
        write!(f, "[{}]", sizes.collect::<Vec<_>>().join(", "))
    }
}
