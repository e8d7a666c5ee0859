//! What a chip or a folder of chips is, what would be read of it, or exactly why it is refused.

mod chip;
mod folder;

use std::fmt;

use crate::domain::Reason;

pub use chip::{ChipReport, inspect_chip};
pub use folder::{DatasetReport, inspect_dir};

/// Of the finite values of one band, in f64.
struct Statistics {
    mean: Option<f64>,
    /// Population standard deviation.
    std: Option<f64>,
    missing: u64,
}

fn statistics(values: &[f32]) -> Statistics {
    let finite = || values.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v));
    let n = finite().count();
    let mean = (n > 0).then(|| finite().sum::<f64>() / n as f64);
    // Two passes: the differences to the mean lose nothing to rounding.
    let std = mean.map(|mean| (finite().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt());
    Statistics { mean, std, missing: (values.len() - n) as u64 }
}

/// A value, or a dash where there is none.
fn or_dash<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |v| v.to_string())
}

fn verdict(f: &mut fmt::Formatter<'_>, reason: Option<Reason>, message: Option<&str>) -> fmt::Result {
    match (reason, message) {
        (Some(reason), Some(message)) => write!(f, "refused    {reason}: {message}"),
        _ => write!(f, "usable     yes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_skip_what_is_not_finite() {
        let s = statistics(&[1.0, 3.0, f32::NAN, f32::INFINITY]);
        assert_eq!((s.mean, s.std, s.missing), (Some(2.0), Some(1.0), 2));
        let none = statistics(&[f32::NAN]);
        assert_eq!((none.mean, none.std, none.missing), (None, None, 1));
    }
}
