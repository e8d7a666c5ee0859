//! Ridge fitted to one set of rows, for all penalties.
//!
//! There is one product of features and one Cholesky factorisation per penalty. One eigendecomposition would serve all
//! penalties, but costs more than five factorisations (from 300 to 2000 rows; measured).

use super::{Patches, RidgeError};
use crate::probe::matrix::{Rows, Symmetric};

// n patches to train on, C channels, P penalties.

/// What a penalty is chosen from, weakest first; of equally good ones the weakest.
pub const PENALTIES: [f64; 5] = [1e-2, 1e-1, 1.0, 10.0, 100.0];

/// Added to each deviation, so that a constant channel divides nothing by 0.
const FLOOR: f64 = 1e-6;

/// Rows at a time in the primal form: bounds its memory.
const BLOCK: usize = 512;

/// What was learnt from a set of rows, for each penalty.
pub(super) struct Linear {
    /// `[C]`
    mean: Vec<f64>,
    /// `[P][C]`, per unit of a feature.
    weights: Vec<Vec<f64>>,
    intercept: f64,
}

/// Which system is solved: of the patches, or of the channels. They give the same weights.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// `w = Aᵀ (A Aᵀ/C + p I)⁻¹ y / C`, of size n.
    Dual,
    /// `w = (Aᵀ A/C + p I)⁻¹ Aᵀ y / C`, of size C.
    Primal,
}

impl Linear {
    /// Of the patches `rows`, at least one, by the smaller system.
    pub(super) fn fit(patches: &Patches, rows: &[usize]) -> Result<Self, RidgeError> {
        let form = if rows.len() <= patches.channels { Form::Dual } else { Form::Primal };
        Self::fit_as(form, patches, rows)
    }

    fn fit_as(form: Form, patches: &Patches, rows: &[usize]) -> Result<Self, RidgeError> {
        let (channels, n) = (patches.channels, rows.len() as f64);
        let over = |each: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; channels];
            for &i in rows {
                sums.iter_mut().zip(patches.row(i)).enumerate().for_each(|(c, (s, &x))| *s += each(c, f64::from(x)));
            }
            sums.iter_mut().for_each(|s| *s /= n);
            sums
        };
        let mean = over(&|_, x| x);
        let spread: Vec<f64> = over(&|c, x| (x - mean[c]).powi(2)).into_iter().map(|v| v.sqrt() + FLOOR).collect();
        let standard = |rows: &[usize]| {
            let mut values = Vec::with_capacity(rows.len() * channels);
            for &i in rows {
                values.extend(patches.row(i).iter().enumerate().map(|(c, &x)| (f64::from(x) - mean[c]) / spread[c]));
            }
            values // [rows, C]
        };
        // Σ αᵢ aᵢ over the rows, divided by C.
        let combined = |alpha: &[f64]| {
            let mut sum = vec![0.0; channels];
            for (&i, alpha) in rows.iter().zip(alpha) {
                let row = patches.row(i).iter().enumerate();
                row.for_each(|(c, &x)| sum[c] += alpha * ((f64::from(x) - mean[c]) / spread[c]));
            }
            sum.iter_mut().for_each(|s| *s /= channels as f64);
            sum
        };
        let intercept = rows.iter().map(|&i| patches.water[i]).sum::<f64>() / n;
        let water: Vec<f64> = rows.iter().map(|&i| patches.water[i] - intercept).collect();
        let mut kernel = match form {
            Form::Dual => Symmetric::of_rows(&Rows::new(standard(rows), channels)), // [n, n]
            Form::Primal => rows.chunks(BLOCK).fold(Symmetric::zeros(channels), |mut sum, block| {
                sum.add_columns(&Rows::new(standard(block), channels));
                sum // [C, C]
            }),
        };
        kernel.update(|_, _, product| product / channels as f64);
        let right = if form == Form::Dual { water } else { combined(&water) };
        let weights = PENALTIES.iter().map(|&penalty| {
            let solved = kernel.solve(penalty, &right).ok_or(RidgeError::NotFactored { rows: rows.len() })?;
            let weights = if form == Form::Dual { combined(&solved) } else { solved };
            Ok(weights.into_iter().zip(&spread).map(|(w, s)| w / s).collect())
        });
        Ok(Self { weights: weights.collect::<Result<_, _>>()?, mean, intercept })
    }

    /// The water fraction of a patch `[C]` under the penalty at a place.
    pub(super) fn predict(&self, row: &[f32], penalty: usize) -> f64 {
        let terms = row.iter().zip(&self.mean).zip(&self.weights[penalty]);
        self.intercept + terms.map(|((&x, mean), weight)| (f64::from(x) - mean) * weight).sum::<f64>()
    }

    /// Adds each penalty's squared errors on `rows`.
    pub(super) fn add_errors(&self, patches: &Patches, rows: impl Iterator<Item = usize>, errors: &mut [f64]) {
        for i in rows {
            for (penalty, error) in errors.iter_mut().enumerate() {
                *error += (self.predict(patches.row(i), penalty) - patches.water[i]).powi(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::ridge::patches::made::Made;

    /// The two forms solve different systems for the same weights, on either side of n = C.
    #[test]
    fn dual_and_primal_agree() {
        for channels in [4, 30, 60] {
            let made = Made::new(9, channels);
            let rows: Vec<usize> = made.patches().rows(|_| true).collect();
            let dual = Linear::fit_as(Form::Dual, &made.patches(), &rows).unwrap();
            let primal = Linear::fit_as(Form::Primal, &made.patches(), &rows).unwrap();
            for penalty in 0..PENALTIES.len() {
                for i in 0..rows.len() {
                    let row = made.patches().row(i).to_vec();
                    let (a, b) = (dual.predict(&row, penalty), primal.predict(&row, penalty));
                    assert!((a - b).abs() < 1e-9, "{channels} channels, penalty {penalty}, patch {i}: {a} {b}");
                }
            }
        }
    }

    /// One channel and one penalty by hand: features -1 and 1, y - mean = ∓1/2, w = 1 / (2 + p).
    #[test]
    fn worked_example() {
        let (features, flags, ids) = ([3.0, 5.0], [true; 2], [0; 2]);
        let patches =
            Patches { features: &features, channels: 1, water: &[0.0, 1.0], usable: &flags, fold: &ids, group: &ids };
        let fitted = Linear::fit(&patches, &[0, 1]).unwrap();
        for (penalty, p) in PENALTIES.iter().enumerate() {
            let got = fitted.predict(&[7.0], penalty);
            let exact = 0.5 + 3.0 / (2.0 + p);
            assert!((got - exact).abs() < 1e-5, "{penalty}: {got} {exact}"); // 1e-6 is added to the deviation
        }
    }

    /// What does not vary teaches nothing, and does not divide by 0 elsewhere.
    #[test]
    fn constant_channels_and_single_patches() {
        let (features, flags, ids) = ([0.1, 3.0, 0.1, 5.0, 0.2, 4.0], [true; 3], [0; 3]);
        let water = [0.25, 0.75, 0.0];
        let patches =
            Patches { features: &features, channels: 2, water: &water, usable: &flags, fold: &ids, group: &ids };
        let fitted = Linear::fit(&patches, &[0, 1]).unwrap();
        assert!((fitted.predict(&[0.2, 4.0], 0) - 0.5).abs() < 1e-9);
        assert_eq!(Linear::fit(&patches, &[0]).unwrap().predict(&[9.0, 9.0], 0), 0.25);
    }
}
