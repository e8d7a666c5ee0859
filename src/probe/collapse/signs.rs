//! The signs of one checkpoint.

use serde::{Deserialize, Serialize};

use crate::probe::matrix::{Rows, Symmetric};

// N patches, C channels; X the features `[N, C]`, Z the same with the channels' means taken off.

/// More patches than this are thinned: eigenvalues take their number's cube, pairs its square.
pub const MAX_ROWS: usize = 2048;

/// Beside each share in the entropy: the prototype's, and RankMe's (its value for float32), there on the share itself.
const PROTOTYPE_EPSILON: f64 = 1e-12;
const RANKME_EPSILON: f64 = 1e-7;

/// The t of uniformity (Wang & Isola's choice).
const TEMPERATURE: f64 = 2.0;

/// A channel whose deviation is below this share of the median deviation is dead.
const DEAD: f64 = 1e-6;

/// How many directions the features of a data set use, and how alike they are.
///
/// All depend on the patches and their number: only values of the same patches compare.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signs {
    /// `exp(-Σ p log p)` with `p = σ / Σσ`, σ the singular values of Z: 1 (a line) to `min(N - 1, C)`; 0 where all
    /// patches have the same features. Roy & Vetterli 2007, with the prototype's 1e-12 inside the logarithm.
    pub effective_rank: f64,
    /// The same of X, means included, with `p = σ / Σσ + 1e-7`: RankMe (Garrido et al. 2023, eq. 1 and 2); 0 where all
    /// features are 0.
    pub rankme: f64,
    /// `log mean exp(-2 |u - v|²)` over pairs of patches, u and v their features divided by their length (Wang & Isola
    /// 2020, without its alignment): -8 (opposite) to 0 (all alike); lower is better spread.
    pub uniformity: f64,
    /// Mean cosine over pairs of patches, -1 to 1; a patch whose features are all 0 counts as 0. High where the
    /// channels' means are large, which is no collapse by itself.
    pub mean_cosine: f64,
    /// Channels that (almost) do not vary: their deviation is 0, or below 1e-6 of the channels' median deviation.
    pub dead: usize,
    /// Patches that these numbers are of.
    pub rows: usize,
    pub channels: usize,
}

/// Why features have no signs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollapseError {
    #[error("{found} features are not a whole number of patches of {channels} channels")]
    Length { found: usize, channels: usize },
    #[error("signs of collapse need two patches, not {found}")]
    TooFew { found: usize },
    #[error("a feature of patch {row} is not finite")]
    NotFinite { row: usize },
    #[error("the eigenvalues of {size}x{size} products did not converge")]
    NotConverged { size: usize },
}

/// The signs of features `[N, C]`, row by row, at least two patches.
///
/// Of more than `max_rows` (at least 2; [`MAX_ROWS`] by default) patches, so many are taken, evenly spaced: patch
/// `i * N / max_rows`. Below that, all pairs count.
pub fn signs(features: &[f32], channels: usize, max_rows: usize) -> Result<Signs, CollapseError> {
    if channels == 0 || !features.len().is_multiple_of(channels) {
        return Err(CollapseError::Length { found: features.len(), channels });
    }
    let all = features.len() / channels;
    if all < 2 {
        return Err(CollapseError::TooFew { found: all });
    }
    let n = all.min(max_rows.max(2));
    let row = |i: usize| &features[i * all / n * channels..][..channels];
    if let Some(i) = (0..n).find(|&i| row(i).iter().any(|x| !x.is_finite())) {
        return Err(CollapseError::NotFinite { row: i * all / n });
    }
    let over = |each: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0; channels];
        (0..n).for_each(|i| row(i).iter().enumerate().for_each(|(c, &x)| sums[c] += each(c, f64::from(x))));
        sums.iter_mut().for_each(|s| *s /= n as f64);
        sums
    };
    let mean = over(&|_, x| x);
    let deviation: Vec<f64> = over(&|c, x| (x - mean[c]).powi(2)).into_iter().map(f64::sqrt).collect();
    let centred = (0..n).flat_map(|i| row(i).iter().zip(&mean).map(|(&x, m)| f64::from(x) - m)).collect();
    let centred = Rows::new(centred, channels); // Z [N, C]
    // X = Z + 1 mᵀ: the products of X follow from those of Z without a loss of digits where the mean is large.
    let pull: Vec<f64> = (0..n).map(|i| row(i).iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m) * m).sum()).collect();
    let mean_squared: f64 = mean.iter().map(|m| m * m).sum();
    let between = Symmetric::of_rows(&centred); // Z Zᵀ [N, N]
    let mut products = between.clone();
    products.update(|i, j, z| z + pull[i] + pull[j] + mean_squared); // X Xᵀ [N, N]
    let (uniformity, mean_cosine) = pairs(&products);
    let (of_z, of_x) = if n <= channels {
        (between, products)
    } else {
        let mut of_z = Symmetric::zeros(channels);
        of_z.add_columns(&centred); // Zᵀ Z [C, C]
        let mut of_x = of_z.clone();
        of_x.update(|i, j, z| z + n as f64 * mean[i] * mean[j]); // Xᵀ X [C, C]
        (of_z, of_x)
    };
    Ok(Signs {
        effective_rank: entropy_rank(&singular_values(&of_z)?, |share| share * (share + PROTOTYPE_EPSILON).ln()),
        rankme: entropy_rank(&singular_values(&of_x)?, |share| {
            (share + RANKME_EPSILON) * (share + RANKME_EPSILON).ln()
        }),
        uniformity,
        mean_cosine,
        dead: dead(&deviation),
        rows: n,
        channels,
    })
}

