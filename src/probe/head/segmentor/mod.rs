//! Clay's own segmentation head for v1.5: two 3x3 convolutions with batch norm, one to 64 values per pixel, PixelShuffle,
//! and one to the logit. 26 million parameters at its real size.
//!
//! As `claymodel/finetune/segment/factory.py` has it (class `Segmentor`), with one output. Its last two convolutions and
//! the shuffle between them are linear in a row and are done as one (see `fold`), in fits too: a fifth of the products.
//! The same head, operation by operation, is the oracle in `tests/it/heads.rs`.

mod fold;
mod neighbours;
mod norm;
mod state;

use candle_core::{DType, Result, Tensor};

use self::{
    fold::Fold,
    neighbours::{from_neighbours, neighbours},
    norm::{Normed, Running, normed, normed_back, normed_by},
};
use super::{Head, HeadError, Kind, Needs, Parameter, column_sums, tensors, values};
use crate::domain::{HeadName, Metric};

// B chips, C feature channels, h×w their grid, N = B*h*w, M middle channels, K channels of a pixel before the last layer.

/// Pixels per side of a patch: what the head is made for.
const PATCH: usize = 8;

/// For patches of 8 pixels only.
pub(super) fn kind(channels: usize, patch: usize) -> std::result::Result<Kind, HeadError> {
    if patch != PATCH {
        let hint = "it is Clay v1.5's own; take it out of `probe.heads`";
        return Err(HeadError::Patch { head: HeadName::Segmentor, wanted: "8", patch, hint });
    }
    let sizes = Sizes::of(channels);
    Ok(Kind {
        cell: 1,
        metrics: Metric::OF_PIXELS,
        needs: Needs::Raw,
        cost: Some(format!(
            "head `segmentor`: {:.1} million parameters; on two cores about half a second per fit step and chip of 256 px",
            sizes.parameters() as f64 / 1e6
        )),
        channels,
        patch,
        make: |channels, _, seed| Box::new(Segmentor::new(Sizes::of(channels), seed)),
    })
}

/// How wide it is.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of the features.
    pub channels: usize,
    /// Of the first two convolutions.
    pub middle: usize,
    /// Of a pixel before the last convolution.
    pub last: usize,
}

impl Sizes {
    /// The real size.
    fn of(channels: usize) -> Self {
        Self { channels, middle: 512, last: 64 }
    }

    /// Output channels of the convolution before the shuffle.
    fn shuffled(self) -> usize {
        self.last * PATCH * PATCH
    }

    fn parameters(self) -> usize {
        let (c, m, s) = (self.channels, self.middle, self.shuffled());
        9 * (c * m + m * m + m * s + self.last) + 6 * m + s + 1
    }
}

/// Places in the list of parameters.
const CONV1: usize = 0;
const CONV2: usize = 4;
const CONV_PS: usize = 8;

/// The head; weights of convolutions lie as `[9, in, out]`, the layout of their product, biases and norms as in PyTorch.
pub struct Segmentor {
    sizes: Sizes,
    parameters: Vec<Parameter>,
    running: [Running; 2],
}

/// What the way back needs of a convolution, its norm and ReLU.
struct Block {
    /// `[N, 9*in]`
    input: Tensor,
    normed: Normed,
    /// `[N, M]`
    output: Tensor,
}

impl Segmentor {
    /// Convolution and norm `i` (0 or 1) of `x` `[B, h, w, in]`, in training mode, which moves the running statistics.
    fn block(&mut self, i: usize, x: &Tensor, parameters: &[Tensor]) -> Result<Block> {
        let input = neighbours(x)?; // [N, 9*in]
        let z = product(&input, &parameters[0])?.broadcast_add(&parameters[1])?; // [N, M]
        let normed = normed(&z, &parameters[2], &parameters[3])?;
        self.running[i].follow(&normed, z.dim(0)?)?;
        let output = normed.output.relu()?;
        Ok(Block { input, normed, output })
    }

    /// The same in evaluation mode, `[N, M]`.
    fn scored_block(&self, i: usize, x: &Tensor, parameters: &[Tensor]) -> Result<Tensor> {
        let z = product(&neighbours(x)?, &parameters[0])?.broadcast_add(&parameters[1])?;
        normed_by(&self.running[i], &z, &parameters[2], &parameters[3])?.relu()
    }
}

impl Block {
    /// From the gradient of its output: gradients of its four parameters, and of its convolution's output `[N, M]`.
    fn back(&self, gradient: &Tensor, scale: &Tensor) -> Result<([Tensor; 4], Tensor)> {
        let gradient = (gradient * self.output.gt(0f32)?.to_dtype(DType::F32)?)?; // of the ReLU
        let norm = normed_back(&self.normed, scale, &gradient)?;
        let weight = self.input.t()?.matmul(&norm.x)?; // [9*in, M]
        // The bias before a norm has gradient 0 up to rounding, of which AdamW makes steps, as PyTorch's does.
        Ok(([weight, column_sums(&norm.x)?, norm.scale, norm.shift], norm.x))
    }
}

/// `[N, 9*in]` by a weight `[9, in, out]`.
fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.flatten(0, 1)?)
}

impl Head for Segmentor {
    fn parameters(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    fn state(&self) -> Vec<Parameter> {
        self.in_torchs_layout()
    }

    fn restore(&mut self, state: &[Parameter]) {
        self.take(state);
    }

    fn predict(&self, features: &Tensor, grid: usize) -> Result<Vec<f32>> {
        let all = tensors(&self.parameters, features.device())?;
        let map = |x: &Tensor| x.reshape(((), grid, grid, x.dim(1)?));
        let x = self.scored_block(0, &map(features)?, &all[CONV1..CONV2])?; // [N, M]
        let x = self.scored_block(1, &map(&x)?, &all[CONV2..CONV_PS])?;
        Fold::new(&all[CONV_PS..], self.sizes)?.logits(&neighbours(&map(&x)?)?, grid)
    }

    fn gradients(
        &mut self,
        features: &Tensor,
        grid: usize,
        loss: &mut dyn FnMut(&[f32]) -> Vec<f32>,
    ) -> Result<Vec<Vec<f32>>> {
        let all = tensors(&self.parameters, features.device())?;
        let map = |x: &Tensor| x.reshape(((), grid, grid, x.dim(1)?));
        let first = self.block(0, &map(features)?, &all[CONV1..CONV2])?;
        let second = self.block(1, &map(&first.output)?, &all[CONV2..CONV_PS])?;
        let fold = Fold::new(&all[CONV_PS..], self.sizes)?;
        let last = neighbours(&map(&second.output)?)?; // [N, 9*M]
        let gradient = loss(&fold.logits(&last, grid)?);

        let back = fold.back(&last, grid, &gradient)?;
        drop(last);
        let x = from_neighbours(&back.x, grid)?; // [N, M]
        let (of_second, x) = second.back(&x, &all[CONV2 + 2])?;
        let weight = all[CONV2].flatten(0, 1)?; // [9*M, M]
        let x = from_neighbours(&x.matmul(&weight.t()?)?, grid)?;
        let (of_first, _) = first.back(&x, &all[CONV1 + 2])?;
        values(&[of_first.as_slice(), &of_second, &back.parameters].concat())
    }
}
