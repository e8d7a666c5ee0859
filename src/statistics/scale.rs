//! How to read a metric's differences: which way is better, and how small does not matter.

use serde::{Deserialize, Serialize};

/// Which way a metric gets better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A ratio such as the IoU.
    #[default]
    HigherIsBetter,
    /// A loss.
    LowerIsBetter,
}

/// How a metric's differences are read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    pub direction: Direction,
    /// Differences up to this size do not matter; in units of the metric, at least 0.
    pub margin: f64,
}

impl Scale {
    /// Differences below this are rounding, whatever the margin: scores are of the order of 1, an `f64` holds 16 digits,
    /// and a mean over cells loses two or three of them.
    pub(super) const ROUNDING: f64 = 1e-12;

    /// Of a metric of which more is better.
    pub fn higher(margin: f64) -> Self {
        Self { direction: Direction::HigherIsBetter, margin }
    }

    /// Of a metric of which less is better.
    pub fn lower(margin: f64) -> Self {
        Self { direction: Direction::LowerIsBetter, margin }
    }

    /// A difference in the metric as a gain: positive is better.
    pub fn gain(self, delta: f64) -> f64 {
        match self.direction {
            Direction::HigherIsBetter => delta,
            Direction::LowerIsBetter => -delta,
        }
    }

    /// Whether every difference from `low` to `high` is too small to matter.
    pub(super) fn covers(self, low: f64, high: f64) -> bool {
        let reach = self.margin.max(0.0) + Self::ROUNDING;
        -reach <= low && high <= reach
    }

    /// -1, 0 or 1: the interval lies wholly on the worse side, on neither, on the better side.
    pub(super) fn side(self, low: f64, high: f64) -> i8 {
        let (a, b) = (self.gain(low), self.gain(high));
        i8::from(a.min(b) > Self::ROUNDING) - i8::from(a.max(b) < -Self::ROUNDING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_falls_is_a_gain() {
        assert_eq!((Scale::higher(0.0).side(0.1, 0.2), Scale::lower(0.0).side(0.1, 0.2)), (1, -1));
        assert_eq!((Scale::lower(0.0).side(-0.2, -0.1), Scale::lower(0.0).side(-0.1, 0.1)), (1, 0));
        assert_eq!(Scale::higher(0.0).side(1e-17, 2e-17), 0, "rounding is no difference");
    }

    #[test]
    fn the_margin_is_part_of_what_does_not_matter() {
        let scale = Scale::higher(0.01);
        assert!(scale.covers(-0.01, 0.01) && !scale.covers(-0.011, 0.0) && !scale.covers(0.0, 0.011));
        assert!(Scale::higher(0.0).covers(0.0, 0.0) && !Scale::higher(0.0).covers(0.0, 1e-6));
    }
}
