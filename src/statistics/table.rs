//! One score per event and seed: what every statistic here is of.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A complete table of scores, events by seeds, in the order of their names.
///
/// Labels are shared between tables that are made from each other, so that differences and means cost no copies of names.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    events: Arc<[String]>,
    seeds: Arc<[u64]>,
    /// Event by event, the seeds of each side by side; finite.
    values: Vec<f64>,
}

/// One probe of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub epoch: u32,
    pub table: Table,
}

impl Table {
    /// Of cells in any order; of a cell given twice the last counts.
    ///
    /// A missing cell is `None` or not finite. Its **event** is dropped, for all seeds: components need every cell. (A seed
    /// of which no event has a score is not there at all, so that a head that failed with it costs no event.)
    pub fn new(cells: impl IntoIterator<Item = (String, u64, Option<f64>)>) -> Self {
        let mut rows: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
        for (event, seed, value) in cells {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                rows.entry(event).or_default().insert(seed, value);
            }
        }
        let seeds: BTreeSet<u64> = rows.values().flat_map(|row| row.keys().copied()).collect();
        rows.retain(|_, row| row.len() == seeds.len());
        Self {
            values: rows.values().flat_map(|row| row.values().copied()).collect(),
            // Where no event is complete, there are no seeds of anything either.
            seeds: seeds.into_iter().filter(|_| !rows.is_empty()).collect(),
            events: rows.into_keys().collect(),
        }
    }

    /// Of heads without seeds: one value per event.
    pub fn of_events(cells: impl IntoIterator<Item = (String, Option<f64>)>) -> Self {
        Self::new(cells.into_iter().map(|(event, value)| (event, 0, value)))
    }

    /// Names, in order.
    pub fn events(&self) -> &[String] {
        &self.events
    }

    /// In ascending order.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    pub fn n_events(&self) -> usize {
        self.events.len()
    }

    pub fn n_seeds(&self) -> usize {
        self.seeds.len()
    }

    /// One event after the other, each with its seeds side by side.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.n_seeds().max(1))
    }

    /// Of all cells, which is the mean over events of the means over seeds; 0 of none.
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len().max(1) as f64
    }

    /// The same cells with other values; `value` is given event's and seed's place. What is not finite becomes 0.
    pub fn filled(&self, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let cells = (0..self.n_events()).flat_map(|e| (0..self.n_seeds()).map(move |s| (e, s)));
        let values = cells.map(|(e, s)| Some(value(e, s)).filter(|v| v.is_finite()).unwrap_or(0.0)).collect();
        Self { events: self.events.clone(), seeds: self.seeds.clone(), values }
    }

    /// Σ weight·table, cell by cell. All have the cells of the first; of none `None`.
    pub(super) fn weighted<'a>(tables: impl IntoIterator<Item = (f64, &'a Self)>) -> Option<Self> {
        let mut tables = tables.into_iter();
        let (weight, first) = tables.next()?;
        let mut sum = first.clone();
        sum.values.iter_mut().for_each(|value| *value *= weight);
        for (weight, table) in tables {
            debug_assert!(sum.same_cells(table));
            sum.values.iter_mut().zip(&table.values).for_each(|(sum, value)| *sum += weight * value);
        }
        Some(sum)
    }

    /// `self` less `other`, over the events and seeds that both have.
    pub fn minus(&self, other: &Self) -> Self {
        let (a, b) = (self.only(&other.events, &other.seeds), other.only(&self.events, &self.seeds));
        Self { values: a.values.iter().zip(&b.values).map(|(a, b)| a - b).collect(), ..a }
    }

    /// The part of it that lies in `cells`; `None` where it lacks one of them.
    pub(super) fn within(&self, cells: &Self) -> Option<Cow<'_, Self>> {
        if self.same_cells(cells) {
            return Some(Cow::Borrowed(self));
        }
        Some(self.only(&cells.events, &cells.seeds)).filter(|part| part.same_cells(cells)).map(Cow::Owned)
    }

    fn same_cells(&self, other: &Self) -> bool {
        let same = |a: &Arc<_>, b: &Arc<_>| Arc::ptr_eq(a, b) || a == b;
        (Arc::ptr_eq(&self.seeds, &other.seeds) || self.seeds == other.seeds) && same(&self.events, &other.events)
    }

    fn only(&self, events: &Arc<[String]>, seeds: &Arc<[u64]>) -> Self {
        if Arc::ptr_eq(&self.events, events) && Arc::ptr_eq(&self.seeds, seeds) {
            return self.clone();
        }
        let columns: Vec<usize> = places(&self.seeds, seeds);
        let rows = if columns.is_empty() { Vec::new() } else { places(&self.events, events) };
        let cell = |&row: &usize| columns.iter().map(move |column| row * self.n_seeds() + column);
        Self {
            events: rows.iter().map(|&row| self.events[row].clone()).collect(),
            seeds: columns.iter().filter(|_| !rows.is_empty()).map(|&column| self.seeds[column]).collect(),
            values: rows.iter().flat_map(cell).map(|at| self.values[at]).collect(),
        }
    }
}

