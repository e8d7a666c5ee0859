//! Where a tensor lies in its file: a view of a storage, read lazily and made contiguous.

use std::ops::Range;

use super::dtype::Dtype;

/// Shape and stored dtype of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    pub shape: Vec<usize>,
    /// `f32`, `f16`, `bf16`, `i64`, ...
    pub dtype: String,
}

/// A view of a stored run of elements. Sizes were checked: the view lies within the storage, and has no more
/// elements than it.
#[derive(Clone, Debug)]
pub(in crate::probe) struct View {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    stride: Vec<usize>,
    offset: usize,
    /// Elements from the first to the last of the view, in the storage.
    extent: usize,
    pub store: Store,
}

/// Where a storage lies.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::probe) enum Store {
    /// In a ZIP entry below the top folder.
    Entry(String),
    /// At a position of the file, in bytes.
    At(u64),
}

impl View {
    /// A view in elements of a storage of `elements`; in words what is impossible about it, otherwise.
    pub fn new(
        dtype: Dtype,
        (shape, stride): (&[u64], &[u64]),
        offset: u64,
        elements: u64,
        store: Store,
    ) -> Result<Self, String> {
        let numel = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let steps = shape.iter().zip(stride).map(|(&d, &s)| d.saturating_sub(1).checked_mul(s));
        let last = steps.into_iter().try_fold(0u64, |sum, step| sum.checked_add(step?));
        let extent = if numel == Some(0) { Some(0) } else { last.and_then(|n| n.checked_add(1)) };
        let fits = |end: &u64| *end <= elements;
        let within =
            extent.and_then(|n| n.checked_add(offset)).filter(fits).is_some() && numel.is_some_and(|n| n <= elements);
        let all: Option<Vec<usize>> = shape.iter().chain(stride).map(|&n| usize::try_from(n).ok()).collect();
        match (all, usize::try_from(offset), extent.map(usize::try_from)) {
            (Some(sizes), Ok(offset), Some(Ok(extent))) if within => {
                let (shape, stride) = sizes.split_at(shape.len());
                Ok(Self { dtype, shape: shape.into(), stride: stride.into(), offset, extent, store })
            }
            _ => Err(format!(
                "reaches beyond its storage of {elements} elements: offset {offset}, shape {shape:?}, stride {stride:?}"
            )),
        }
    }

    /// A tensor that lies in one piece from `at` on.
    pub fn contiguous(dtype: Dtype, shape: Vec<usize>, at: u64) -> Self {
        let extent = shape.iter().product();
        let stride = row_major(&shape);
        Self { dtype, shape, stride, offset: 0, extent, store: Store::At(at) }
    }

    /// What it looks like from outside.
    pub fn info(&self) -> TensorInfo {
        TensorInfo { shape: self.shape.clone(), dtype: self.dtype.name().to_owned() }
    }

    /// Bytes of the tensor, contiguous.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.dtype.size() as u64
    }

    /// The bytes of the storage that hold the view.
    pub fn range(&self) -> Range<u64> {
        let size = self.dtype.size() as u64;
        self.offset as u64 * size..(self.offset + self.extent) as u64 * size
    }

    /// Whether the bytes of [`range`](Self::range) are the tensor, row-major.
    pub fn is_contiguous(&self) -> bool {
        let plain = row_major(&self.shape);
        let same = |((&d, is), want): ((&usize, &usize), &usize)| d <= 1 || is == want;
        self.shape.contains(&0) || self.shape.iter().zip(&self.stride).zip(&plain).all(same)
    }

    /// Puts the elements of the bytes of [`range`](Self::range) in row-major order.
    pub fn gather(&self, from: &[u8], into: &mut Vec<u8>) {
        into.clear();
        let size = self.dtype.size();
        let mut index = vec![0; self.shape.len()];
        for _ in 0..self.shape.iter().product() {
            let at = size * index.iter().zip(&self.stride).map(|(i, s)| i * s).sum::<usize>();
            into.extend_from_slice(&from[at..at + size]);
            for (i, &d) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < d {
                    break;
                }
                *i = 0;
            }
        }
    }
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut stride = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        stride[i - 1] = stride[i].saturating_mul(shape[i]);
    }
    stride
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[u64], stride: &[u64], offset: u64, elements: u64) -> Result<View, String> {
        View::new(Dtype::U8, (shape, stride), offset, elements, Store::At(0))
    }

    #[test]
    fn a_transposed_view_is_made_contiguous() {
        let view = view(&[2, 3], &[1, 2], 1, 7).unwrap();
        assert_eq!(view.range(), 1..7);
        assert!(!view.is_contiguous());
        let mut out = Vec::new();
        view.gather(&[0, 1, 2, 3, 4, 5], &mut out);
        assert_eq!(out, [0, 2, 4, 1, 3, 5]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(view(&[2, 3], &[3, 1], 0, 6).unwrap().is_contiguous());
        assert!(view(&[2, 3], &[3, 1], 1, 6).is_err(), "beyond the end");
        assert!(view(&[1_000], &[0], 0, 1).is_err(), "one element expanded to many");
        assert!(view(&[u64::MAX, 2], &[1, 1], 0, 8).is_err(), "overflow");
        assert!(view(&[u64::MAX], &[u64::MAX], 0, 8).is_err(), "overflow");
        assert!(view(&[], &[], 0, 1).is_ok(), "a scalar");
        assert!(view(&[0, 5], &[5, 1], 0, 0).is_ok(), "nothing");
    }
}
