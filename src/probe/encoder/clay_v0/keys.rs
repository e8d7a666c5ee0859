//! The tensors a Clay v0 encoder must have; its size, inferred from their shapes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{GROUPS, PATCH};
use crate::{
    domain::{EncoderFacts, Family, Generation, Reason, TensorCounts},
    probe::checkpoint::TensorInfo,
};

/// The width of an attention head, which no shape tells: 64 in every v0 model.
pub const DIM_HEAD: usize = 64;
/// More layers than any model has; bounds what a made-up layer number can ask for.
const MAX_DEPTH: usize = 1_000;

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

/// The sizes that the shapes tell; none where the tensor that tells it is absent or odd.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    /// D.
    dim: Option<usize>,
    /// I = 64 H.
    inner: Option<usize>,
    /// M.
    mlp_dim: Option<usize>,
    depth: usize,
}

impl Sizes {
    /// The model without an output projection after the attention: one head that is as wide as the tokens.
    fn has_projection(&self) -> bool {
        !(self.inner == Some(DIM_HEAD) && self.dim == Some(DIM_HEAD))
    }
}

/// Infers the size from the shapes and holds every tensor against it.
///
/// `found` is keyed without prefix and wrappers. The shape is given as soon as all sizes can be inferred, also when
/// there are problems.
pub fn check(found: &BTreeMap<String, Stored>) -> (Option<EncoderFacts>, Problems) {
    let mut problems = Problems::default();
    let sizes = infer(found, &mut problems);
    let mut unseen: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    for (name, shape) in
        expected_around_layers(&sizes).into_iter().chain(expected_in_layers(&sizes, found, &mut problems))
    {
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
    hint_groups(found, &mut problems);
    let shape = match sizes {
        Sizes { dim: Some(dim), inner: Some(inner), mlp_dim: Some(mlp_dim), depth: depth @ 1.. } => {
            Some(shape_of(dim, depth, inner / DIM_HEAD, mlp_dim))
        }
        _ => None,
    };
    (shape, problems)
}

/// The tensors of an encoder of that size and their shapes, by name.
pub fn expected(dim: usize, depth: usize, heads: usize, mlp_dim: usize) -> BTreeMap<String, Vec<usize>> {
    let sizes = Sizes { dim: Some(dim), inner: Some(heads * DIM_HEAD), mlp_dim: Some(mlp_dim), depth };
    let layers = (0..depth).flat_map(|i| expected_layer(&sizes, i));
    let all = expected_around_layers(&sizes).into_iter().chain(layers);
    all.map(|(name, shape)| (name, shape.into_iter().flatten().collect())).collect()
}

fn shape_of(dim: usize, depth: usize, heads: usize, mlp_dim: usize) -> EncoderFacts {
    let sizes = Sizes { dim: Some(dim), inner: Some(heads * DIM_HEAD), mlp_dim: Some(mlp_dim), depth };
    let count = |tensors: Vec<(String, Vec<Option<usize>>)>| -> u64 {
        let numel = |shape: &[Option<usize>]| shape.iter().flatten().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        tensors.iter().fold(0, |sum, (_, shape)| sum.saturating_add(numel(shape)))
    };
    let layers = count(expected_layer(&sizes, 0)).saturating_mul(depth as u64);
    EncoderFacts {
        family: Family::ClayV0,
        generation: Generation::V0,
        told_by: "its keys".to_owned(),
        dim,
        depth,
        heads,
        dim_head: DIM_HEAD,
        mlp_dim,
        patch_size: PATCH,
        parameters: count(expected_around_layers(&sizes)).saturating_add(layers),
        prefix: String::new(),
        tensors: TensorCounts::default(),
        metadata: None,
    }
}

fn infer(found: &BTreeMap<String, Stored>, problems: &mut Problems) -> Sizes {
    let rows = |name: &str| match found.get(name) {
        Some(Stored::Tensor(info)) => info.shape.first().copied(),
        _ => None,
    };
    let layers: BTreeSet<usize> = found.keys().filter_map(|name| layer_of(name)).collect();
    let in_any_layer = |rest: &str| layers.iter().find_map(|i| rows(&format!("transformer.layers.{i}.{rest}")));
    let dim = ["patch_embedding.rgb.proj.weight", "latlon_embedding.weight", "time_embedding.weight"];
    let dim = dim.into_iter().find_map(rows);
    if let Some(dim) = dim.filter(|dim| dim % 8 != 0 || *dim < 16) {
        let name = "patch_embedding.rgb.proj.weight";
        problems
            .wrong_shape
            .push(format!("`{name}` gives the width D = {dim}, which is not a multiple of 8 from 16 on"));
    }
    let qkv = in_any_layer("0.to_qkv.weight");
    let inner = qkv.filter(|rows| *rows > 0 && rows % (3 * DIM_HEAD) == 0).map(|rows| rows / 3);
    if let (Some(rows), None) = (qkv, inner) {
        let name = format!("transformer.layers.{}.0.to_qkv.weight", layers.first().unwrap_or(&0));
        problems.wrong_shape.push(format!("`{name}` has {rows} rows, which is not 3 times a multiple of {DIM_HEAD}"));
    }
    let depth = layers.last().map_or(0, |last| last.saturating_add(1));
    Sizes { dim, inner, mlp_dim: in_any_layer("1.net.1.weight"), depth }
}

fn layer_of(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("transformer.layers.")?.split_once('.')?;
    // `01` and `+1` are not how a layer is named: such a key is unexpected.
    number.parse().ok().filter(|n: &usize| n.to_string() == number)
}

type Expected = Vec<(String, Vec<Option<usize>>)>;

fn expected_around_layers(sizes: &Sizes) -> Expected {
    let d = sizes.dim;
    let mut tensors = Vec::new();
    let mut want = |name: &str, shape: &[Option<usize>]| tensors.push((name.to_owned(), shape.to_vec()));
    want("latlon_embedding.weight", &[d, Some(2)]);
    want("latlon_embedding.bias", &[d]);
    want("time_embedding.weight", &[d, Some(3)]);
    want("time_embedding.bias", &[d]);
    for (group, bands) in GROUPS {
        want(&format!("patch_embedding.{group}.proj.weight"), &[d, Some(bands.len()), Some(PATCH), Some(PATCH)]);
        for rest in ["proj.bias", "norm.weight", "norm.bias"] {
            want(&format!("patch_embedding.{group}.{rest}"), &[d]);
        }
    }
    want("transformer.norm.weight", &[d]);
    want("transformer.norm.bias", &[d]);
    tensors
}

/// The tensors of the layers that are there; whole layers that are absent are noted as missing.
fn expected_in_layers(sizes: &Sizes, found: &BTreeMap<String, Stored>, problems: &mut Problems) -> Expected {
    let present: BTreeSet<usize> = found.keys().filter_map(|name| layer_of(name)).collect();
    if sizes.depth == 0 {
        problems.missing.push("`transformer.layers.0.*`".to_owned());
    }
    let absent = (0..sizes.depth.min(MAX_DEPTH)).filter(|i| !present.contains(i));
    problems.missing.extend(absent.map(|i| format!("`transformer.layers.{i}.*`")));
    if sizes.depth > MAX_DEPTH {
        problems.missing.push(format!("layers between {MAX_DEPTH} and {}", sizes.depth - 1));
    }
    present.into_iter().take(MAX_DEPTH).flat_map(|i| expected_layer(sizes, i)).collect()
}

fn expected_layer(sizes: &Sizes, layer: usize) -> Expected {
    let Sizes { dim: d, inner, mlp_dim: m, .. } = *sizes;
    let mut tensors = Vec::new();
    let mut want = |rest: &str, shape: &[Option<usize>]| {
        tensors.push((format!("transformer.layers.{layer}.{rest}"), shape.to_vec()));
    };
    want("0.norm.weight", &[d]);
    want("0.norm.bias", &[d]);
    want("0.to_qkv.weight", &[inner.map(|i| 3 * i), d]);
    if sizes.has_projection() {
        want("0.to_out.0.weight", &[d, inner]);
        want("0.to_out.0.bias", &[d]);
    }
    want("1.net.0.weight", &[d]);
    want("1.net.0.bias", &[d]);
    want("1.net.1.weight", &[m, d]);
    want("1.net.1.bias", &[m]);
    want("1.net.4.weight", &[d, m]);
    want("1.net.4.bias", &[d]);
    tensors
}

fn hint_groups(found: &BTreeMap<String, Stored>, problems: &mut Problems) {
    let group_of = |name: &String| Some(name.strip_prefix("patch_embedding.")?.split_once('.')?.0.to_owned());
    let groups: BTreeSet<String> = found.keys().filter_map(group_of).collect();
    for (group, _) in GROUPS.iter().filter(|(group, _)| !groups.contains(*group)) {
        problems.hints.push(format!("there is no band group `{group}`: was the model trained on partial inputs?"));
    }
    for group in groups.iter().filter(|g| !GROUPS.iter().any(|(known, _)| known == g)) {
        problems.hints.push(format!("`{}` is no band group of Clay v0", group.escape_debug()));
    }
}

/// A wanted shape, `?` where the size could not be inferred.
struct Wanted<'a>(&'a [Option<usize>]);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.0.iter().map(|d| d.map_or_else(|| "?".to_owned(), |d| d.to_string()));
        write!(f, "[{}]", sizes.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(dim: usize, depth: usize, heads: usize, mlp_dim: usize) -> BTreeMap<String, Stored> {
        let stored = |shape| Stored::Tensor(TensorInfo { shape, dtype: "f32".into() });
        expected(dim, depth, heads, mlp_dim).into_iter().map(|(name, shape)| (name, stored(shape))).collect()
    }

    #[test]
    fn the_sizes_of_the_specification() {
        // name, D, depth, H, M, tensors, parameters (where they are given)
        for (d, depth, h, m, tensors, parameters) in [
            (256, 4, 4, 512, 74, Some(5_520_128)),
            (768, 12, 12, 3072, 162, Some(95_271_168)),
            (1024, 24, 16, 4096, 294, None),
            (1280, 32, 16, 5120, 382, None),
            (64, 2, 1, 128, 30 + 9 * 2, None),
        ] {
            let found = model(d, depth, h, m);
            assert_eq!(found.len(), tensors);
            let (shape, problems) = check(&found);
            assert_eq!(problems, Problems::default());
            let shape = shape.unwrap();
            assert_eq!((shape.dim, shape.depth, shape.heads, shape.mlp_dim), (d, depth, h, m));
            let i = 64 * h;
            let projection = if (d, h) == (64, 1) { 0 } else { i * d + d };
            let layer = 2 * d + 3 * i * d + projection + 2 * d + 2 * d * m + m + d;
            let formula = 7 * d + 13_312 * d + 18 * d + depth * layer + 2 * d;
            assert_eq!(shape.parameters, formula as u64);
            assert!(parameters.is_none_or(|p| p == shape.parameters));
        }
    }

    #[test]
    fn all_problems_at_once() {
        let mut found = model(16, 2, 2, 32);
        found.remove("transformer.layers.0.1.net.4.bias");
        found.insert("transformer.layers.0.1.net.3.bias".into(), found["time_embedding.bias"].clone());
        found.insert(
            "time_embedding.weight".into(),
            Stored::Tensor(TensorInfo { shape: vec![16, 4], dtype: "i64".into() }),
        );
        found.insert("latlon_embedding.bias".into(), Stored::Other("a string"));
        let (shape, problems) = check(&found);
        assert_eq!(shape.unwrap().heads, 2);
        insta::assert_snapshot!(problems, @"lacks `transformer.layers.0.1.net.4.bias`; has unexpected `transformer.layers.0.1.net.3.bias`; has the wrong shape: `time_embedding.weight` is [16, 4], not [16, 3]; has the wrong dtype: `latlon_embedding.bias` is a string, not a tensor, `time_embedding.weight` is i64, not floating point");
        assert_eq!(problems.reason(), Some(Reason::MissingTensor));
    }

    #[test]
    fn a_missing_projection_is_right_in_one_case_only() {
        let without = |mut found: BTreeMap<String, Stored>| {
            found.retain(|name, _| !name.contains("to_out"));
            check(&found).1.reason()
        };
        assert_eq!(without(model(64, 2, 1, 128)), None);
        assert_eq!(without(model(32, 2, 1, 128)), Some(Reason::MissingTensor), "one head, another width");
        assert_eq!(without(model(64, 2, 2, 128)), Some(Reason::MissingTensor), "another number of heads");
        let mut half = model(64, 2, 1, 128);
        half.insert("transformer.layers.1.0.to_out.0.bias".into(), half["time_embedding.bias"].clone());
        assert_eq!(check(&half).1.reason(), Some(Reason::UnexpectedTensor), "in one layer only");
    }

    #[test]
    fn a_made_up_layer_number_is_bounded() {
        let mut found = model(16, 1, 1, 32);
        found.insert(format!("transformer.layers.{}.0.norm.weight", usize::MAX), found["time_embedding.bias"].clone());
        let (_, problems) = check(&found);
        assert_eq!(problems.reason(), Some(Reason::MissingTensor));
        assert!(problems.to_string().len() < 10_000);
    }
}
