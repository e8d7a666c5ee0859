//! 3x3 convolutions with padding 1 as products of matrices, and the way back.
//!
//! In a map with its border, channels last, the three taps of a pixel in one row lie side by side, and those of the next
//! pixel start one pixel later: rows that overlap, which a product takes as they are. Nothing is copied out.
//!
//! Maps are cut into strips that threads share. How they are cut depends on the map alone, a product is computed by one
//! thread, and sums over strips are taken in their order: results do not depend on the number of threads.

use std::ops::Range;

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

use super::{kernel::Kernel, map::Map};

// S pixels per side, C channels in, O channels out.

/// About so many pixels are one product.
const STRIP: usize = 512;
/// A kernel's gradient is a sum over at most so many parts of the map.
const PARTS: usize = 8;

/// `x` `[S, S, C]` to `[S, S, O]`.
pub(super) fn convolve(x: &Map, kernel: &Kernel) -> Map {
    let mut y = Map::zeros(x.side, kernel.output);
    let (width, stride, o) = (x.side + 2, y.stride(), kernel.output);
    let rows = STRIP.div_ceil(width);
    let inner = stride..y.values.len() - stride;
    y.values[inner].par_chunks_mut(rows * stride).enumerate().for_each(|(i, strip)| {
        // From the first pixel of the strip to its last; what lies on the border between two rows is of no use.
        let pixels = strip.len() / o - 2;
        for u in 0..3 {
            let out = MatMut::from_row_major_slice_mut(&mut strip[o..(pixels + 1) * o], pixels, o);
            let add = if u == 0 { Accum::Replace } else { Accum::Add };
            matmul(out, add, taps(x, i * rows + u, pixels), row_of(kernel, u), 1.0, Par::Seq);
        }
        for row in strip.chunks_exact_mut(stride) {
            row[..o].fill(0.0);
            row[stride - o..].fill(0.0);
        }
    });
    y
}

/// Adds to `sum` the gradient by the kernel, and to `bias` that by the bias, from the gradient `y` of the output of `x`.
pub(super) fn add_gradient(x: &Map, y: &Map, sum: &mut Kernel, bias: &mut [f32]) {
    let (rows, o) = (x.side.div_ceil(PARTS), y.channels);
    let parts: Vec<Range<usize>> = (0..x.side).step_by(rows).map(|at| at..(at + rows).min(x.side)).collect();
    let of = |part: &Range<usize>, u: usize| {
        let pixels = part.len() * (x.side + 2) - 2;
        let first = (part.start + 1) * y.stride() + o;
        let gradient = MatRef::from_row_major_slice(&y.values[first..first + pixels * o], pixels, o);
        let mut product = vec![0.0; 3 * x.channels * o];
        let out = MatMut::from_row_major_slice_mut(&mut product, 3 * x.channels, o);
        matmul(out, Accum::Replace, taps(x, part.start + u, pixels).transpose(), gradient, 1.0, Par::Seq);
        product
    };
    let products = (0..3 * parts.len()).into_par_iter().map(|i| of(&parts[i / 3], i % 3));
    for (i, product) in products.collect::<Vec<_>>().into_iter().enumerate() {
        let row = &mut sum.values[i % 3 * product.len()..][..product.len()];
        row.iter_mut().zip(product).for_each(|(sum, value)| *sum += value);
    }
    let sums = parts.par_iter().map(|part| channel_sums(y, part.clone())).collect::<Vec<_>>();
    for part in sums {
        bias.iter_mut().zip(part).for_each(|(sum, value)| *sum += value as f32);
    }
}

/// A row of taps of `pixels` pixels, `[pixels, 3*C]`: those of the first start at the left end of row `row`, counted with
/// the border.
fn taps(x: &Map, row: usize, pixels: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice_with_stride(&x.values[row * x.stride()..], pixels, 3 * x.channels, x.channels)
}

/// Row `u` of the kernel, `[3*C, O]`.
fn row_of(kernel: &Kernel, u: usize) -> MatRef<'_, f32> {
    let size = 3 * kernel.input * kernel.output;
    MatRef::from_row_major_slice(&kernel.values[u * size..(u + 1) * size], 3 * kernel.input, kernel.output)
}

/// Sums over rows, in f64.
fn channel_sums(y: &Map, rows: Range<usize>) -> Vec<f64> {
    let mut sums = vec![0.0; y.channels];
    for pixel in rows.flat_map(|row| y.row(row).chunks_exact(y.channels)) {
        sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums
}
