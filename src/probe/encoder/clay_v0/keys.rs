//! The tensors a Clay v0 encoder must have; its size, inferred from their shapes.

use std::collections::BTreeSet;

use crate::domain::EncoderFacts;

use super::{
    super::keys::{self, Expected, Found, Problems, Size},
    GROUPS, PATCH,
};

/// The width of an attention head, which no shape tells: 64 in every v0 model.
pub const DIM_HEAD: usize = 64;
/// Names that make an encoder one of Clay v0.
pub(in super::super) const MARKS: &[&str] =
    &["patch_embedding.rgb.proj.weight", "latlon_embedding.weight", "time_embedding.weight"];
/// Buffers that some revisions store, and that are computed anyhow.
pub(in super::super) const BUFFERS: &[&str] = &["pos_encoding", "band_encoding"];

/// The sizes that the shapes tell; none where the tensor that tells it is absent or odd.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    /// D.
    dim: Option<usize>,
    /// I = 64 H.
    inner: Option<usize>,
    /// M.
    mlp_dim: Option<usize>,
}

impl Sizes {
    /// The model without an output projection after the attention: one head that is as wide as the tokens.
    fn has_projection(&self) -> bool {
        !(self.inner == Some(DIM_HEAD) && self.dim == Some(DIM_HEAD))
    }
}

/// Infers the size from the shapes and holds every tensor against it.
///
/// The size is given as soon as all of it can be inferred, also when there are problems.
pub fn check(found: &Found) -> (Option<Size>, Problems) {
    let mut problems = Problems::default();
    let sizes = infer(found, &mut problems);
    let mut expected = around_layers(&sizes);
    expected.extend(keys::expected_in_layers(found, &mut problems, |i| layer(&sizes, i)));
    keys::compare(found, expected, &mut problems);
    hint_groups(found, &mut problems);
    let size = match (sizes, keys::depth(found)) {
        (Sizes { dim: Some(dim), inner: Some(inner), mlp_dim: Some(mlp_dim) }, depth @ 1..) => {
            let (around, each) = (around_layers(&sizes), layer(&sizes, 0));
            Some(Size {
                dim,
                depth,
                heads: inner / DIM_HEAD,
                dim_head: DIM_HEAD,
                mlp_dim,
                patch_size: PATCH,
                parameters: keys::parameters(&each)
                    .saturating_mul(depth as u64)
                    .saturating_add(keys::parameters(&around)),
                tensors: (each.len() as u64).saturating_mul(depth as u64).saturating_add(around.len() as u64),
            })
        }
        _ => None,
    };
    (size, problems)
}

/// Names and shapes of all tensors of an encoder of that size.
pub fn tensors(facts: &EncoderFacts) -> Vec<(String, Vec<usize>)> {
    let inner = Some(facts.heads * facts.dim_head);
    let sizes = Sizes { dim: Some(facts.dim), inner, mlp_dim: Some(facts.mlp_dim) };
    let all = around_layers(&sizes).into_iter().chain((0..facts.depth).flat_map(|i| layer(&sizes, i)));
    all.map(|(name, shape)| (name, shape.into_iter().flatten().collect())).collect()
}

fn infer(found: &Found, problems: &mut Problems) -> Sizes {
    let dim = MARKS.iter().find_map(|name| keys::axis(found, name, 0));
    if let Some(dim) = dim.filter(|dim| dim % 8 != 0 || *dim < 16) {
        let name = MARKS[0];
        problems
            .wrong_shape
            .push(format!("`{name}` gives the width D = {dim}, which is not a multiple of 8 from 16 on"));
    }
    let qkv = keys::rows_in_any_layer(found, "0.to_qkv.weight");
    let inner = qkv.filter(|rows| *rows > 0 && rows % (3 * DIM_HEAD) == 0).map(|rows| rows / 3);
    if let (Some(rows), None) = (qkv, inner) {
        let name = format!("transformer.layers.{}.0.to_qkv.weight", keys::layers(found).first().unwrap_or(&0));
        problems.wrong_shape.push(format!("`{name}` has {rows} rows, which is not 3 times a multiple of {DIM_HEAD}"));
    }
    Sizes { dim, inner, mlp_dim: keys::rows_in_any_layer(found, "1.net.1.weight") }
}

fn around_layers(sizes: &Sizes) -> Expected {
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

fn layer(sizes: &Sizes, number: usize) -> Expected {
    let Sizes { dim: d, inner, mlp_dim: m } = *sizes;
    let mut tensors = Vec::new();
    let mut want = |rest: &str, shape: &[Option<usize>]| {
        tensors.push((format!("transformer.layers.{number}.{rest}"), shape.to_vec()));
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

fn hint_groups(found: &Found, problems: &mut Problems) {
    let group_of = |name: &String| Some(name.strip_prefix("patch_embedding.")?.split_once('.')?.0.to_owned());
    let groups: BTreeSet<String> = found.keys().filter_map(group_of).collect();
    for (group, _) in GROUPS.iter().filter(|(group, _)| !groups.contains(*group)) {
        problems.hints.push(format!("there is no band group `{group}`: was the model trained on partial inputs?"));
    }
    for group in groups.iter().filter(|g| !GROUPS.iter().any(|(known, _)| known == g)) {
        problems.hints.push(format!("`{}` is no band group of Clay v0", group.escape_debug()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Reason,
        probe::{checkpoint::TensorInfo, encoder::keys::Stored},
    };

    fn stored(shape: Vec<usize>) -> Stored {
        Stored::Tensor(TensorInfo { shape, dtype: "f32".into() })
    }

    fn model(dim: usize, depth: usize, heads: usize, mlp_dim: usize) -> Found {
        let sizes = Sizes { dim: Some(dim), inner: Some(heads * DIM_HEAD), mlp_dim: Some(mlp_dim) };
        let all = around_layers(&sizes).into_iter().chain((0..depth).flat_map(|i| layer(&sizes, i)));
        all.map(|(name, shape)| (name, stored(shape.into_iter().flatten().collect()))).collect()
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
            assert_eq!(shape.tensors, tensors as u64);
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
        let without = |mut found: Found| {
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
