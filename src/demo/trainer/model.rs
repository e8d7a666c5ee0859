//! A small masked auto-encoder of Clay v0's shape, with gradients: the encoder that is probed, and its pixel decoder.
//!
//! B crops, G = 6 band groups, L = h·w patches of a square grid, N = G·L tokens, K kept of them, D and d widths of
//! encoder and decoder. Fields are the segments of the state dict's keys, in the order of the file.

use candle_core::{D, Device, IndexOp, Result, Tensor};
use candle_nn::{Linear, Module, ops::softmax};

use super::{
    batch::{Batch, PATCH_PIXELS},
    parameters::{Norm, Parameters},
};
use crate::probe::encoder::clay_v0::{GROUPS, PATCH, keys::DIM_HEAD};

/// Width, depth, heads and hidden width of a transformer.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub dim: usize,
    pub depth: usize,
    pub heads: usize,
    pub hidden: usize,
}

/// The mini encoder: with one head and D = 64 the output projection would be missing, so it has two.
pub const ENCODER: Size = Size { dim: 64, depth: 2, heads: 2, hidden: 128 };
/// The mini decoder.
pub const DECODER: Size = Size { dim: 32, depth: 1, heads: 1, hidden: 64 };

struct Attention {
    norm: Norm,
    to_qkv: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    fn new(p: &mut Parameters, name: &str, size: Size) -> Result<Self> {
        let inner = size.heads * DIM_HEAD;
        Ok(Self {
            norm: p.norm(&format!("{name}.norm"), size.dim)?,
            to_qkv: p.linear(&format!("{name}.to_qkv"), size.dim, 3 * inner, false)?,
            to_out: p.linear(&format!("{name}.to_out.0"), inner, size.dim, true)?,
            heads: size.heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, n, _) = x.dims3()?;
        let qkv = self.to_qkv.forward(&self.norm.forward(x)?)?; // [B, n, 3*H*64]
        let qkv = qkv.reshape((b, n, 3, self.heads, DIM_HEAD))?.permute((2, 0, 3, 1, 4))?; // [3, B, H, n, 64]
        let (q, k, v) = (qkv.i(0)?.contiguous()?, qkv.i(1)?.contiguous()?, qkv.i(2)?.contiguous()?);
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / (DIM_HEAD as f64).sqrt())?; // [B, H, n, n]
        let mixed = softmax(&scores, D::Minus1)?.matmul(&v)?; // [B, H, n, 64]
        self.to_out.forward(&mixed.transpose(1, 2)?.reshape((b, n, ()))?) // [B, n, D]
    }
}

/// `net` of the state dict; positions 2, 3 and 5 hold no tensors.
struct Mlp {
    net_0: Norm,
    net_1: Linear,
    net_4: Linear,
}

