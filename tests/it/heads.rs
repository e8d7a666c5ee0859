//! Heads: golden steps, gradients against plain operations, budget, notes, folds without a score.

mod fits;
mod golden;
mod gradients;
mod plain;

use candle_core::Tensor;
use clay_probe::probe::head::{Head, Parameter, Targets};

/// Where the golden files lie.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clay/golden");

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Chips `from..from + n` of `[B, C, h, w]` as rows `[n*h*w, C]`.
fn rows(features: &Tensor, from: usize, n: usize) -> Tensor {
    let chosen = features.narrow(0, from, n).unwrap().permute((0, 2, 3, 1)).unwrap();
    chosen.reshape(((), features.dim(1).unwrap())).unwrap()
}

/// Logits per cell of one chip after another, per pixel.
fn by_pixel(cells: &[f32], side: usize, cell: usize) -> Vec<f32> {
    let row = side / cell;
    let pixel = |p: usize| cells[p / (side * side) * row * row + p / side % side / cell * row + p % side / cell];
    (0..cells.len() * cell * cell).map(pixel).collect()
}

/// Loss and gradients of a batch, as a fit computes them; gradients are named and laid out as PyTorch's.
fn loss_and_gradients(
    head: &mut dyn Head,
    features: &Tensor,
    grid: usize,
    targets: &[Targets],
) -> (f64, Vec<Vec<f32>>) {
    let labelled = targets.iter().map(|t| t.labelled).sum();
    let mut loss = 0.0;
    let gradients = head.gradients(features, grid, &mut |logits| {
        let mut gradient = Vec::new();
        let chips = targets.iter().zip(logits.chunks_exact(logits.len() / targets.len()));
        loss = chips.map(|(t, z)| t.loss(z, labelled, &mut gradient)).sum::<f64>() / labelled as f64;
        gradient
    });
    (loss, gradients.unwrap())
}

/// Gradients as PyTorch lays them out: the state of a head that has them for parameters.
fn in_torchs_layout(mut head: Box<dyn Head>, gradients: &[Vec<f32>]) -> Vec<Parameter> {
    head.parameters().iter_mut().zip(gradients).for_each(|(p, g)| p.value.clone_from(g));
    let names: Vec<&str> = head.parameters().iter().map(|p| p.name).collect();
    head.state().into_iter().filter(|p| names.contains(&p.name)).collect()
}