/// From products of rows or columns. What is below their rounding is 0 (numpy's rule for a rank: `size * ε` of the
/// largest).
fn singular_values(products: &Symmetric) -> Result<Vec<f64>, CollapseError> {
    let size = products.size();
    let squares = products.eigenvalues().ok_or(CollapseError::NotConverged { size })?;
    let least = squares.iter().fold(0.0, |a: f64, &b| a.max(b)) * size as f64 * f64::EPSILON;
    Ok(squares.into_iter().map(|s| if s > least { s.sqrt() } else { 0.0 }).collect())
}

/// `exp` of the entropy whose terms are given by `term` of each share; 0 of nothing.
fn entropy_rank(values: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let sum: f64 = values.iter().sum();
    if sum > 0.0 { (-values.iter().map(|v| term(v / sum)).sum::<f64>()).exp() } else { 0.0 }
}

/// Uniformity and mean cosine over pairs, from the products `[N, N]`, N at least 2.
fn pairs(products: &Symmetric) -> (f64, f64) {
    let n = products.size();
    let length: Vec<f64> = (0..n).map(|i| products.at(i, i).max(0.0).sqrt()).collect();
    let (mut kernels, mut cosines) = (0.0, 0.0);
    for j in 0..n {
        for i in j + 1..n {
            let both = length[i] * length[j];
            let cosine = if both > 0.0 { (products.at(i, j) / both).clamp(-1.0, 1.0) } else { 0.0 };
            let unit = |i: usize| f64::from(u8::from(length[i] > 0.0));
            kernels += (-TEMPERATURE * (unit(i) + unit(j) - 2.0 * cosine)).exp();
            cosines += cosine;
        }
    }
    let count = (n * (n - 1) / 2) as f64;
    ((kernels / count).ln(), cosines / count)
}

/// Channels without variation, by their deviations.
fn dead(deviation: &[f64]) -> usize {
    let mut sorted = deviation.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    deviation.iter().filter(|&&d| d == 0.0 || d < DEAD * median).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orthogonal rows with known singular values.
    #[test]
    fn worked_example() {
        // X Xᵀ = diag(9, 16); Z = ±(3, -4)/2, one direction.
        let got = signs(&[3.0, 0.0, 0.0, 4.0], 2, MAX_ROWS).unwrap();
        assert!((got.effective_rank - 1.0).abs() < 1e-9, "{got:?}");
        let (a, b) = (3.0f64 / 7.0, 4.0f64 / 7.0);
        assert!((got.rankme - (-(a * a.ln() + b * b.ln())).exp()).abs() < 1e-6, "{got:?}");
        assert!((got.uniformity + 4.0).abs() < 1e-12 && got.mean_cosine.abs() < 1e-12, "{got:?}");
        assert_eq!((got.dead, got.rows, got.channels), (0, 2, 2));
    }

    /// More patches than channels and fewer: the same features twice have the same spectrum, up to a factor.
    #[test]
    fn both_sides_agree_and_thinning_is_even() {
        let one: Vec<f32> = (0..20 * 30).map(|i| ((i * i + 3 * i) % 97) as f32 / 10.0).collect();
        let twice: Vec<f32> = one.chunks(30).flat_map(|row| [row, row].concat()).collect();
        let (a, b) = (signs(&one, 30, MAX_ROWS).unwrap(), signs(&twice, 30, MAX_ROWS).unwrap());
        assert_eq!((a.rows, b.rows), (20, 40));
        assert!((a.effective_rank - b.effective_rank).abs() < 1e-7 * a.effective_rank, "{a:?} {b:?}");
        assert!(a.effective_rank > 10.0 && a.effective_rank < 19.0, "{a:?}");
        assert_eq!(signs(&twice, 30, 20).unwrap(), a);
    }

    #[test]
    fn collapsed_and_dead() {
        let same = signs(&[0.1, 0.2, 0.3].repeat(7), 3, MAX_ROWS).unwrap();
        assert_eq!((same.effective_rank, same.dead), (0.0, 3));
        assert!(
            (same.rankme - 1.0).abs() < 1e-4 && same.uniformity.abs() < 1e-12 && (same.mean_cosine - 1.0).abs() < 1e-12
        );
        let nothing = signs(&[0.0; 6], 2, MAX_ROWS).unwrap();
        assert_eq!((nothing.effective_rank, nothing.rankme, nothing.mean_cosine), (0.0, 0.0, 0.0));
        // The second channel varies by a ten-millionth of the others.
        let few = signs(&[1.0, 0.0, 2.0, 2.0, 1e-7, 5.0, 4.0, 0.0, 1.0], 3, MAX_ROWS).unwrap();
        assert_eq!(few.dead, 1);
    }

    #[test]
    fn refusals() {
        assert_eq!(signs(&[1.0; 5], 2, 9), Err(CollapseError::Length { found: 5, channels: 2 }));
        assert_eq!(signs(&[1.0; 2], 2, 9), Err(CollapseError::TooFew { found: 1 }));
        assert_eq!(signs(&[1.0, 1.0, 1.0, f32::NAN], 2, 9), Err(CollapseError::NotFinite { row: 1 }));
    }
}
