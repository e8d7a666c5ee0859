//! Which rows teach which, and the choice of a penalty inside the training side.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::{PENALTIES, Patches, RidgeError, fit::Linear};

/// Used where the training side cannot be divided: a fold's only group.
const WITHOUT_A_CHOICE: usize = 2;

/// At most so many inner folds where these are made of groups.
const INNER: usize = 5;

/// Predictions, and how they were come by.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfFold {
    /// `[N]`: the water fraction of each patch as the other folds see it; not bounded to 0 to 1.
    pub predictions: Vec<f64>,
    /// In the order of the folds' numbers.
    pub penalties: Vec<Chosen>,
}

/// The penalty of a fold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    pub fold: u32,
    pub penalty: f64,
    pub by: ChosenBy,
}

/// What the training side was divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// The other folds, each left out in turn.
    Folds,
    /// One other fold, whose groups are dealt to at most five inner folds.
    Groups,
    /// One other fold of one group: the middle penalty, unchosen.
    Nothing,
}

/// Predicts each fold by ridge on the others.
///
/// From three folds with labels on, the penalty of a fold is chosen by leaving out each of the other folds in turn;
/// with two, by groups of the one other fold. Runs on the current rayon pool; each of its threads needs up to twice `8
/// C²` bytes (340 MB for C = 4608 and as many patches). See [`RidgeError`] for what is refused; a constant target is
/// not.
pub fn out_of_fold(patches: &Patches) -> Result<OutOfFold, RidgeError> {
    patches.check()?;
    let with_labels = distinct(patches.rows(|_| true).map(|i| patches.fold[i]));
    match with_labels[..] {
        [] => return Err(RidgeError::NoUsablePatch),
        [fold] => return Err(RidgeError::OneFold { fold }),
        _ => {}
    }
    let folds = distinct(patches.fold.iter().copied());
    // The other folds that a fold's penalty can be chosen by; with one alone there are only its groups.
    let inner = |fold: u32| {
        let others: Vec<u32> = with_labels.iter().copied().filter(|&f| f != fold).collect();
        if others.len() > 1 { others } else { Vec::new() }
    };
    // What is fitted without two folds serves both: each is checked on by the other's choice. Without one, it predicts
    // it.
    let left_out = |fold: u32, other: u32| (fold.min(other), fold.max(other));
    let pairs = folds.iter().flat_map(|&fold| inner(fold).into_iter().map(move |other| left_out(fold, other)));
    let sets: BTreeSet<(u32, u32)> = pairs.chain(folds.iter().map(|&fold| (fold, fold))).collect();
    // Each set alone on one thread: the number of threads changes nothing.
    let fits = sets.into_par_iter().map(|(a, b)| {
        let rows: Vec<usize> = patches.rows(|i| patches.fold[i] != a && patches.fold[i] != b).collect();
        Ok(((a, b), Linear::fit(patches, &rows)?))
    });
    let fits = fits.collect::<Result<BTreeMap<_, _>, RidgeError>>()?;
    let mut predictions = vec![0.0; patches.fold.len()];
    let mut penalties = Vec::new();
    for &fold in &folds {
        let mut errors = [0.0; PENALTIES.len()];
        let mut by = ChosenBy::Folds;
        for other in inner(fold) {
            let check = patches.rows(|i| patches.fold[i] == other);
            fits[&left_out(fold, other)].add_errors(patches, check, &mut errors);
        }
        if inner(fold).is_empty() {
            by = errors_by_group(patches, fold, &mut errors)?;
        }
        let least = (0..PENALTIES.len()).fold(0, |best, p| if errors[p] < errors[best] { p } else { best });
        let chosen = if by == ChosenBy::Nothing { WITHOUT_A_CHOICE } else { least };
        let held = patches.fold.iter().enumerate().filter(|(_, f)| **f == fold);
        held.for_each(|(i, _)| predictions[i] = fits[&(fold, fold)].predict(patches.row(i), chosen));
        penalties.push(Chosen { fold, penalty: PENALTIES[chosen], by });
    }
    Ok(OutOfFold { predictions, penalties })
}

