//! `patch_embedding`: the weights of the patch convolution, made from the wavelengths of the bands.

use candle_core::{Device, Result as TensorResult, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::{
    super::{
        EncoderError, Trace,
        layers::{LayerNorm, Linear},
        source::Weights,
    },
    PATCH,
    positions::{CODE, wave_code},
};

// C bands, D width of the encoder, R = 128 + C + 1 rows of the generator's sequence, P = 8 side of a patch.

/// Learned rows before the bands.
const LATENT: usize = 128;
/// Attention heads of the generator.
const HEADS: usize = 4;
/// Hidden width of its layer.
const HIDDEN: usize = 2048;
/// What the generated weights, but not the bias, are multiplied by.
const SCALE: f64 = 0.02;

pub(super) struct PatchEmbedding {
    weight_generator: WeightGenerator,
    fclayer: Residual,
}

impl PatchEmbedding {
    pub(super) fn load(weights: &mut Weights, d: usize) -> Result<Self, EncoderError> {
        Ok(Self {
            weight_generator: WeightGenerator::load(weights, "patch_embedding.weight_generator", d)?,
            fclayer: Residual::load(weights, "patch_embedding.fclayer")?,
        })
    }

    /// The convolution of stride P for bands of these wavelengths, as a product over patches: `[D, C*P*P]` and `[D]`.
    ///
    /// Bands attend to each other: the kernel of a band depends on the set of bands and on its order.
    pub(super) fn kernels(&self, waves: &[f32], device: &Device, trace: Trace) -> TensorResult<Linear> {
        let sincos = wave_code(waves, device)?; // [C, 128]
        trace("waves_sincos", &sincos)?;
        let codes = self.fclayer.forward(&sincos)?; // [C, 128]
        trace("waves_fc", &codes)?;
        let (weight, bias) = self.weight_generator.forward(&codes, trace)?;
        let (c, pixels) = (waves.len(), PATCH * PATCH);
        let weight = weight.reshape((c, (), pixels))?.transpose(0, 1)?; // [D, C, P*P]
        let weight = (weight.flatten_from(1)? * SCALE)?; // [D, C*P*P]
        Ok(Linear { weight, bias: Some(bias) })
    }
}

/// `fclayer`: `s + gelu(l2(gelu(l1(s))))`.
struct Residual {
    l1: Linear,
    l2: Linear,
}

impl Residual {
    fn load(weights: &mut Weights, prefix: &str) -> Result<Self, EncoderError> {
        let l1 = Linear::load(weights, &format!("{prefix}.l1"), CODE, CODE)?;
        Ok(Self { l1, l2: Linear::load(weights, &format!("{prefix}.l2"), CODE, CODE)? })
    }

    fn forward(&self, s: &Tensor) -> TensorResult<Tensor> {
        s + self.l2.forward_gelu(&self.l1.forward_gelu(s)?)?
    }
}

struct WeightGenerator {
    weight_tokens: Tensor,
    bias_token: Tensor,
    /// `encoder.layers.0`.
    layer: PostNormLayer,
    fc_weight: Linear,
    fc_bias: Linear,
}

impl WeightGenerator {
    fn load(weights: &mut Weights, prefix: &str, d: usize) -> Result<Self, EncoderError> {
        Ok(Self {
            weight_tokens: weights.get(&format!("{prefix}.weight_tokens"), &[LATENT, CODE])?,
            bias_token: weights.get(&format!("{prefix}.bias_token"), &[1, CODE])?,
            layer: PostNormLayer::load(weights, &format!("{prefix}.encoder.layers.0"))?,
            fc_weight: Linear::load(weights, &format!("{prefix}.fc_weight"), CODE, PATCH * PATCH * d)?,
            fc_bias: Linear::load(weights, &format!("{prefix}.fc_bias"), CODE, d)?,
        })
    }

    /// Weights `[C, D*P*P]`, not scaled yet, and the bias `[D]`, of codes `[C, 128]`.
    fn forward(&self, codes: &Tensor, trace: Trace) -> TensorResult<(Tensor, Tensor)> {
        let c = codes.dim(0)?;
        let rows = Tensor::cat(&[&self.weight_tokens, codes, &self.bias_token], 0)?; // [R, 128]
        trace("hyper_in", &rows)?;
        let out = self.layer.forward(&rows)?; // [R, 128]
        trace("hyper_out", &out)?;
        // The rows of the bands are added back; that of the bias is not.
        let bands = (out.narrow(0, LATENT, c)? + rows.narrow(0, LATENT, c)?)?;
        let weight = self.fc_weight.forward(&bands)?; // [C, D*P*P]
        trace("raw_weights", &weight)?;
        let bias = self.fc_bias.forward(&out.narrow(0, LATENT + c, 1)?)?.squeeze(0)?; // [D]
        trace("raw_bias", &bias)?;
        Ok((weight, bias))
    }
}

/// One layer of a PyTorch `TransformerEncoder`, norms after the residuals.
struct PostNormLayer {
    in_proj: Linear,
    out_proj: Linear,
    linear1: Linear,
    linear2: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
}

impl PostNormLayer {
    fn load(weights: &mut Weights, prefix: &str) -> Result<Self, EncoderError> {
        let attention = format!("{prefix}.self_attn");
        let weight = weights.get(&format!("{attention}.in_proj_weight"), &[3 * CODE, CODE])?;
        let bias = weights.get(&format!("{attention}.in_proj_bias"), &[3 * CODE])?;
        Ok(Self {
            in_proj: Linear { weight, bias: Some(bias) },
            out_proj: Linear::load(weights, &format!("{attention}.out_proj"), CODE, CODE)?,
            linear1: Linear::load(weights, &format!("{prefix}.linear1"), CODE, HIDDEN)?,
            linear2: Linear::load(weights, &format!("{prefix}.linear2"), HIDDEN, CODE)?,
            norm1: LayerNorm::load(weights, &format!("{prefix}.norm1"), CODE)?,
            norm2: LayerNorm::load(weights, &format!("{prefix}.norm2"), CODE)?,
        })
    }

    /// `[R, 128]` to `[R, 128]`.
    fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let y = self.norm1.forward(&(x + self.attend(x)?)?)?;
        let hidden = self.linear1.forward_gelu(&y)?; // [R, 2048]
        self.norm2.forward(&(&y + self.linear2.forward(&hidden)?)?)
    }

    fn attend(&self, x: &Tensor) -> TensorResult<Tensor> {
        let (r, width) = (x.dim(0)?, CODE / HEADS);
        let qkv = self.in_proj.forward(x)?.reshape((r, 3, HEADS, width))?.permute((1, 2, 0, 3))?; // [3, 4, R, 32]
        let q = (qkv.get(0)? * (width as f64).powf(-0.5))?; // [4, R, 32]
        let (k, v) = (qkv.get(1)?.contiguous()?.t()?, qkv.get(2)?.contiguous()?);
        let mixed = softmax_last_dim(&q.contiguous()?.matmul(&k)?)?.matmul(&v)?; // [4, R, 32]
        self.out_proj.forward(&mixed.transpose(0, 1)?.reshape((r, CODE))?) // [R, 128]
    }
}
