//! What a score is of: keys of results and lines, and the words in which two lines differ.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Digest, HeadName, HeadSettings, Preparation};

/// What a result is of besides weights: chips, their sides, and what decides their features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Basis {
    /// Chips and labels.
    pub dataset: Digest,
    /// Which chip is on which side of which fold.
    pub assignment: Digest,
    /// What decides the features.
    pub preparation: Digest,
}

/// What a line of the chart is under: scores under one key may be compared.
///
/// What can be read off stored values (an interval) is part of no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineKey {
    pub dataset: Digest,
    pub assignment: Digest,
    pub preparation: Digest,
    pub head: HeadName,
    /// Of [`HeadSettings`].
    pub head_digest: Digest,
}

impl Basis {
    /// The line of a head on it.
    pub fn line(&self, head: HeadName, head_digest: Digest) -> LineKey {
        let Self { dataset, assignment, preparation } = *self;
        LineKey { dataset, assignment, preparation, head, head_digest }
    }
}

impl LineKey {
    /// Its name in answers: twelve digits.
    pub fn name(&self) -> String {
        Digest::of(self.to_string().as_bytes()).short()
    }
}

impl fmt::Display for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dataset, assignment, preparation, head, head_digest } = self;
        write!(f, "{dataset} {assignment} {preparation} {head} {head_digest}")
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.dataset, self.assignment, self.preparation)
    }
}

impl FromStr for Basis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match *text.split(' ').collect::<Vec<_>>() {
            [dataset, assignment, preparation] => Ok(Self {
                dataset: dataset.parse()?,
                assignment: assignment.parse()?,
                preparation: preparation.parse()?,
            }),
            _ => Err(format!("`{text}` is not what a result is of")),
        }
    }
}

/// The folder of a head's pictures among those of other heads: its name and twelve digits of its settings.
pub fn head_folder(head: HeadName, digest: &Digest) -> String {
    format!("{head}-{}", digest.short())
}

/// All that a line is under, in the words of its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct LineFacts {
    pub dataset: Digest,
    pub assignment: Digest,
    pub preparation: Preparation,
    pub settings: HeadSettings,
}

/// A word in which a line differs from the one before it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ChangedWord {
    /// `dataset`, `assignment`, or a word of the preparation or of the head's settings.
    pub word: String,
    /// As it was; null where the word was implied.
    #[schema(value_type = Option<Object>)]
    pub from: Value,
    /// As it is.
    #[schema(value_type = Option<Object>)]
    pub to: Value,
}

impl LineFacts {
    /// The words in which this line differs from an earlier one of the same head.
    pub fn changed_since(&self, before: &Self) -> Vec<ChangedWord> {
        let (mut old, new) = (before.words(), self.words());
        let mut changed = Vec::new();
        for (word, to) in new {
            let from = old.remove(&word).unwrap_or_default();
            if from != to {
                changed.push(ChangedWord { word, from, to });
            }
        }
        changed.extend(old.into_iter().map(|(word, from)| ChangedWord { word, from, to: Value::Null }));
        changed
    }

    fn words(&self) -> BTreeMap<String, Value> {
        let short = |digest: &Digest| Value::String(digest.short());
        let mut words = BTreeMap::from([
            ("dataset".to_owned(), short(&self.dataset)),
            ("assignment".to_owned(), short(&self.assignment)),
        ]);
        // Plain structs of words, numbers and digests always serialise, as objects.
        let preparation = serde_json::to_value(&self.preparation).unwrap_or_default();
        let settings = serde_json::to_value(&self.settings).unwrap_or_default();
        for (of, value) in [("preparation", preparation), ("head", settings)] {
            for (word, value) in value.as_object().into_iter().flatten() {
                // Both have a revision of their own.
                let name = if word == "revision" { format!("{of} revision") } else { word.clone() };
                let digest = value.as_str().and_then(|text| text.parse::<Digest>().ok());
                words.insert(name, digest.as_ref().map_or_else(|| value.clone(), short));
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Family, Generation, Seed};

    fn facts() -> LineFacts {
        let digest = Digest::of(b"x");
        let preparation = Preparation {
            revision: 1,
            family: Family::ClayV1,
            generation: Generation::V1_5,
            inputs: Vec::new(),
            statistics: digest,
            clouds: "ignore".into(),
            latlon: "wgs84".into(),
            levels: Vec::new(),
            filled: Vec::new(),
            precision: "f32".into(),
        };
        let settings = HeadSettings {
            revision: 1,
            head: HeadName::Conv,
            seeds: vec![Seed(0)],
            fit_steps: 600,
            batch_size: 4,
            learning_rate: 1e-3,
            threshold: 0.5,
        };
        LineFacts { dataset: digest, assignment: digest, preparation, settings }
    }

    #[test]
    fn what_changed_is_named_and_the_rest_is_not() {
        let (before, mut after) = (facts(), facts());
        assert_eq!(after.changed_since(&before), []);
        after.preparation.statistics = Digest::of(b"y");
        after.settings.fit_steps = 300;
        after.settings.threshold = 0.4;
        after.settings.revision = 2;
        let changed = after.changed_since(&before);
        let words: Vec<_> = changed.iter().map(|change| change.word.as_str()).collect();
        assert_eq!(words, ["fit_steps", "head revision", "statistics", "threshold"]);
        assert_eq!((&changed[0].from, &changed[0].to), (&600.into(), &300.into()));
        assert_eq!(changed[2].to.as_str().map(str::len), Some(12));
        assert_eq!((&changed[3].from, &changed[3].to), (&Value::Null, &0.4.into()), "0.5 is implied");
        let back = before.changed_since(&after);
        assert_eq!((&back[3].from, &back[3].to), (&0.4.into(), &Value::Null));
    }

    #[test]
    fn a_key_is_text_and_back() {
        let basis = Basis { dataset: Digest::of(b"d"), assignment: Digest::of(b"a"), preparation: Digest::of(b"p") };
        assert_eq!(basis.to_string().parse::<Basis>(), Ok(basis));
        assert!("x y".parse::<Basis>().is_err());
        let line = basis.line(HeadName::Conv, Digest::of(b"h"));
        assert_eq!(line.name().len(), 12);
        assert_ne!(line.name(), basis.line(HeadName::Linear, Digest::of(b"h")).name());
    }
}
