//! Controls: what the same heads score on what learnt nothing; without them a curve means nothing.

use serde::{Deserialize, Serialize};

use super::{Basis, Digest, EncoderFacts, HeadName, HeadSettings, Metric, Seconds, words};

words! {
    /// A control.
    pub enum ControlName {
        /// Every pixel is called water.
        AllWater = "all_water",
        /// The best threshold on a single band or index, chosen on the training side.
        Index = "index",
        /// Mean and spread of every band per patch, without an encoder.
        Bands = "bands",
        /// The same architecture with random weights, frozen.
        Random = "random",
        /// The small network of Clay's documentation, trained on the pixels; heavy, and computed on request alone.
        FromScratch = "from_scratch",
    }
}

impl ControlName {
    /// How often it is drawn: what is not random once.
    pub fn draws(self) -> u32 {
        match self {
            Self::Random => 3,
            Self::AllWater | Self::Index | Self::Bands | Self::FromScratch => 1,
        }
    }

    /// The heads that are fitted on it, of those of every probe: on random features all, on the bands those that need no
    /// neighbours; on both the closed-form one. None on what has no features.
    pub fn heads(self, probed: &[HeadSettings]) -> Vec<HeadSettings> {
        let ridge = std::iter::once(HeadSettings::closed_form(HeadName::Ridge));
        let probed = probed.iter().filter(|head| head.head != HeadName::Ridge);
        match self {
            Self::AllWater | Self::Index => Vec::new(),
            Self::Bands => ridge.chain(probed.filter(|head| head.head == HeadName::Linear).cloned()).collect(),
            Self::Random => ridge.chain(probed.cloned()).collect(),
            // Its budget is that of the documented decoder.
            Self::FromScratch => probed.filter(|head| head.head == HeadName::Conv).cloned().collect(),
        }
    }
}

/// One draw of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlDraw {
    pub control: ControlName,
    /// From 0; the seed of what is random.
    pub draw: u32,
}

impl ControlDraw {
    /// All draws of all controls but the heavy one, the cheapest first.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |control: ControlName| (0..control.draws()).map(move |draw| Self { control, draw });
        ControlName::ALL.iter().copied().filter(|control| *control != ControlName::FromScratch).flat_map(of)
    }
}

/// One number of one draw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlStep {
    pub of: ControlDraw,
    /// The head on its features; `None` for a control without features.
    pub head: Option<HeadName>,
    /// Of the head's settings: a control is compared with scores of the same settings alone.
    pub head_digest: Option<Digest>,
    pub metric: Metric,
    pub value: Option<f64>,
    /// What was chosen, in words: `MNDWI > 0.12`.
    pub note: Option<String>,
}

/// What a control job gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlReport {
    /// [`ControlReport::SCHEMA`]; keys are only ever added.
    pub schema: u32,
    pub basis: Basis,
    /// Of [`EncoderFacts::architecture`].
    pub architecture: Digest,
    pub steps: Vec<ControlStep>,
    pub seconds: Seconds,
}

impl ControlReport {
    pub const SCHEMA: u32 = 1;
}

/// One number of a control over its draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ControlScore {
    pub control: ControlName,
    /// The head on its features; null for a control without features.
    pub head: Option<HeadName>,
    /// Of the head's settings.
    #[schema(value_type = Option<String>)]
    pub head_digest: Option<Digest>,
    pub metric: Metric,
    /// Mean over draws.
    pub value: Option<f64>,
    /// Smallest and largest over draws; null below two.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Draws with a value.
    pub n: u32,
    /// What was chosen, in words: `MNDWI > 0.12`.
    pub note: Option<String>,
}

impl ControlScore {
    /// The numbers of some draws, over draws.
    pub fn over(steps: &[ControlStep]) -> Vec<Self> {
        let mut scores: Vec<(Self, Vec<f64>)> = Vec::new();
        for step in steps {
            let same = |(score, _): &&mut (Self, Vec<f64>)| {
                (score.control, score.head, score.metric) == (step.of.control, step.head, step.metric)
            };
            if let Some((_, values)) = scores.iter_mut().find(same) {
                values.extend(step.value);
                continue;
            }
            let ControlStep { of, head, head_digest, metric, value, note } = step.clone();
            let (low, high, n) = (None, None, 0);
            let score = Self { control: of.control, head, head_digest, metric, value: None, low, high, n, note };
            scores.push((score, value.into_iter().collect()));
        }
        let of = |(score, values): (Self, Vec<f64>)| {
            let ends = || (values.len() >= 2).then(|| values.iter().copied());
            Self {
                value: (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64),
                low: ends().and_then(|values| values.reduce(f64::min)),
                high: ends().and_then(|values| values.reduce(f64::max)),
                n: values.len() as u32,
                ..score
            }
        };
        scores.into_iter().map(of).collect()
    }
}

impl EncoderFacts {
    /// The digest of what random weights depend on: family and sizes.
    pub fn architecture(&self) -> Digest {
        let Self { family, dim, depth, heads, dim_head, mlp_dim, patch_size, .. } = self;
        Digest::of(format!("{family} {dim} {depth} {heads} {dim_head} {mlp_dim} {patch_size}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_put_together() {
        let step = |draw, value| ControlStep {
            of: ControlDraw { control: ControlName::Random, draw },
            head: Some(HeadName::Ridge),
            head_digest: None,
            metric: Metric::QuickR2,
            value,
            note: None,
        };
        let scores = ControlScore::over(&[step(0, Some(0.5)), step(1, None), step(2, Some(0.7))]);
        let [score] = &scores[..] else { panic!("{scores:?}") };
        assert_eq!((score.n, score.low, score.high), (2, Some(0.5), Some(0.7)));
        assert!((score.value.unwrap() - 0.6).abs() < 1e-12);
        assert_eq!(ControlScore::over(&[step(0, Some(0.5))])[0].low, None);
        assert_eq!(ControlDraw::all().count(), 6);
    }
}