/// Squared errors of groups that were left out; groups are dealt to inner folds in the order of their numbers.
fn errors_by_group(patches: &Patches, fold: u32, errors: &mut [f64]) -> Result<ChosenBy, RidgeError> {
    let train: Vec<usize> = patches.rows(|i| patches.fold[i] != fold).collect();
    let groups = distinct(train.iter().map(|&i| patches.group[i]));
    let parts = groups.len().min(INNER);
    if parts < 2 {
        return Ok(ChosenBy::Nothing);
    }
    let part = |i: &usize| groups.binary_search(&patches.group[*i]).map_or(0, |place| place % parts);
    for left_out in 0..parts {
        let (check, rest): (Vec<usize>, Vec<usize>) = train.iter().partition(|i| part(i) == left_out);
        Linear::fit(patches, &rest)?.add_errors(patches, check.into_iter(), errors);
    }
    Ok(ChosenBy::Groups)
}

/// In rising order, each once.
fn distinct(values: impl Iterator<Item = u32>) -> Vec<u32> {
    values.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::ridge::{patches::made::Made, quick};

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    /// `prototype.quick_r2` on the same 36 patches in three folds, more than channels and fewer.
    #[test]
    fn the_prototype_gives_the_same() {
        let golden = [
            (6, 0.8397967338250778, 0.9625, [1.0, 1.0, 0.1], [0.029683033420943916, 0.4259375004617397]),
            (40, 0.9718751925985509, 1.0, [0.01; 3], [0.005265880378561016, 0.3735168114846741]),
        ];
        for (channels, r2, auroc, penalties, [first, last]) in golden {
            let made = Made::new(9, channels);
            let got = out_of_fold(&made.patches()).unwrap();
            let score = quick(&made.patches(), &got.predictions);
            assert!(close(score.r2.unwrap(), r2) && close(score.auroc.unwrap(), auroc), "{score:?}");
            assert_eq!(got.penalties.iter().map(|c| c.penalty).collect::<Vec<_>>(), penalties);
            assert!(got.penalties.iter().all(|c| c.by == ChosenBy::Folds));
            assert!(close(got.predictions[0], first) && close(got.predictions[35], last), "{:?}", got.predictions);
        }
    }

    #[test]
    fn two_folds_choose_by_groups() {
        let mut made = Made::new(9, 6);
        made.fold.iter_mut().for_each(|f| *f %= 2); // folds 0 and 1 of 6 and 3 chips
        let got = out_of_fold(&made.patches()).unwrap();
        assert!(got.penalties.iter().all(|c| c.by == ChosenBy::Groups), "{:?}", got.penalties);
        assert!(quick(&made.patches(), &got.predictions).r2.unwrap() > 0.5);
        // One group on the one other side: nothing to choose by.
        made.group.fill(3);
        let got = out_of_fold(&made.patches()).unwrap();
        assert!(got.penalties.iter().all(|c| c.by == ChosenBy::Nothing && c.penalty == 1.0), "{:?}", got.penalties);
    }

    /// A fold without labels is predicted, and is no fold to choose by.
    #[test]
    fn folds_without_labels() {
        let mut made = Made::new(9, 6);
        let with = out_of_fold(&made.patches()).unwrap();
        for i in 0..36 {
            made.usable[i] &= made.fold[i] != 2;
            made.water[i] = if made.fold[i] == 2 { f64::NAN } else { made.water[i] };
        }
        let got = out_of_fold(&made.patches()).unwrap();
        assert_eq!(
            got.penalties.iter().map(|c| c.by).collect::<Vec<_>>(),
            [ChosenBy::Groups, ChosenBy::Groups, ChosenBy::Folds]
        );
        assert!((0..36).all(|i| got.predictions[i].is_finite()));
        let last = (0..36).rfind(|&i| made.fold[i] == 2).unwrap();
        assert!((got.predictions[last] - with.predictions[last]).abs() < 0.5);
    }

    #[test]
    fn refusals() {
        let mut made = Made::new(9, 6);
        made.features[13] = f32::INFINITY;
        assert_eq!(out_of_fold(&made.patches()), Err(RidgeError::NotFinite { row: 2 }));
        made.features.pop();
        assert!(matches!(out_of_fold(&made.patches()), Err(RidgeError::Length { what: "features", found: 215, .. })));
        let mut made = Made::new(9, 6);
        made.fold.fill(4);
        assert_eq!(out_of_fold(&made.patches()), Err(RidgeError::OneFold { fold: 4 }));
        made.usable.fill(false);
        assert_eq!(out_of_fold(&made.patches()), Err(RidgeError::NoUsablePatch));
        // A constant target is predicted; its score is null.
        let mut made = Made::new(9, 6);
        made.water.fill(0.3);
        let got = out_of_fold(&made.patches()).unwrap();
        assert!(got.predictions.iter().all(|p| close(*p, 0.3)));
        assert_eq!(quick(&made.patches(), &got.predictions).r2, None);
    }
}
