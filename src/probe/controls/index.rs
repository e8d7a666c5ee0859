//! The best threshold on a single band or index, chosen on a fold's training side: what needs no network at all.

use crate::{
    domain::{Band, Confusion},
    probe::{
        chips::{Dataset, Fold, RawChip},
        score::SideScore,
    },
};

/// Places where a threshold may lie.
const EDGES: usize = 512;
/// Training pixels that the edges are laid through.
const SAMPLE: usize = 200_000;

/// One value a pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Index {
    Band(Band),
    /// `(a - b) / (a + b)`, by a name.
    Ratio(&'static str, Band, Band),
}

impl Index {
    /// All single bands, and the water indices of McFeeters (1996) and Xu (2006).
    fn all() -> Vec<Self> {
        let ratios = [Self::Ratio("NDWI", Band::B03, Band::B08), Self::Ratio("MNDWI", Band::B03, Band::B11)];
        Band::ALL.iter().copied().map(Self::Band).chain(ratios).collect()
    }

    pub fn name(self) -> String {
        match self {
            Self::Band(band) => band.to_string(),
            Self::Ratio(name, ..) => name.to_owned(),
        }
    }

    /// Its values `[side, side]`, NaN where not defined; `None` where the chip lacks a band.
    fn values(self, chip: &RawChip) -> Option<Vec<f32>> {
        match self {
            Self::Band(band) => Some(chip.plane(band)?.to_vec()),
            Self::Ratio(_, a, b) => {
                Some(chip.plane(a)?.iter().zip(chip.plane(b)?).map(|(a, b)| (a - b) / (a + b)).collect())
            }
        }
    }
}

/// Wet is on one side of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    pub index: Index,
    pub threshold: f32,
    /// Wet lies above it.
    pub above: bool,
}

impl Rule {
    /// In words: `MNDWI > 0.12`.
    pub fn name(self) -> String {
        let sign = if self.above { ">" } else { "≤" };
        format!("{} {sign} {:.3}", self.index.name(), self.threshold)
    }

    /// Where a value is undefined, the pixel is dry.
    fn is_wet(self, value: f32) -> bool {
        if self.above { value > self.threshold } else { value <= self.threshold }
    }
}

/// What the rules of all folds, each chosen on its training side, score on the validation sides together; with the rule
/// of each fold. Folds in which no rule can be chosen are left out.
pub fn score(dataset: &Dataset, labels: &[Vec<u8>]) -> (SideScore, Vec<(u32, Rule)>) {
    let (mut sum, mut rules) = (SideScore::default(), Vec::new());
    for fold in dataset.folds() {
        let Some(rule) = choose(dataset, labels, fold) else { continue };
        rules.push((fold.number, rule));
        for &i in &fold.val {
            let values = rule.index.values(&dataset.raw(i)).unwrap_or_else(|| vec![f32::NAN; labels[i].len()]);
            let confusion = count(labels[i].iter().zip(values).map(|(&label, value)| (label, rule.is_wet(value))));
            let labelled = labels[i].len() as u64 - confusion.ignored;
            sum = SideScore::sum(&[sum, SideScore { confusion, loss: 0.0, labelled }]);
        }
    }
    (sum, rules)
}

/// Counts of labels (1 wet, 0 dry, else ignored) against predictions.
pub fn count(pixels: impl IntoIterator<Item = (u8, bool)>) -> Confusion {
    let mut counts = Confusion::default();
    for (label, wet) in pixels {
        match (label, wet) {
            (1, true) => counts.tp += 1,
            (1, false) => counts.fn_ += 1,
            (0, true) => counts.fp += 1,
            (0, false) => counts.tn += 1,
            _ => counts.ignored += 1,
        }
    }
    counts
}

/// The rule with the best IoU on the training side; the first of equals.
fn choose(dataset: &Dataset, labels: &[Vec<u8>], fold: &Fold) -> Option<Rule> {
    let mut best: Option<(f64, Rule)> = None;
    for index in Index::all() {
        let Some(chips) = fold.train.iter().map(|&i| index.values(&dataset.raw(i))).collect::<Option<Vec<_>>>() else {
            continue; // some chip lacks it
        };
        let pixels = || {
            let of = |(values, &i): (&Vec<f32>, &usize)| values.clone().into_iter().zip(labels[i].clone());
            chips.iter().zip(&fold.train).flat_map(of).filter(|(value, label)| value.is_finite() && *label <= 1)
        };
        let Some((iou, threshold, above)) = best_threshold(&pixels) else { continue };
        if best.is_none_or(|(known, _)| iou > known) {
            best = Some((iou, Rule { index, threshold, above }));
        }
    }
    best.map(|(_, rule)| rule)
}

/// IoU, threshold and side of the best threshold over pixels of (value, label).
fn best_threshold<I: Iterator<Item = (f32, u8)>>(pixels: &dyn Fn() -> I) -> Option<(f64, f32, bool)> {
    let total = pixels().count();
    let mut sample: Vec<f32> = pixels().step_by((total / SAMPLE).max(1)).map(|(value, _)| value).collect();
    sample.sort_unstable_by(f32::total_cmp);
    let mut edges: Vec<f32> = (1..EDGES).filter_map(|i| sample.get(i * sample.len() / EDGES).copied()).collect();
    edges.dedup();
    // Of each gap between edges: dry and wet pixels.
    let mut gaps = vec![[0u64; 2]; edges.len() + 1];
    for (value, label) in pixels() {
        gaps[edges.partition_point(|edge| *edge < value)][usize::from(label)] += 1;
    }
    let [dry, wet] = gaps.iter().fold([0, 0], |[dry, wet], gap| [dry + gap[0], wet + gap[1]]);
    let (mut below, mut best) = ([0u64; 2], None::<(f64, f32, bool)>);
    for (gap, &edge) in gaps.iter().zip(&edges) {
        below = [below[0] + gap[0], below[1] + gap[1]];
        for (above, fp, tp) in [(false, below[0], below[1]), (true, dry - below[0], wet - below[1])] {
            if wet + fp == 0 {
                continue;
            }
            let iou = tp as f64 / (wet + fp) as f64;
            if best.is_none_or(|(known, ..)| iou > known) {
                best = Some((iou, edge, above));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_parts_what_can_be_parted() {
        let pixels: Vec<(f32, u8)> = (0..1000).map(|i| (i as f32, u8::from(i >= 700))).collect();
        let (iou, threshold, above) = best_threshold(&|| pixels.iter().copied()).unwrap();
        assert!(above && (699.0..=702.0).contains(&threshold) && iou > 0.99, "{iou} {threshold}");
        let (_, _, above) = best_threshold(&|| pixels.iter().map(|(v, l)| (-v, *l))).unwrap();
        assert!(!above);
        let (iou, ..) = best_threshold(&|| [(1.0, 1), (1.0, 0), (1.0, 1)].into_iter()).unwrap();
        assert_eq!(iou, 2.0 / 3.0, "one value alone calls everything water");
        assert_eq!(best_threshold(&|| std::iter::empty()), None);
    }
}
