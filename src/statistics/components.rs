//! Two-way variance components, event by seed, and what they make of the mean's error.
//!
//! Model of a cell: `d(e, s) = µ + a(e) + b(s) + r(e, s)`, all random with variances σ²a, σ²b, σ²r. From the analysis of
//! variance of a complete table without replication (Searle, Casella, McCulloch: Variance Components, 1992, ch. 4):
//!
//! ```text
//! MS_event = S·Σ(mean over s - mean)² / (E-1)              expected S·σ²a + σ²r
//! MS_seed  = E·Σ(mean over e - mean)² / (S-1)              expected E·σ²b + σ²r
//! MS_rest  = Σ(what is left)² / ((E-1)(S-1))               expected σ²r
//! Var(mean) = σ²a/E + σ²b/S + σ²r/(E·S)                    estimated (MS_event + MS_seed - MS_rest) / (E·S)
//! ```

use serde::{Deserialize, Serialize};

use super::Table;

/// Mean squares of a table, each with its degrees of freedom (0: there is none, and it is 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Components {
    pub mean: f64,
    pub event: MeanSquare,
    pub seed: MeanSquare,
    pub rest: MeanSquare,
    pub n_events: usize,
    pub n_seeds: usize,
}

/// A sum of squares over its degrees of freedom.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanSquare {
    pub value: f64,
    pub df: f64,
}

/// How far a mean is off, with the degrees of freedom that its estimate has (at least 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StandardError {
    pub value: f64,
    pub df: f64,
}

/// The variances of event, seed and rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Variances {
    pub event: f64,
    pub seed: f64,
    pub rest: f64,
}

impl MeanSquare {
    fn new(sum_of_squares: f64, df: f64) -> Self {
        if df > 0.0 { Self { value: sum_of_squares / df, df } } else { Self::default() }
    }
}

impl Components {
    /// Of a table with at least one cell. With one seed only events vary, and everything below is the one-sample t.
    pub fn of(table: &Table) -> Option<Self> {
        let (n_events, n_seeds) = (table.n_events(), table.n_seeds());
        if n_events == 0 || n_seeds == 0 {
            return None;
        }
        let (e, s, mean) = (n_events as f64, n_seeds as f64, table.mean());
        let (mut by_event, mut total, mut by_seed) = (0.0, 0.0, vec![0.0; n_seeds]);
        for row in table.rows() {
            by_event += s * (row.iter().sum::<f64>() / s - mean).powi(2);
            for (sum, value) in by_seed.iter_mut().zip(row) {
                *sum += (value - mean) / e;
                total += (value - mean).powi(2);
            }
        }
        let by_seed = e * by_seed.iter().map(|mean| mean.powi(2)).sum::<f64>();
        Some(Self {
            mean,
            event: MeanSquare::new(by_event, e - 1.0),
            seed: MeanSquare::new(by_seed, s - 1.0),
            rest: MeanSquare::new((total - by_event - by_seed).max(0.0), (e - 1.0) * (s - 1.0)),
            n_events,
            n_seeds,
        })
    }

    /// What variances are expected to give: for saying beforehand what a number of events and seeds could tell. With one
    /// seed the seed's variance is not in it, as it is not in the data.
    pub fn expected(variances: Variances, n_events: usize, n_seeds: usize) -> Option<Self> {
        if n_events == 0 || n_seeds == 0 {
            return None;
        }
        let (e, s) = (n_events as f64, n_seeds as f64);
        let Variances { event, seed, rest } = variances;
        let of = |value: f64, df: f64| MeanSquare::new(value.max(0.0) * df, df);
        Some(Self {
            mean: 0.0,
            event: of(s * event + rest, e - 1.0),
            seed: of(e * seed + rest, s - 1.0),
            rest: of(rest, (e - 1.0) * (s - 1.0)),
            n_events,
            n_seeds,
        })
    }

    /// Estimates of the variances, negative ones as 0. With one seed, the event's holds the rest as well.
    pub fn variances(&self) -> Variances {
        let above = |of: MeanSquare, n: usize| ((of.value - self.rest.value) / n as f64).max(0.0);
        Variances {
            event: above(self.event, self.n_seeds),
            seed: above(self.seed, self.n_events),
            rest: self.rest.value,
        }
    }