/// Those of `points` that have every cell of `newest`, cut to these, in the order given. The others (an event failed in
/// them) cannot be compared with it cell by cell.
pub(super) fn comparable<'a>(points: &'a [Point], newest: &Table) -> Vec<(u32, Cow<'a, Table>)> {
    points.iter().filter_map(|point| Some((point.epoch, point.table.within(newest)?))).collect()
}

/// Where the ones that are wanted lie among those that are there.
fn places<T: Ord>(there: &[T], wanted: &[T]) -> Vec<usize> {
    (0..there.len()).filter(|&at| wanted.binary_search(&there[at]).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(event: &str, seed: u64, value: f64) -> (String, u64, Option<f64>) {
        (event.to_owned(), seed, Some(value))
    }

    #[test]
    fn an_event_that_lacks_a_seed_is_dropped_and_a_seed_that_nobody_has_is_not_missed() {
        let cells = [
            cell("b", 1, 0.4),
            cell("b", 0, 0.3),
            cell("a", 0, 0.1),
            cell("a", 1, 0.2),
            cell("c", 0, 0.5),
            cell("c", 1, f64::NAN),
            ("a".to_owned(), 2, None),
        ];
        let table = Table::new(cells);
        assert_eq!((table.events(), table.seeds()), (["a".to_owned(), "b".to_owned()].as_slice(), [0, 1].as_slice()));
        assert_eq!(table.rows().collect::<Vec<_>>(), [[0.1, 0.2], [0.3, 0.4]]);
        assert!((table.mean() - 0.25).abs() < 1e-15);
    }

    #[test]
    fn nothing_complete_is_an_empty_table() {
        let table = Table::new([cell("a", 0, 0.1), cell("b", 1, 0.2)]);
        assert_eq!((table.n_events(), table.n_seeds(), table.rows().count(), table.mean()), (0, 0, 0, 0.0));
        assert_eq!(table.minus(&table), Table::new([]));
    }

    #[test]
    fn differences_are_of_what_both_have() {
        let a = Table::new([cell("a", 0, 0.1), cell("b", 0, 0.4), cell("b", 7, 0.6), cell("a", 7, 0.5)]);
        let b = Table::new([cell("b", 7, 0.5), cell("z", 7, 0.9)]);
        let d = a.minus(&b);
        assert_eq!((d.events(), d.seeds()), (["b".to_owned()].as_slice(), [7].as_slice()));
        assert!((d.mean() - 0.1).abs() < 1e-15);
        assert!(b.within(&d).is_some() && d.within(&b).is_none());
        let points = [Point { epoch: 1, table: a.clone() }, Point { epoch: 2, table: b.clone() }];
        let epochs = |newest| comparable(&points, newest).iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>();
        assert_eq!((epochs(&d), epochs(&a), epochs(&b)), (vec![1, 2], vec![1], vec![2]));
        assert_eq!(a.minus(&Table::new([cell("b", 9, 0.5)])), Table::new([]), "no seed in common");
    }

    #[test]
    fn sums_are_cell_by_cell() {
        let a = Table::of_events([("a".to_owned(), Some(1.0)), ("b".to_owned(), Some(3.0)), ("c".to_owned(), None)]);
        let sum = Table::weighted([(0.5, &a), (2.0, &a.filled(|event, _| event as f64))]).unwrap();
        assert_eq!(sum.rows().collect::<Vec<_>>(), [[0.5], [3.5]]);
        assert_eq!(Table::weighted([]), None);
    }
}
