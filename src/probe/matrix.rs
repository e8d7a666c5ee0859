//! The little linear algebra of ridge and of the signs of collapse: faer on one thread, in f64.
//!
//! Nothing here depends on the number of threads: every call names [`Par::Seq`].

use faer::{
    Accum, Conj, Mat, MatRef, Par,
    diag::Diag,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{
        cholesky::llt,
        evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch},
        matmul::triangular::{BlockStructure, matmul},
    },
    prelude::default,
};

/// A dense matrix, row by row.
pub struct Rows {
    values: Vec<f64>,
    columns: usize,
}

impl Rows {
    /// Of `values` `[N, columns]`, row by row; `columns` is at least 1 and divides their number.
    pub fn new(values: Vec<f64>, columns: usize) -> Self {
        Self { values, columns }
    }

    fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.values, self.values.len() / self.columns, self.columns)
    }
}

/// A symmetric matrix, of which the lower triangle is kept.
#[derive(Clone)]
pub struct Symmetric(Mat<f64>);

impl Symmetric {
    /// `[n, n]` of zeros.
    pub fn zeros(n: usize) -> Self {
        Self(Mat::zeros(n, n))
    }

    /// `a aᵀ` `[N, N]`: the products of rows.
    pub fn of_rows(a: &Rows) -> Self {
        let a = a.view();
        let mut gram = Self::zeros(a.nrows());
        gram.add(a, a.transpose());
        gram
    }

    /// Adds `aᵀ a` `[C, C]`, the products of columns.
    pub fn add_columns(&mut self, a: &Rows) {
        let a = a.view();
        self.add(a.transpose(), a);
    }

    fn add(&mut self, left: MatRef<'_, f64>, right: MatRef<'_, f64>) {
        let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
        matmul(self.0.as_mut(), lower, Accum::Add, left, full, right, full, 1.0, Par::Seq);
    }

    /// Rows, as many as columns.
    pub fn size(&self) -> usize {
        self.0.nrows()
    }

    /// The element of row `i` and column `j <= i`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.0[(i, j)]
    }

    /// Each element of the lower triangle replaced by `new(i, j, old)`, `j <= i`.
    pub fn update(&mut self, new: impl Fn(usize, usize, f64) -> f64) {
        for j in 0..self.size() {
            for i in j..self.size() {
                self.0[(i, j)] = new(i, j, self.0[(i, j)]);
            }
        }
    }

    /// `x` of `(self + ridge I) x = right`, by Cholesky; `None` where that is not positive definite.
    pub fn solve(&self, ridge: f64, right: &[f64]) -> Option<Vec<f64>> {
        let n = self.size();
        let mut factor = self.0.clone();
        (0..n).for_each(|i| factor[(i, i)] += ridge);
        let mut memory = MemBuffer::new(llt::factor::cholesky_in_place_scratch::<f64>(n, Par::Seq, default()));
        let stack = MemStack::new(&mut memory);
        llt::factor::cholesky_in_place(factor.as_mut(), default(), Par::Seq, stack, default()).ok()?;
        let mut x = Mat::from_fn(n, 1, |i, _| right[i]);
        llt::solve::solve_in_place_with_conj(factor.as_ref(), Conj::No, x.as_mut(), Par::Seq, stack);
        Some((0..n).map(|i| x[(i, 0)]).collect())
    }

    /// All eigenvalues, in rising order; `None` where the iteration does not converge (not finite, say).
    pub fn eigenvalues(&self) -> Option<Vec<f64>> {
        let n = self.size();
        let no = ComputeEigenvectors::No;
        let mut memory = MemBuffer::new(self_adjoint_evd_scratch::<f64>(n, no, Par::Seq, default()));
        let mut values = Diag::zeros(n);
        let stack = MemStack::new(&mut memory);
        self_adjoint_evd(self.0.as_ref(), values.as_mut(), None, Par::Seq, stack, default()).ok()?;
        Some(values.column_vector().iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_rows_and_of_columns() {
        let a = Rows::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3);
        let rows = Symmetric::of_rows(&a);
        assert_eq!([rows.at(0, 0), rows.at(1, 0), rows.at(1, 1)], [14.0, 32.0, 77.0]);
        let mut columns = Symmetric::zeros(3);
        columns.add_columns(&a);
        columns.add_columns(&a);
        assert_eq!([columns.at(0, 0), columns.at(2, 1), columns.at(2, 2)], [34.0, 72.0, 90.0]);
    }

    #[test]
    fn solves_and_tells_what_has_no_solution() {
        let k = Symmetric::of_rows(&Rows::new(vec![1.0, 2.0], 1)); // [1 2; 2 4]
        let x = k.solve(1.0, &[1.0, -1.0]).unwrap(); // [2 2; 2 5]
        assert!((x[0] - 7.0 / 6.0).abs() < 1e-14 && (x[1] + 2.0 / 3.0).abs() < 1e-14, "{x:?}");
        assert_eq!(k.solve(-9.0, &[1.0, 1.0]), None);
        let values = k.eigenvalues().unwrap();
        assert!(values[0].abs() < 1e-14 && (values[1] - 5.0).abs() < 1e-14, "{values:?}");
        let mut broken = k;
        broken.update(|_, _, _| f64::NAN);
        assert_eq!(broken.solve(1.0, &[1.0, 1.0]), None);
    }

    /// Larger than any block, against sums of eigenvalues and their squares.
    #[test]
    fn eigenvalues_of_a_large_one() {
        let n = 150;
        let a: Vec<f64> = (0..n * 40).map(|i| ((i * i + 7 * i) % 101) as f64 / 50.0 - 1.0).collect();
        let k = Symmetric::of_rows(&Rows::new(a, 40));
        let values = k.eigenvalues().unwrap();
        let trace: f64 = (0..n).map(|i| k.at(i, i)).sum();
        let squares: f64 =
            (0..n).flat_map(|i| (0..n).map(move |j| (i.max(j), i.min(j)))).map(|(i, j)| k.at(i, j).powi(2)).sum();
        assert!((values.iter().sum::<f64>() - trace).abs() < 1e-10 * trace);
        assert!((values.iter().map(|v| v * v).sum::<f64>() - squares).abs() < 1e-10 * squares);
        assert!(values.is_sorted() && values[n - 41].abs() < 1e-10 * trace, "rank 40");
    }
}
