//! Scores: counts pooled over chips and folds, metrics of both classes, ranks of binned logits.

pub mod classes;
pub mod histogram;

use crate::domain::{Confusion, Metrics};

/// Counts and summed loss of a set of pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SideScore {
    pub confusion: Confusion,
    /// Binary cross-entropy in nats, summed over labelled pixels.
    pub loss: f64,
    /// Labelled pixels.
    pub labelled: u64,
}

impl SideScore {
    /// Of disjoint sets of pixels together.
    pub fn sum<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        parts.into_iter().fold(Self::default(), |a, b| Self {
            confusion: a.confusion.plus(b.confusion),
            loss: a.loss + b.loss,
            labelled: a.labelled + b.labelled,
        })
    }

    /// All metrics; the loss is the mean over labelled pixels, `None` without any.
    pub fn metrics(&self) -> Metrics {
        self.confusion.metrics((self.labelled > 0).then(|| self.loss / self.labelled as f64))
    }
}

/// The mean of the batches' IoU, as Clay's own notebook reports it; batches where it is `0/0` are left out.
pub fn mean_batch_iou(batches: &[Confusion]) -> Option<f64> {
    mean(batches.iter().filter_map(|c| c.metrics(None).iou))
}

/// The mean of what is there; `None` of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.into_iter().fold((0.0, 0u32), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// `1 / (1 + exp(-z))`.
pub fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + (-z).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_is_not_averaging() {
        let of = |tp, fp, loss, labelled| SideScore {
            confusion: Confusion { tp, fp, ..Default::default() },
            loss,
            labelled,
        };
        let all = SideScore::sum(&[of(1, 0, 1.0, 1), of(1, 8, 18.0, 9)]);
        assert_eq!(all.metrics().iou, Some(0.2));
        assert_eq!(all.metrics().loss, Some(1.9));
        assert_eq!(SideScore::default().metrics(), Metrics::default());
        let batches = [Confusion { tp: 1, ..Default::default() }, Confusion { tp: 1, fp: 8, ..Default::default() }];
        let mean = mean_batch_iou(&[batches[0], batches[1], Confusion::default()]).unwrap();
        assert!((mean - (1.0 + 1.0 / 9.0) / 2.0).abs() < 1e-12);
        assert_eq!(mean_batch_iou(&[Confusion::default()]), None);
    }
}
