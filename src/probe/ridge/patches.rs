//! What the quick score is given: features of patches, and labels as the water fraction of each.

/// Patches of a data set; all lists are in one order and of one length N.
#[derive(Clone, Copy, Debug)]
pub struct Patches<'a> {
    /// `[N, C]`, row by row.
    pub features: &'a [f32],
    /// C, at least 1.
    pub channels: usize,
    /// Water fraction, 0 to 1; of any value where the patch is not usable.
    pub water: &'a [f64],
    /// Whether enough of the patch is labelled; the others are predicted, and are in no fit and no score.
    pub usable: &'a [bool],
    pub fold: &'a [u32],
    /// The patch's chip; these are kept together where there are too few folds to choose a penalty by.
    pub group: &'a [u32],
}

/// Why there is nothing to predict with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RidgeError {
    #[error("`{what}` has {found} entries, not {expected}")]
    Length { what: &'static str, found: usize, expected: usize },
    #[error("no patch has enough labelled pixels")]
    NoUsablePatch,
    #[error("all patches with labels are in fold {fold}: there is none to learn from")]
    OneFold { fold: u32 },
    #[error("patch {row} has a value that is not finite")]
    NotFinite { row: usize },
    #[error("the kernel of {rows} patches could not be factored")]
    NotFactored { rows: usize },
}

impl Patches<'_> {
    /// Whether the lists agree and are finite.
    pub(super) fn check(&self) -> Result<(), RidgeError> {
        let n = self.fold.len();
        let lists = [
            ("features", self.features.len(), n * self.channels),
            ("water", self.water.len(), n),
            ("usable", self.usable.len(), n),
            ("group", self.group.len(), n),
        ];
        if let Some(&(what, found, expected)) = lists.iter().find(|(_, found, expected)| found != expected) {
            return Err(RidgeError::Length { what, found, expected });
        }
        let whole =
            |i: usize| self.row(i).iter().all(|x| x.is_finite()) && (self.water[i].is_finite() || !self.usable[i]);
        (0..n).find(|&i| !whole(i)).map_or(Ok(()), |row| Err(RidgeError::NotFinite { row }))
    }

    /// Features `[C]` of a patch.
    pub(super) fn row(&self, i: usize) -> &[f32] {
        &self.features[i * self.channels..][..self.channels]
    }

    /// Usable patches for which `is` holds.
    pub(super) fn rows(&self, is: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
        (0..self.fold.len()).filter(move |&i| self.usable[i] && is(i))
    }
}

/// Patches of one chip, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WaterFractions {
    /// Water among labelled pixels, 0 to 1; 0 where there is none labelled.
    pub water: Vec<f64>,
    /// Whether enough of the patch is labelled.
    pub usable: Vec<bool>,
}

/// A patch is usable when more than this share of its pixels is labelled: 100 of 32×32, as the demo was calibrated
/// with.
const LABELLED: (usize, usize) = (100, 1024);

impl WaterFractions {
    /// Of `labels` `[side, side]`: 1 water, 0 land, anything else ignored. `side` is a multiple of `patch`.
    pub fn of(labels: &[u8], side: usize, patch: usize) -> Self {
        let across = side / patch;
        let mut counts = vec![[0usize; 2]; across * across]; // land, water
        for (i, &label) in labels.iter().enumerate() {
            if let Some(count) = counts[i / side / patch * across + i % side / patch].get_mut(usize::from(label)) {
                *count += 1;
            }
        }
        let water = counts.iter().map(|[land, water]| *water as f64 / (land + water).max(1) as f64);
        let usable = counts.iter().map(|[land, water]| (land + water) * LABELLED.1 > LABELLED.0 * patch * patch);
        Self { water: water.collect(), usable: usable.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_of_labelled_pixels() {
        let mut labels = vec![255; 64 * 64];
        let at = |row: usize, col: usize| row * 64 + col;
        (0..100).for_each(|i| labels[at(i / 32, i % 32)] = 1); // just too few
        (0..101).for_each(|i| labels[at(i / 32, 32 + i % 32)] = u8::from(i < 25));
        (0..1024).for_each(|i| labels[at(32 + i / 32, 32 + i % 32)] = u8::from(i < 256));
        let got = WaterFractions::of(&labels, 64, 32);
        assert_eq!(got.water, [1.0, 25.0 / 101.0, 0.0, 0.25]);
        assert_eq!(got.usable, [false, true, false, true]);
        // Patches of 8 px: more than 6.25 pixels.
        let labels: Vec<u8> = (0..64).map(|i| if i < 7 { 1 } else { 2 }).collect();
        assert_eq!(WaterFractions::of(&labels, 8, 8), WaterFractions { water: vec![1.0], usable: vec![true] });
        assert!(!WaterFractions::of(&[&labels[1..], &[9]].concat(), 8, 8).usable[0]);
        assert_eq!(WaterFractions::of(&[], 0, 8), WaterFractions::default());
    }
}

/// Patches for tests: whole numbers and fractions that f32 holds, so that another program makes the same.
#[cfg(test)]
pub(super) mod made {
    use super::*;

    pub struct Made {
        pub features: Vec<f32>,
        pub water: Vec<f64>,
        pub usable: Vec<bool>,
        pub fold: Vec<u32>,
        pub group: Vec<u32>,
        channels: usize,
    }

    impl Made {
        /// Four patches a chip; chips in folds 0, 1, 2, 0, ...
        pub fn new(chips: usize, channels: usize) -> Self {
            let n = chips * 4;
            let water: Vec<f64> = (0..n).map(|i| ((i * 5 + i * i) % 17) as f64 / 16.0).collect();
            let feature = |i: usize, c: usize| {
                ((i * i * (c + 1) + 7 * i + c * c) % 23) as f64 / 8.0 + (c % 3) as f64 * water[i] * 2.0
            };
            Self {
                features: (0..n)
                    .flat_map(|i| (0..channels).map(move |c| (i, c)))
                    .map(|(i, c)| feature(i, c) as f32)
                    .collect(),
                usable: (0..n).map(|i| i % 7 != 3).collect(),
                fold: (0..n as u32).map(|i| i / 4 % 3).collect(),
                group: (0..n as u32).map(|i| i / 4).collect(),
                water,
                channels,
            }
        }

        pub fn patches(&self) -> Patches<'_> {
            let Self { features, water, usable, fold, group, channels } = self;
            Patches { features, channels: *channels, water, usable, fold, group }
        }
    }
}
