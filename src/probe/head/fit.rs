//! Fits a head on cached features: a number of steps over shuffled batches, scored at ten points.

use candle_core::Tensor;

use super::{
    AdamW, Head, HeadError, Parameter, Targets,
    features::{Example, Scale, stacked},
};
use crate::{
    domain::{Confusion, FitNote, HeadSettings, Seed},
    probe::{
        score::{SideScore, mean_batch_iou, sigmoid},
        seed,
    },
};

/// Places on a curve: so many, evenly spaced, the last at the end.
const POINTS: u32 = 10;

/// By how much of itself the loss may still fall at the end of a fit that is done.
const STILL_FALLING: f64 = 0.01;

/// One side of a fold, as a head takes it; both lists in one order.
pub struct Side<'a> {
    pub examples: Vec<&'a Example>,
    /// Per cell of the head.
    pub targets: Vec<&'a Targets>,
}

/// What decides a fit besides its head and chips.
#[derive(Clone, Debug)]
pub struct FitSettings<'a> {
    pub seed: Seed,
    pub fold: u32,
    pub fit_steps: u32,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub threshold: f32,
    /// For a head that needs its features standardised.
    pub scale: Option<&'a Scale>,
    /// So that the fit can be repeated elsewhere.
    pub keep: Keep,
}

impl<'a> FitSettings<'a> {
    /// Of a head's settings, for one seed and fold.
    pub fn of(settings: &HeadSettings, seed: Seed, fold: u32, scale: Option<&'a Scale>, keep: Keep) -> Self {
        Self {
            seed,
            fold,
            fit_steps: settings.fit_steps,
            batch_size: settings.batch_size as usize,
            learning_rate: settings.learning_rate,
            threshold: settings.threshold as f32,
            scale,
            keep,
        }
    }

    /// The batches of all passes over training chips of these sides, without end, but for those without a labelled pixel.
    pub fn batches(&self, sides: Vec<u32>, targets: &[&Targets]) -> impl Iterator<Item = Vec<usize>> {
        let passes = (1..).flat_map(move |pass| seed::batches(&sides, self.batch_size, self.seed, self.fold, pass));
        passes.filter(|batch| batch.iter().any(|&i| targets[i].labelled > 0))
    }
}

/// Which of its weights a fit keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    Nothing,
    /// Before the first step and after the last.
    Ends,
    /// After each step, too.
    Path,
}

/// What a fit went through.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Per step: places in the list of training chips.
    pub batches: Vec<Vec<usize>>,
    /// Per step: the loss before it.
    pub losses: Vec<f64>,
    /// States before the first step and after the last, if they were to be kept.
    pub initial: Vec<Parameter>,
    pub fitted: Vec<Parameter>,
    /// Per step: the state after it, if the path was to be kept.
    pub path: Vec<Vec<Parameter>>,
}

/// A fitted head's scores.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// At most ten points, the last after the last step.
    pub curve: Vec<ScoredStep>,
    /// Per validation chip after the last step: its score, and its logits per cell.
    pub chips: Vec<(SideScore, Vec<f32>)>,
    /// Mean over validation batches of the per-batch IoU.
    pub mean_batch_iou: Option<f64>,
    pub notes: Vec<FitNote>,
    pub trace: Trace,
}

/// Both sides after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredStep {
    /// Steps taken, from 1.
    pub fit_step: u32,
    pub train: SideScore,
    pub val: SideScore,
}