    /// The error of the mean; `None` of a single event, from which nothing follows for others.
    ///
    /// The estimate of the variance may fall below what any one component alone implies, even below 0: there it errs most
    /// (up to 26% "different" without a difference), so it is at least `max(MS_event, MS_seed, MS_rest) / (E·S)`. Degrees
    /// of freedom of the sum are Satterthwaite's (Biometrics Bulletin 2, 1946), those of the floor are of the mean square
    /// that it is.
    pub fn error(&self) -> Option<StandardError> {
        let Self { event, seed, rest, .. } = *self;
        if self.n_events < 2 {
            return None;
        }
        let cells = (self.n_events * self.n_seeds) as f64;
        let sum = event.value + seed.value - rest.value;
        let floor = [event, seed, rest].into_iter().max_by(|a, b| a.value.total_cmp(&b.value)).unwrap_or(event);
        let each = [event, seed, rest].into_iter().filter(|square| square.df > 0.0);
        let (square, df) = match each.map(|square| square.value.powi(2) / square.df).sum::<f64>() {
            spread if sum > floor.value => (sum, sum.powi(2) / spread),
            _ => (floor.value, floor.df),
        };
        // All cells alike: no error, and its degrees do not matter.
        let df = if square > 0.0 { df } else { event.df };
        Some(StandardError { value: (square / cells).sqrt(), df: df.max(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[f64]]) -> Table {
        let cell = |e: usize, s: usize| (format!("event {e:02}"), s as u64, Some(rows[e][s]));
        Table::new((0..rows.len()).flat_map(|e| (0..rows[e].len()).map(move |s| (e, s))).map(|(e, s)| cell(e, s)))
    }

    /// By hand: mean 4; event means 3, 5 and seed means 2, 4, 6; what is left is ±1, 0, ∓1.
    #[test]
    fn mean_squares_by_hand() {
        let c = Components::of(&table(&[&[2.0, 3.0, 4.0], &[2.0, 5.0, 8.0]])).unwrap();
        assert_eq!((c.mean, c.n_events, c.n_seeds), (4.0, 2, 3));
        assert_eq!((c.event, c.seed), (MeanSquare { value: 6.0, df: 1.0 }, MeanSquare { value: 8.0, df: 2.0 }));
        assert!((c.rest.value - 2.0).abs() < 1e-12 && c.rest.df == 2.0);
        let error = c.error().unwrap();
        assert!((error.value.powi(2) - (6.0 + 8.0 - 2.0) / 6.0).abs() < 1e-12);
        assert!((error.df - 144.0 / (36.0 / 1.0 + 64.0 / 2.0 + 4.0 / 2.0)).abs() < 1e-12);
        let v = c.variances();
        assert!((v.event - 4.0 / 3.0).abs() < 1e-12 && (v.seed - 3.0).abs() < 1e-12 && (v.rest - 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_error_has_a_floor() {
        // Only the rest varies: the sum of squares of events and of seeds is 0, the plain estimate is negative.
        let c = Components::of(&table(&[&[1.0, -1.0], &[-1.0, 1.0]])).unwrap();
        let error = c.error().unwrap();
        assert!((error.value.powi(2) - 4.0 / 4.0).abs() < 1e-12 && error.df == 1.0, "{c:?} {error:?}");
    }

    #[test]
    fn without_seeds_it_is_the_t_of_one_sample() {
        let values = [0.1, 0.4, 0.2, 0.7];
        let c = Components::of(&table(&values.each_ref().map(std::slice::from_ref))).unwrap();
        let variance = values.iter().map(|v| (v - 0.35f64).powi(2)).sum::<f64>() / 3.0;
        let error = c.error().unwrap();
        assert!((error.value.powi(2) - variance / 4.0).abs() < 1e-12 && error.df == 3.0);
        // Seeds that change nothing add nothing.
        let twice = Components::of(&table(&values.map(|v| [v, v]).each_ref().map(<[f64; 2]>::as_slice))).unwrap();
        let same = twice.error().unwrap();
        assert!((same.value - error.value).abs() < 1e-12 && (same.df - 3.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_too_little_or_all_alike() {
        assert_eq!(Components::of(&Table::new([])), None);
        assert_eq!(Components::of(&table(&[&[0.5, 0.6]])).unwrap().error(), None, "one event");
        let alike = Components::of(&table(&[&[0.5, 0.5], &[0.5, 0.5], &[0.5, 0.5]])).unwrap();
        assert_eq!(alike.error(), Some(StandardError { value: 0.0, df: 2.0 }));
    }

    #[test]
    fn expected_squares_give_the_variances_back() {
        let stated = Variances { event: 0.02, seed: 0.005, rest: 0.01 };
        let v = Components::expected(stated, 11, 3).unwrap().variances();
        assert!((v.event - 0.02).abs() < 1e-12 && (v.seed - 0.005).abs() < 1e-12 && (v.rest - 0.01).abs() < 1e-12);
        let one = Components::expected(stated, 11, 1).unwrap();
        assert!((one.event.value - 0.03).abs() < 1e-12 && one.seed.df == 0.0);
    }
}
