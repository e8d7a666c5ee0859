//! Encoders of any size whose weights are a formula, so that nothing is stored: `golden/v1-tiny/make.py` has the same one.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use clay_probe::{
    domain::{EncoderFacts, Family, Generation, TensorCounts},
    probe::encoder::{
        EncoderError, TensorSource,
        clay_v0::{GROUPS, PATCH},
    },
};

/// `count` values of salt `salt` within `bound` of `centre`.
pub fn values(salt: u32, count: usize, bound: f32, centre: f32) -> Vec<f32> {
    let one = |i: u32| {
        let mut x = i.wrapping_add(salt.wrapping_mul(0x9E37_79B9));
        x ^= x >> 16;
        x = x.wrapping_mul(0x7FEB_352D);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846C_A68B);
        x ^= x >> 16;
        ((x >> 8) as f32 / 8_388_608.0 - 1.0) * bound + centre
    };
    (0..count as u32).map(one).collect()
}

/// [`values`] in a shape.
pub fn tensor(salt: u32, shape: &[usize], bound: f32) -> Tensor {
    Tensor::from_vec(values(salt, shape.iter().product(), bound, 0.0), shape, &Device::Cpu).unwrap()
}

/// Shapes by name; a tensor's salt is its place in the order of names.
pub struct Made(pub BTreeMap<String, Vec<usize>>);

impl TensorSource for Made {
    fn read(&mut self, name: &str) -> Result<Vec<f32>, EncoderError> {
        let salt = self.0.keys().position(|key| key == name).unwrap_or_else(|| panic!("`{name}` is asked for"));
        let shape = &self.0[name];
        let norm = shape.len() == 1 && name.ends_with("weight");
        let (bound, centre) = match shape.len() {
            1 if norm => (0.25, 1.0),
            2 => (0.0625, 0.0),
            _ => (0.125, 0.0),
        };
        Ok(values(salt as u32, shape.iter().product(), bound, centre))
    }
}

impl Made {
    /// A Clay v0 encoder of the facts' size: clay-v0.md, section 3.
    pub fn clay_v0(facts: &EncoderFacts) -> Self {
        let (d, m, inner) = (facts.dim, facts.mlp_dim, facts.heads * facts.dim_head);
        let mut shapes = BTreeMap::new();
        let mut add = |name: String, shape: &[usize]| {
            shapes.insert(name, shape.to_vec());
        };
        for (name, inputs) in [("latlon", 2), ("time", 3)] {
            add(format!("{name}_embedding.weight"), &[d, inputs]);
            add(format!("{name}_embedding.bias"), &[d]);
        }
        for (group, bands) in GROUPS {
            add(format!("patch_embedding.{group}.proj.weight"), &[d, bands.len(), PATCH, PATCH]);
            for rest in ["proj.bias", "norm.weight", "norm.bias"] {
                add(format!("patch_embedding.{group}.{rest}"), &[d]);
            }
        }
        for i in 0..facts.depth {
            let layer = format!("transformer.layers.{i}");
            for (rest, shape) in [
                ("0.to_qkv.weight", [3 * inner, d]),
                ("0.to_out.0.weight", [d, inner]),
                ("1.net.1.weight", [m, d]),
                ("1.net.4.weight", [d, m]),
            ] {
                add(format!("{layer}.{rest}"), &shape);
            }
            for rest in
                ["0.norm.weight", "0.norm.bias", "0.to_out.0.bias", "1.net.0.weight", "1.net.0.bias", "1.net.4.bias"]
            {
                add(format!("{layer}.{rest}"), &[d]);
            }
            add(format!("{layer}.1.net.1.bias"), &[m]);
        }
        add("transformer.norm.weight".into(), &[d]);
        add("transformer.norm.bias".into(), &[d]);
        Self(shapes)
    }

    /// A Clay v1 encoder of the facts' size: clay-v1.md, "Tensors".
    pub fn clay_v1(facts: &EncoderFacts) -> Self {
        let (d, m, inner) = (facts.dim, facts.mlp_dim, facts.heads * facts.dim_head);
        let mut shapes = BTreeMap::new();
        let mut add = |name: String, shape: &[usize]| {
            shapes.insert(name, shape.to_vec());
        };
        let generator = "patch_embedding.weight_generator";
        let layer = format!("{generator}.encoder.layers.0");
        add("cls_token".to_owned(), &[1, 1, d]);
        add(format!("{generator}.weight_tokens"), &[128, 128]);
        add(format!("{generator}.bias_token"), &[1, 128]);
        add(format!("{layer}.self_attn.in_proj_weight"), &[384, 128]);
        add(format!("{layer}.self_attn.in_proj_bias"), &[384]);
        let linears = [
            ("patch_embedding.fclayer.l1".to_owned(), 128, 128),
            ("patch_embedding.fclayer.l2".to_owned(), 128, 128),
            (format!("{layer}.self_attn.out_proj"), 128, 128),
            (format!("{layer}.linear1"), 2048, 128),
            (format!("{layer}.linear2"), 128, 2048),
            (format!("{generator}.fc_weight"), 64 * d, 128),
            (format!("{generator}.fc_bias"), d, 128),
        ];
        let blocks = (0..facts.depth).map(|i| format!("transformer.layers.{i}"));
        let mlps = blocks.clone().flat_map(|b| [(format!("{b}.1.net.1"), m, d), (format!("{b}.1.net.3"), d, m)]);
        for (name, output, input) in linears.into_iter().chain(mlps) {
            add(format!("{name}.weight"), &[output, input]);
            add(format!("{name}.bias"), &[output]);
        }
        let norms =
            [(format!("{layer}.norm1"), 128), (format!("{layer}.norm2"), 128), ("transformer.norm".to_owned(), d)];
        let own = blocks.clone().flat_map(|b| [(format!("{b}.0.norm"), d), (format!("{b}.1.net.0"), d)]);
        for (name, width) in norms.into_iter().chain(own) {
            add(format!("{name}.weight"), &[width]);
            add(format!("{name}.bias"), &[width]);
        }
        for block in blocks {
            add(format!("{block}.0.to_qkv.weight"), &[3 * inner, d]);
            add(format!("{block}.0.to_out.weight"), &[d, inner]);
        }
        Self(shapes)
    }
}

/// A v1.5 encoder of that size.
pub fn clay_v1_facts(dim: usize, depth: usize, heads: usize, dim_head: usize, mlp_dim: usize) -> EncoderFacts {
    EncoderFacts {
        family: Family::ClayV1,
        generation: Generation::V1_5,
        told_by: "the test".to_owned(),
        dim,
        depth,
        heads,
        dim_head,
        mlp_dim,
        patch_size: 8,
        parameters: 0,
        prefix: String::new(),
        tensors: TensorCounts::default(),
        metadata: None,
    }
}
