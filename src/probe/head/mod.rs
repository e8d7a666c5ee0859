//! Heads that are fitted to frozen features: what a head is, and the list of them.
//!
//! A head is a file or folder here, a word in `domain/head.rs` and a line in [`Kind::of`].

pub mod adamw;
mod conv;
mod features;
mod fit;
mod linear;
mod phases;
mod pixels;
mod segmentor;
mod targets;

use candle_core::{Result, Tensor};

use crate::domain::{HeadName, Metric, Seed};

pub use adamw::AdamW;
pub use features::{Example, Scale};
pub use fit::{FitSettings, Fitted, Keep, ScoredStep, Side, Trace, fit, one_class};
pub use segmentor::{Segmentor, Sizes};
pub use targets::Targets;

// B chips, C feature channels, h×w their grid of patches, N = B*h*w, P pixels per side of a patch.

/// What is fitted. It is made by [`Kind::make`]; once fitted, it predicts.
pub trait Head: Send {
    /// What the optimiser moves, in the order of [`Head::gradients`], in whatever layout suits the head.
    fn parameters(&mut self) -> &mut [Parameter];

    /// All that a prediction depends on, named and laid out as in PyTorch's state dict.
    fn state(&self) -> Vec<Parameter>;

    /// Takes the values of a [`Head::state`] of a head of the same size; what it does not name stays.
    fn restore(&mut self, state: &[Parameter]);

    /// Logits per cell, chip by chip, row by row, of features `[N, C]` (chip by chip, row by row) on square grids of side
    /// `grid`.
    fn predict(&self, features: &Tensor, grid: usize) -> Result<Vec<f32>>;

    /// One pass in training mode and back: `loss` is told the logits and answers with its derivative by each. Gradients of
    /// all parameters, in order.
    fn gradients(
        &mut self,
        features: &Tensor,
        grid: usize,
        loss: &mut dyn FnMut(&[f32]) -> Vec<f32>,
    ) -> Result<Vec<Vec<f32>>>;
}

/// One parameter, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub value: Vec<f32>,
}

/// What is known of a head before any seed.
#[derive(Clone, Debug)]
pub struct Kind {
    /// It gives one logit per cell of `cell x cell` pixels.
    pub cell: usize,
    /// What may be said of its predictions.
    pub metrics: &'static [Metric],
    pub needs: Needs,
    /// Where fits are heavy: what they cost, in words. They then run one after another, each on all threads.
    pub cost: Option<String>,
    channels: usize,
    patch: usize,
    make: fn(channels: usize, patch: usize, seed: Seed) -> Box<dyn Head>,
}

/// What a head is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Features as the encoder gives them.
    Raw,
    /// Features standardised per channel by the training side's statistics.
    Standardised,
}

impl Kind {
    /// The list of heads, for features of so many channels and patches of so many pixels per side.
    ///
    /// # Errors
    /// [`HeadError::Patch`], where the head does not fit such patches.
    pub fn of(head: HeadName, channels: usize, patch: usize) -> std::result::Result<Self, HeadError> {
        match head {
            HeadName::Conv => conv::kind(channels, patch),
            HeadName::Linear => Ok(linear::kind(channels, patch)),
            HeadName::Segmentor => segmentor::kind(channels, patch),
            HeadName::Ridge => Err(HeadError::ClosedForm(head)),
        }
    }

    /// A head before its first step; initial weights follow from the seed alone.
    pub fn make(&self, seed: Seed) -> Box<dyn Head> {
        (self.make)(self.channels, self.patch, seed)
    }
}

/// Why a head cannot be fitted.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The encoder's patches are of another size than the head is made for.
    #[error("head `{head}` is made for patches of {wanted} px, and this encoder's have {patch}; hint: {hint}")]
    Patch { head: HeadName, wanted: &'static str, patch: usize, hint: &'static str },
    /// It has no steps: `probe/quick.rs` fits it.
    #[error("head `{0}` is fitted in closed form, not step by step")]
    ClosedForm(HeadName),
    /// A loss or a logit is NaN or infinite.
    #[error("{what} is not finite at fit step {step}")]
    NotFinite { what: &'static str, step: u32 },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Puts the values of a state into parameters of the same names and layout.
fn restore(parameters: &mut [Parameter], state: &[Parameter]) {
    for parameter in parameters {
        if let Some(given) = state.iter().find(|given| given.name == parameter.name) {
            parameter.value.copy_from_slice(&given.value);
        }
    }
}

/// Parameters as tensors on the device of the features, in order.
fn tensors(parameters: &[Parameter], device: &candle_core::Device) -> Result<Vec<Tensor>> {
    parameters.iter().map(|p| Tensor::from_slice(&p.value, p.shape.as_slice(), device)).collect()
}

/// The values of tensors, row-major.
fn values(tensors: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    tensors.iter().map(|t| t.flatten_all()?.to_vec1()).collect()
}

/// `[N, O]` to `[O]`, as a product: candle's own sum adds one by one, and loses two digits over many rows.
fn column_sums(x: &Tensor) -> Result<Tensor> {
    let ones = Tensor::ones((1, x.dim(0)?), x.dtype(), x.device())?;
    ones.matmul(x)?.squeeze(0)
}