impl Mlp {
    fn new(p: &mut Parameters, name: &str, size: Size) -> Result<Self> {
        Ok(Self {
            net_0: p.norm(&format!("{name}.net.0"), size.dim)?,
            net_1: p.linear(&format!("{name}.net.1"), size.dim, size.hidden, true)?,
            net_4: p.linear(&format!("{name}.net.4"), size.hidden, size.dim, true)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.net_4.forward(&self.net_1.forward(&self.net_0.forward(x)?)?.gelu_erf()?)
    }
}

struct Transformer {
    norm: Norm,
    layers: Vec<(Attention, Mlp)>,
}

impl Transformer {
    fn new(p: &mut Parameters, name: &str, size: Size) -> Result<Self> {
        let norm = p.norm(&format!("{name}.norm"), size.dim)?;
        let layer = |i| {
            let name = format!("{name}.layers.{i}");
            Ok((Attention::new(p, &format!("{name}.0"), size)?, Mlp::new(p, &format!("{name}.1"), size)?))
        };
        Ok(Self { norm, layers: (0..size.depth).map(layer).collect::<Result<_>>()? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (attention, mlp) in &self.layers {
            x = (&x + attention.forward(&x)?)?;
            x = (&x + mlp.forward(&x)?)?;
        }
        self.norm.forward(&x)
    }
}

struct GroupPatches {
    proj_weight: Tensor,
    proj_bias: Tensor,
    norm: Norm,
}

impl GroupPatches {
    fn new(p: &mut Parameters, name: &str, channels: usize, dim: usize) -> Result<Self> {
        let fan_in = channels * PATCH_PIXELS;
        Ok(Self {
            proj_weight: p.uniform(format!("{name}.proj.weight"), &[dim, channels, PATCH, PATCH], fan_in)?,
            proj_bias: p.uniform(format!("{name}.proj.bias"), &[dim], fan_in)?,
            norm: p.norm(&format!("{name}.norm"), dim)?,
        })
    }

    /// A convolution whose stride is its kernel is a product with patches laid out as (channel, y, x).
    fn forward(&self, planes: &Tensor) -> Result<Tensor> {
        let (b, c, l, pixels) = planes.dims4()?;
        let flat = planes.transpose(1, 2)?.reshape((b * l, c * pixels))?; // [B*L, c*1024]
        let weight = self.proj_weight.flatten_from(1)?; // [D, c*1024]
        let y = flat.matmul(&weight.t()?)?.broadcast_add(&self.proj_bias)?; // [B*L, D]
        self.norm.forward(&y)?.reshape((b, l, ())) // [B, L, D]
    }
}

struct Encoder {
    latlon_embedding: Linear,
    time_embedding: Linear,
    patch_embedding: Vec<GroupPatches>,
    transformer: Transformer,
}

impl Encoder {
    fn new(p: &mut Parameters, name: &str, size: Size) -> Result<Self> {
        Ok(Self {
            latlon_embedding: p.linear(&format!("{name}.latlon_embedding"), 2, size.dim, true)?,
            time_embedding: p.linear(&format!("{name}.time_embedding"), 3, size.dim, true)?,
            patch_embedding: GROUPS
                .iter()
                .map(|(g, bands)| GroupPatches::new(p, &format!("{name}.patch_embedding.{g}"), bands.len(), size.dim))
                .collect::<Result<_>>()?,
            transformer: Transformer::new(p, &format!("{name}.transformer"), size)?,
        })
    }

    /// Tokens of the kept patches, then latitude/longitude and time: `[B, K+2, D]`.
    fn forward(&self, batch: &Batch) -> Result<Tensor> {
        let (b, _, l, _) = batch.planes.dims4()?;
        let groups = self.patch_embedding.iter().zip(GROUPS).map(|(patches, (_, bands))| {
            patches.forward(&batch.planes.index_select(&Tensor::new(bands, &Device::Cpu)?, 1)?)
        });
        let tokens = Tensor::stack(&groups.collect::<Result<Vec<_>>>()?, 1)?; // [B, G, L, D]
        let dim = tokens.dim(3)?;
        let tokens = tokens.broadcast_add(&token_encoding(l, dim)?)?.reshape((b * GROUPS.len() * l, dim))?; // [B*N, D]
        let visible = tokens.index_select(&batch.kept, 0)?.reshape((b, (), dim))?; // [B, K, D]
        let latlon = self.latlon_embedding.forward(&batch.latlon)?.unsqueeze(1)?; // [B, 1, D]
        let time = self.time_embedding.forward(&batch.time)?.unsqueeze(1)?; // [B, 1, D]
        self.transformer.forward(&Tensor::cat(&[visible, latlon, time], 1)?) // [B, K+2, D]
    }
}

struct PixelDecoder {
    mask_patch: Tensor,
    enc_to_dec: Linear,
    transformer: Transformer,
    embed_to_pixels: Vec<Linear>,
}

impl PixelDecoder {
    fn new(p: &mut Parameters, name: &str, encoder: Size, size: Size) -> Result<Self> {
        Ok(Self {
            mask_patch: p.normal(format!("{name}.mask_patch"), &[size.dim])?,
            enc_to_dec: p.linear(&format!("{name}.enc_to_dec"), encoder.dim, size.dim, true)?,
            transformer: Transformer::new(p, &format!("{name}.transformer"), size)?,
            embed_to_pixels: GROUPS
                .iter()
                .map(|(g, bands)| {
                    p.linear(&format!("{name}.embed_to_pixels.{g}"), size.dim, PATCH_PIXELS * bands.len(), true)
                })
                .collect::<Result<_>>()?,
        })
    }

    /// `[B, 13, L, 1024]`, planes in the order of the groups.
    fn forward(&self, tokens: &Tensor, batch: &Batch) -> Result<Tensor> {
        let (b, _, l, _) = batch.planes.dims4()?;
        let n = GROUPS.len() * l;
        let tokens = self.enc_to_dec.forward(tokens)?; // [B, K+2, d]
        let (_, with_meta, dim) = tokens.dims3()?;
        // Row `B*(K+2)` is what stands for every hidden patch.
        let rows = Tensor::cat(&[tokens.reshape((b * with_meta, dim))?, self.mask_patch.unsqueeze(0)?], 0)?;
        let canvas = rows.index_select(&batch.canvas, 0)?.reshape((b, n, dim))?; // [B, N, d]
        let canvas = canvas.broadcast_add(&token_encoding(l, dim)?.reshape((n, dim))?)?;
        let meta = tokens.narrow(1, with_meta - 2, 2)?; // [B, 2, d]
        let y = self.transformer.forward(&Tensor::cat(&[canvas, meta], 1)?)?.narrow(1, 0, n)?; // [B, N, d]
        let y = y.reshape((b, GROUPS.len(), l, dim))?;
        let planes = self.embed_to_pixels.iter().enumerate().map(|(g, linear)| {
            let flat = linear.forward(&y.i((.., g))?.contiguous()?)?; // [B, L, 1024*c], channel fastest
            flat.reshape((b, l, PATCH_PIXELS, ()))?.permute((0, 3, 1, 2)) // [B, c, L, 1024]
        });
        Tensor::cat(&planes.collect::<Result<Vec<_>>>()?, 1) // [B, 13, L, 1024]
    }
}

/// Encoder, decoder and loss.
pub struct Mae {
    encoder: Encoder,
    decoder: PixelDecoder,
}

impl Mae {
    /// New weights, under the names of a Clay v0 checkpoint.
    pub fn new(p: &mut Parameters) -> Result<Self> {
        Ok(Self {
            encoder: Encoder::new(p, "model.encoder", ENCODER)?,
            decoder: PixelDecoder::new(p, "model.decoder", ENCODER, DECODER)?,
        })
    }

    /// Mean over hidden patches of the mean squared error of their band group's pixels.
    ///
    /// Planes come in the order of the groups and are compared with bands in the order of their index, as in the
    /// original: the mismatch is part of how its weights come about.
    pub fn loss(&self, batch: &Batch) -> Result<Tensor> {
        let predicted = self.decoder.forward(&self.encoder.forward(batch)?, batch)?;
        let error = (&batch.planes - predicted)?.sqr()?.mean(3)?; // [B, 13, L]
        let groups =
            GROUPS.iter().map(|(_, bands)| error.index_select(&Tensor::new(*bands, &Device::Cpu)?, 1)?.mean(1));
        let error = Tensor::stack(&groups.collect::<Result<Vec<_>>>()?, 1)?.flatten_from(1)?; // [B, N]
        (error * &batch.hidden)?.sum_all()? / batch.hidden.sum_all()?
    }
}

/// `[G, L, D]` of a square grid of L patches: the first half says where, the second which group.
fn token_encoding(l: usize, dim: usize) -> Result<Tensor> {
    let side = l.isqrt();
    // n frequencies from 1 down to 1/10000, both ends included.
    let wave = |angle: usize, n: usize, turn: fn(f32) -> f32| {
        (0..n).map(move |i| turn(angle as f32 / 10_000f32.powf(i as f32 / (n - 1) as f32)))
    };
    let mut values = Vec::with_capacity(GROUPS.len() * l * dim);
    for group in 0..GROUPS.len() {
        for (row, col) in (0..l).map(|cell| (cell / side, cell % side)) {
            values.extend(wave(col, dim / 8, f32::sin).chain(wave(col, dim / 8, f32::cos)));
            values.extend(wave(row, dim / 8, f32::sin).chain(wave(row, dim / 8, f32::cos)));
            values.extend(wave(group, dim / 4, f32::sin).chain(wave(group, dim / 4, f32::cos)));
        }
    }
    Tensor::from_vec(values, (GROUPS.len(), l, dim), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_of_the_specification() {
        // Worked values of clay-v0.md, section 5, for D = 64: group 1, row 0, column 1.
        let e = token_encoding(4, 64).unwrap().i((1, 1)).unwrap().to_vec1::<f32>().unwrap();
        for (at, want) in [(0, 0.841_471), (2, 0.071_906_4), (8, 0.540_302_3), (16, 0.0), (24, 1.0), (33, 0.515_138_7)]
        {
            assert!((e[at] - want).abs() < 1e-6, "{at}: {} instead of {want}", e[at]);
        }
    }
}
