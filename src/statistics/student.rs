//! Quantiles of Student's t.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Degrees of freedom beyond which t is taken as here: it is the normal distribution to 2.4e-4, and the quantiles of statrs
/// 0.19, good to seven digits up to here, lose theirs further out (1.83 in place of 1.96 at 1e7).
const MOST_DEGREES: f64 = 1e4;

/// The value below which a share `p` (in 0 to 1, both excluded) of Student's t lies; `df` need not be whole, and is taken
/// as 1 where it is less.
pub fn quantile(p: f64, df: f64) -> f64 {
    // `max` gives 1 where `df` is not a number: `new` always gets a finite number from 1 on, and refuses none of these.
    let t = StudentsT::new(0.0, 1.0, df.max(1.0).clamp(1.0, MOST_DEGREES)).expect("valid degrees of freedom");
    t.inverse_cdf(p)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed tables (Abramowitz and Stegun, 26.10), and exact values of one and two degrees.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        let table = [
            (0.975, 1.0, 12.706_205),
            (0.975, 2.0, 4.302_653),
            (0.975, 10.0, 2.228_139),
            (0.95, 3.0, 2.353_363),
            (0.8, 5.0, 0.919_544),
            (0.999, 6.0, 5.207_626),
            (0.975, 1e9, 1.959_964),
            (0.999_95, 120.0, 4.025),
        ];
        for (p, df, expected) in table {
            let t = quantile(p, df);
            assert!((t - expected).abs() < 1e-3 * expected, "{p} {df}: {t}");
            assert!((quantile(1.0 - p, df) + t).abs() < 1e-6 * t);
        }
        assert!((quantile(0.999_9, 1.0) - 1.0 / (std::f64::consts::PI * 1e-4).tan()).abs() < 1e-3);
    }

    #[test]
    fn broken_degrees_are_one_degree() {
        for df in [f64::NAN, 0.0, -3.0] {
            assert_eq!(quantile(0.975, df), quantile(0.975, 1.0));
        }
        assert!(quantile(0.975, 2.5) < quantile(0.975, 2.0) && quantile(0.975, 2.5) > quantile(0.975, 3.0));
        assert!(quantile(0.975, f64::INFINITY).is_finite());
    }
}
