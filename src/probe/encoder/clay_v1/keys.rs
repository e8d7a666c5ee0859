//! The tensors a Clay v1 encoder must have (v1.0 and v1.5 alike); its size, inferred from their shapes.

use crate::domain::EncoderFacts;

use super::super::keys::{self, Expected, Found, Problems, Size};

/// Side of a patch in pixels.
pub const PATCH: usize = 8;
/// Width of a wavelength code and of the kernel generator; also the number of its learned rows.
pub const CODE: usize = 128;
/// Hidden width of the generator's one layer.
pub const GENERATOR_MLP: usize = 2048;
/// The tensor whose rows tell the patch side.
const KERNELS: &str = "patch_embedding.weight_generator.fc_weight.weight";
/// Starts of names that make an encoder one of Clay v1. Its decoder has a generator too, under another name; a class
/// token is in any vision transformer.
pub(in super::super) const MARKS: &[&str] = &["patch_embedding.weight_generator.", "patch_embedding.fclayer."];

/// The width of an attention head, which no shape tells: 64 but in the model `tiny`, 4 heads of 48.
pub fn dim_head(dim: usize, inner: usize) -> usize {
    if (dim, inner) == (192, 192) { 48 } else { 64 }
}

/// The sizes that the shapes tell; none where the tensor that tells it is absent or odd.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    /// D.
    dim: Option<usize>,
    /// I, all heads together.
    inner: Option<usize>,
    /// M.
    mlp_dim: Option<usize>,
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
    hint_patches(found, &sizes, &mut problems);
    let size = match (sizes, keys::depth(found)) {
        (Sizes { dim: Some(dim), inner: Some(inner), mlp_dim: Some(mlp_dim) }, depth @ 1..) => {
            let (around, each) = (around_layers(&sizes), layer(&sizes, 0));
            let dim_head = dim_head(dim, inner);
            Some(Size {
                dim,
                depth,
                heads: inner / dim_head,
                dim_head,
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
    let dim = keys::axis(found, "cls_token", 2).or_else(|| keys::axis(found, "transformer.norm.weight", 0));
    // The encodings divide D - 8 by four, and their frequencies by one less than that.
    if let Some(dim) = dim.filter(|dim| dim % 4 != 0 || *dim < 16) {
        problems.wrong_shape.push(format!("`cls_token` gives the width D = {dim}, not a multiple of 4 from 16 on"));
    }
    let qkv = keys::rows_in_any_layer(found, "0.to_qkv.weight");
    let fits = |rows: usize| {
        rows > 0 && rows.is_multiple_of(3) && (rows / 3).is_multiple_of(dim_head(dim.unwrap_or(0), rows / 3))
    };
    let inner = qkv.filter(|&rows| fits(rows)).map(|rows| rows / 3);
    if let (Some(rows), None) = (qkv, inner) {
        let name = format!("transformer.layers.{}.0.to_qkv.weight", keys::layers(found).first().unwrap_or(&0));
        problems.wrong_shape.push(format!("`{name}` has {rows} rows, which is not 3 times a multiple of 64"));
    }
    Sizes { dim, inner, mlp_dim: keys::rows_in_any_layer(found, "1.net.1.weight") }
}

fn around_layers(sizes: &Sizes) -> Expected {
    let (d, code, mlp) = (sizes.dim, Some(CODE), Some(GENERATOR_MLP));
    let mut tensors = Vec::new();
    let mut want = |name: &str, shape: &[Option<usize>]| tensors.push((name.to_owned(), shape.to_vec()));
    want("cls_token", &[Some(1), Some(1), d]);
    for l in ["l1", "l2"] {
        want(&format!("patch_embedding.fclayer.{l}.weight"), &[code, code]);
        want(&format!("patch_embedding.fclayer.{l}.bias"), &[code]);
    }
    let mut generator =
        |name: &str, shape: &[Option<usize>]| want(&format!("patch_embedding.weight_generator.{name}"), shape);
    generator("weight_tokens", &[code, code]);
    generator("bias_token", &[Some(1), code]);
    generator("encoder.layers.0.self_attn.in_proj_weight", &[Some(3 * CODE), code]);
    generator("encoder.layers.0.self_attn.in_proj_bias", &[Some(3 * CODE)]);
    generator("encoder.layers.0.self_attn.out_proj.weight", &[code, code]);
    generator("encoder.layers.0.self_attn.out_proj.bias", &[code]);
    generator("encoder.layers.0.linear1.weight", &[mlp, code]);
    generator("encoder.layers.0.linear1.bias", &[mlp]);
    generator("encoder.layers.0.linear2.weight", &[code, mlp]);
    generator("encoder.layers.0.linear2.bias", &[code]);
    for norm in ["norm1", "norm2"] {
        generator(&format!("encoder.layers.0.{norm}.weight"), &[code]);
        generator(&format!("encoder.layers.0.{norm}.bias"), &[code]);
    }
    let kernels = d.map(|d| d.saturating_mul(PATCH * PATCH));
    generator("fc_weight.weight", &[kernels, code]);
    generator("fc_weight.bias", &[kernels]);
    generator("fc_bias.weight", &[d, code]);
    generator("fc_bias.bias", &[d]);
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
    want("0.to_out.weight", &[d, inner]);
    want("1.net.0.weight", &[d]);
    want("1.net.0.bias", &[d]);
    want("1.net.1.weight", &[m, d]);
    want("1.net.1.bias", &[m]);
    want("1.net.3.weight", &[d, m]);
    want("1.net.3.bias", &[d]);
    tensors
}

/// Names the patch side where the generator makes kernels of another one.
fn hint_patches(found: &Found, sizes: &Sizes, problems: &mut Problems) {
    let (Some(rows), Some(dim @ 1..)) = (keys::axis(found, KERNELS, 0), sizes.dim) else { return };
    let side = (rows / dim).isqrt();
    if rows % dim == 0 && side * side * dim == rows && side != PATCH {
        problems.hints.push(format!("its patches have {side} px; Clay v1's have {PATCH}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Reason,
        probe::{checkpoint::TensorInfo, encoder::keys::Stored},
    };

    fn model(dim: usize, depth: usize, inner: usize, mlp_dim: usize) -> Found {
        let stored = |shape| Stored::Tensor(TensorInfo { shape, dtype: "f32".into() });
        let sizes = Sizes { dim: Some(dim), inner: Some(inner), mlp_dim: Some(mlp_dim) };
        let all = around_layers(&sizes).into_iter().chain((0..depth).flat_map(|i| layer(&sizes, i)));
        all.map(|(name, shape)| (name, stored(shape.into_iter().flatten().collect()))).collect()
    }

    #[test]
    fn the_sizes_of_the_specification() {
        // D, depth, H x width, M, parameters (where they are given)
        for (d, depth, (h, width), m, parameters) in [
            (192, 6, (4, 48), 384, None),
            (384, 6, (6, 64), 768, None),
            (768, 12, (12, 64), 3072, Some(92_102_144)),
            (1024, 24, (16, 64), 4096, Some(311_442_944)),
            (32, 2, (2, 64), 64, None),
        ] {
            let found = model(d, depth, h * width, m);
            assert_eq!(found.len(), 25 + 10 * depth);
            let (size, problems) = check(&found);
            assert_eq!(problems, Problems::default());
            let size = size.unwrap();
            assert_eq!((size.dim, size.depth, size.heads, size.dim_head, size.mlp_dim), (d, depth, h, width, m));
            assert_eq!((size.patch_size, size.tensors), (8, found.len() as u64));
            assert!(parameters.is_none_or(|p| p == size.parameters), "{}", size.parameters);
        }
    }

    #[test]
    fn what_is_off_is_named() {
        let mut found = model(32, 2, 128, 64);
        found.remove("cls_token");
        found.insert("latlon_embedding.bias".into(), found["transformer.norm.bias"].clone());
        let (size, problems) = check(&found);
        assert_eq!(size.unwrap().dim, 32, "also told by the last normalisation");
        insta::assert_snapshot!(problems, @"lacks `cls_token`; has unexpected `latlon_embedding.bias`");

        let mut patches = model(32, 1, 128, 64);
        for (name, shape) in [("weight", vec![256 * 32, 128]), ("bias", vec![256 * 32])] {
            let info = TensorInfo { shape, dtype: "f32".into() };
            patches.insert(format!("patch_embedding.weight_generator.fc_weight.{name}"), Stored::Tensor(info));
        }
        let problems = check(&patches).1;
        assert_eq!(problems.reason(), Some(Reason::WrongShape));
        assert_eq!(problems.hint().unwrap(), "its patches have 16 px; Clay v1's have 8");

        // Heads of 48 are those of `tiny` alone.
        assert_eq!(check(&model(192, 1, 192, 384)).0.unwrap().heads, 4);
        assert_eq!(check(&model(192, 1, 256, 384)).0.unwrap().heads, 4);
        assert_eq!(check(&model(96, 1, 96, 384)).1.reason(), Some(Reason::WrongShape));
    }
}
