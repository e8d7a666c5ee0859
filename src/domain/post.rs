//! What a trainer posts about a checkpoint, checked while it is parsed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Epoch, RunName};

/// The body of `POST /checkpoints`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostedCheckpoint {
    /// The file, as the trainer calls it: `intake.path_map` is applied, relative paths are looked up below each root.
    #[schema(value_type = String, example = "mae_epoch-14.ckpt")]
    pub path: PostedPath,
    /// The training run; from the path where not given.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "default")]
    pub run: Option<RunName>,
    /// Counts the restarts of the run, from 0.
    #[serde(default)]
    pub attempt: Option<u32>,
    /// The trainer's own epoch, zero-based; from the file where not given.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    pub epoch: Option<Epoch>,
    /// The trainer's own step; from the file where not given. At most 2^63 - 1.
    #[serde(default, deserialize_with = "step")]
    pub global_step: Option<u64>,
    /// The training's own `metadata.yaml` (wavelengths, means, deviations), looked up as `path` is; a file of it that
    /// differs begins a new line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub metadata: Option<PostedPath>,
    /// Probe it even where it is not due.
    #[serde(default)]
    pub force: bool,
    /// Up to 64 scalars of the trainer: `train_loss`, `lr`, `samples_seen`, ...
    #[serde(default)]
    #[schema(value_type = Object)]
    pub context: Context,
}

/// What a post says of a checkpoint; `None` where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub run: Option<RunName>,
    pub attempt: Option<u32>,
    pub epoch: Option<Epoch>,
    pub global_step: Option<u64>,
    /// The training's `metadata.yaml`, absolute, after symlinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

impl Facts {
    /// Both together, `later` winning where both say something.
    #[must_use]
    pub fn with(self, later: &Self) -> Self {
        Self {
            run: later.run.clone().or(self.run),
            attempt: later.attempt.or(self.attempt),
            epoch: later.epoch.or(self.epoch),
            global_step: later.global_step.or(self.global_step),
            metadata: later.metadata.clone().or(self.metadata),
        }
    }

    /// The first thing that both say and do not agree on, in words.
    pub fn contradiction(&self, other: &Self) -> Option<String> {
        fn differ<T: PartialEq + std::fmt::Display>(name: &str, a: &Option<T>, b: &Option<T>) -> Option<String> {
            let (a, b) = (a.as_ref()?, b.as_ref()?);
            (a != b).then(|| format!("`{name}` was posted as `{a}`, but is `{b}`"))
        }
        differ("run", &self.run, &other.run)
            .or_else(|| differ("attempt", &self.attempt, &other.attempt))
            .or_else(|| differ("epoch", &self.epoch, &other.epoch))
            .or_else(|| differ("global_step", &self.global_step, &other.global_step))
            .or_else(|| differ("metadata", &self.metadata, &other.metadata))
    }
}

/// A path as posted: not empty, at most 4096 bytes, no zero byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PostedPath(String);

impl PostedPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PostedPath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=4096).contains(&text.len()) && !text.contains('\0');
        if fits { Ok(Self(text)) } else { Err("a path has 1 to 4096 bytes and no zero byte") }
    }
}

impl From<PostedPath> for String {
    fn from(path: PostedPath) -> Self {
        path.0
    }
}

/// Scalars of the trainer: at most 64, names of 1 to 64 characters, texts of at most 256.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Context(Map<String, Value>);

impl PostedCheckpoint {
    /// What it says of the checkpoint; `metadata` is the file that its path was found to mean.
    pub fn facts(&self, metadata: Option<String>) -> Facts {
        let Self { run, attempt, epoch, global_step, .. } = self;
        Facts { run: run.clone(), attempt: *attempt, epoch: *epoch, global_step: *global_step, metadata }
    }
}

impl Context {
    /// A number of it.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key).and_then(Value::as_f64)
    }

    /// The most scalars it holds.
    pub const MOST: usize = 64;
}

impl TryFrom<Map<String, Value>> for Context {
    type Error = String;

    fn try_from(map: Map<String, Value>) -> Result<Self, Self::Error> {
        if map.len() > Self::MOST {
            return Err(format!("at most {} scalars, not {}", Self::MOST, map.len()));
        }
        for (name, value) in &map {
            if !(1..=64).contains(&name.chars().count()) {
                return Err("names have 1 to 64 characters".to_owned());
            }
            match value {
                Value::Array(_) | Value::Object(_) => return Err(format!("`{name}` is not a scalar")),
                Value::String(text) if text.chars().count() > 256 => {
                    return Err(format!("`{name}` has more than 256 characters"));
                }
                // JSON has no NaN and no infinity, and numbers that overflow do not parse.
                _ => {}
            }
        }
        Ok(Self(map))
    }
}

impl From<Context> for Map<String, Value> {
    fn from(context: Context) -> Self {
        context.0
    }
}

/// A step that the database's signed integers hold.
fn step<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let step = Option::<u64>::deserialize(from)?;
    match step {
        Some(step) if i64::try_from(step).is_err() => {
            Err(serde::de::Error::custom(format!("`{step}` is above 2^63 - 1")))
        }
        step => Ok(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: Value) -> String {
        serde_json::from_value::<PostedCheckpoint>(body).unwrap_err().to_string()
    }

    #[test]
    fn least_and_most() {
        let least: PostedCheckpoint = serde_json::from_str(r#"{"path": "a.ckpt"}"#).unwrap();
        assert_eq!((least.path.as_str(), least.force, least.epoch), ("a.ckpt", false, None));
        let most = serde_json::json!({"path": "a.ckpt", "run": "r/1", "attempt": 1, "epoch": 3, "global_step": 40,
            "force": true, "context": {"train_loss": 0.5, "note": "x", "ok": true, "lr": null}});
        let parsed: PostedCheckpoint = serde_json::from_value(most.clone()).unwrap();
        assert_eq!(serde_json::to_value(parsed).unwrap(), most);
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let with = |context: Value| refusal(serde_json::json!({"path": "a", "context": context}));
        assert!(with(serde_json::json!({"x": [1]})).contains("`x` is not a scalar"));
        assert!(with(serde_json::json!({"x": "y".repeat(257)})).contains("256"));
        let many: Map<_, _> = (0..65).map(|i| (i.to_string(), Value::from(i))).collect();
        assert!(with(many.into()).contains("at most 64 scalars"));
        assert!(refusal(serde_json::json!({"path": ""})).contains("a path has"));
        assert!(refusal(serde_json::json!({"path": "a", "run": "../x"})).contains("not a run's name"));
        assert!(refusal(serde_json::json!({"path": "a", "epochs": 1})).contains("unknown field `epochs`"));
        assert!(refusal(serde_json::json!({"path": "a", "global_step": u64::MAX})).contains("2^63"));
    }
}