/// Fits `head` on `train`, scores it on `val`; `after_step` is called after each step.
///
/// Batches are shuffled anew for each pass over `train`; one without a labelled pixel is skipped, and is no step. The
/// loss of a step is summed over the batch's labelled pixels and divided by their number. `train` has some.
///
/// # Errors
/// [`HeadError::NotFinite`] for a loss or a logit, and what a tensor operation fails with.
pub fn fit(
    head: &mut dyn Head,
    train: &Side,
    val: &Side,
    settings: &FitSettings,
    after_step: &mut dyn FnMut(),
) -> Result<Fitted, HeadError> {
    let mut trace = Trace::default();
    if settings.keep >= Keep::Ends {
        trace.initial = head.state();
    }
    let points = points(settings.fit_steps);
    let mut optimiser = AdamW::new(head.parameters(), settings.learning_rate);
    let (mut curve, mut chips, mut step) = (Vec::new(), Vec::new(), 0);
    let sides = train.examples.iter().map(|e| e.side).collect();
    for batch in settings.batches(sides, &train.targets) {
        let loss = train.step(head, &mut optimiser, &batch, settings)?;
        step += 1;
        if !loss.is_finite() {
            return Err(HeadError::NotFinite { what: "the loss", step });
        }
        trace.batches.push(batch);
        trace.losses.push(loss);
        if settings.keep == Keep::Path {
            trace.path.push(head.state());
        }
        if points.contains(&step) {
            chips = val.scores(head, settings, step)?;
            let (train, val) = (pooled(&train.scores(head, settings, step)?), pooled(&chips));
            curve.push(ScoredStep { fit_step: step, train, val });
        }
        after_step();
        if step == settings.fit_steps {
            break;
        }
    }
    if settings.keep >= Keep::Ends {
        trace.fitted = head.state();
    }
    let counts: Vec<Confusion> = val
        .in_order(settings.batch_size)
        .iter()
        .map(|b| SideScore::sum(b.iter().map(|&i| &chips[i].0)).confusion)
        .collect();
    let notes = notes(&curve, &chips, settings.threshold);
    Ok(Fitted { mean_batch_iou: mean_batch_iou(&counts), curve, chips, notes, trace })
}

/// After which steps both sides are scored: ten evenly spaced, the last at the end; with fewer steps, each.
fn points(fit_steps: u32) -> Vec<u32> {
    let n = POINTS.min(fit_steps);
    (1..=n).map(|k| (u64::from(k) * u64::from(fit_steps) / u64::from(n)) as u32).collect()
}

/// Whether all pixels of all chips are predicted alike.
pub fn one_class(chips: &[(SideScore, Vec<f32>)], threshold: f32) -> bool {
    let mut wet = chips.iter().flat_map(|(_, logits)| logits).map(|&z| sigmoid(z) > threshold);
    wet.next().is_some_and(|first| wet.all(|wet| wet == first))
}

/// What a reader of the scores should know.
fn notes(curve: &[ScoredStep], chips: &[(SideScore, Vec<f32>)], threshold: f32) -> Vec<FitNote> {
    let loss = |point: &ScoredStep| point.train.metrics().loss;
    let falling = match curve {
        [.., before, last] => loss(before).zip(loss(last)).is_some_and(|(b, l)| l < b * (1.0 - STILL_FALLING)),
        _ => false,
    };
    [(falling, FitNote::Underfit), (one_class(chips, threshold), FitNote::OneClass)]
        .into_iter()
        .filter_map(|(is, n)| is.then_some(n))
        .collect()
}

fn pooled(chips: &[(SideScore, Vec<f32>)]) -> SideScore {
    SideScore::sum(chips.iter().map(|(score, _)| score))
}

impl Side<'_> {
    fn labelled(&self, batch: &[usize]) -> u64 {
        batch.iter().map(|&i| self.targets[i].labelled).sum()
    }

    /// One step of AdamW; the loss before it. What is not finite goes into no weight.
    fn step(
        &self,
        head: &mut dyn Head,
        optimiser: &mut AdamW,
        batch: &[usize],
        settings: &FitSettings,
    ) -> candle_core::Result<f64> {
        let labelled = self.labelled(batch);
        let (features, grid) = self.features(batch, settings)?;
        let mut loss = 0.0;
        let gradients = head.gradients(&features, grid, &mut |logits| {
            let mut gradient = Vec::with_capacity(logits.len());
            let chips = batch.iter().zip(logits.chunks_exact(logits.len() / batch.len()));
            loss = chips.map(|(&i, z)| self.targets[i].loss(z, labelled, &mut gradient)).sum::<f64>();
            gradient
        })?;
        if loss.is_finite() {
            optimiser.step(head.parameters(), &gradients);
        }
        Ok(loss / labelled as f64)
    }

    /// Score and logits of each chip, in order.
    fn scores(
        &self,
        head: &dyn Head,
        settings: &FitSettings,
        step: u32,
    ) -> Result<Vec<(SideScore, Vec<f32>)>, HeadError> {
        let mut all: Vec<_> = self.examples.iter().map(|_| Default::default()).collect();
        for batch in self.in_order(settings.batch_size) {
            let (features, grid) = self.features(&batch, settings)?;
            let logits = head.predict(&features, grid)?;
            if !logits.iter().all(|z| z.is_finite()) {
                return Err(HeadError::NotFinite { what: "a logit", step });
            }
            for (z, &i) in logits.chunks_exact(logits.len() / batch.len()).zip(&batch) {
                let (loss, confusion) = self.targets[i].score(z, settings.threshold);
                all[i] = (SideScore { loss, labelled: self.targets[i].labelled, confusion }, z.to_vec());
            }
        }
        Ok(all)
    }

    /// Batches without shuffling, one size each.
    fn in_order(&self, batch_size: usize) -> Vec<Vec<usize>> {
        let sides: Vec<u32> = self.examples.iter().map(|e| e.side).collect();
        seed::in_batches(&(0..sides.len()).collect::<Vec<_>>(), &sides, batch_size)
    }

    /// The features of a batch, and how many patches a side of its chips has: all of a batch have the same.
    fn features(&self, batch: &[usize], settings: &FitSettings) -> candle_core::Result<(Tensor, usize)> {
        let features = stacked(batch.iter().map(|&i| self.examples[i]), settings.scale)?;
        let grid = (features.dim(0)? / batch.len()).isqrt();
        Ok((features, grid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_points_and_the_last_is_the_end() {
        assert_eq!(points(600), [60, 120, 180, 240, 300, 360, 420, 480, 540, 600]);
        assert_eq!(points(25), [2, 5, 7, 10, 12, 15, 17, 20, 22, 25]);
        assert_eq!(points(10), (1..=10).collect::<Vec<_>>());
        assert_eq!(points(3), [1, 2, 3]);
        assert_eq!(points(u32::MAX).last(), Some(&u32::MAX));
    }

    #[test]
    fn what_a_reader_is_told() {
        let point = |loss: f64| {
            let side = SideScore { loss, labelled: 1, ..Default::default() };
            ScoredStep { fit_step: 1, train: side, val: side }
        };
        let chips = |logits: &[&[f32]]| logits.iter().map(|z| (SideScore::default(), z.to_vec())).collect::<Vec<_>>();
        let mixed = chips(&[&[-1.0, -2.0], &[-3.0, 4.0]]);
        assert_eq!(notes(&[point(0.5), point(0.496)], &mixed, 0.5), []);
        assert_eq!(notes(&[point(0.5), point(0.506)], &mixed, 0.5), []);
        assert_eq!(notes(&[point(0.4), point(0.5), point(0.4949)], &mixed, 0.5), [FitNote::Underfit]);
        assert_eq!(notes(&[point(0.4)], &mixed, 0.5), [], "nothing to compare with");
        // Over all chips, not within each.
        let dry = chips(&[&[-1.0, -2.0], &[-3.0, 0.0]]);
        assert_eq!(notes(&[point(0.4)], &dry, 0.5), [FitNote::OneClass]);
        assert_eq!(notes(&[point(0.4)], &chips(&[&[1.0], &[2.0]]), 0.5), [FitNote::OneClass]);
        assert_eq!(notes(&[point(0.4)], &chips(&[&[1.0], &[-2.0]]), 0.9), [FitNote::OneClass], "at the threshold");
    }
}
