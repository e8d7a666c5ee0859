//! Layers of configuration, laid over each other, and errors that name the nearest known key.

use std::path::{Path, PathBuf};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::{Format, Serialized, Toml},
    value::{Dict, Map},
};

use serde_json::{Value, json};

use super::Config;

/// The default configuration, compiled in.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration `{path}` cannot be read: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A key is unknown, or a value does not fit.
    #[error("{message}")]
    Refused { message: String, hint: Option<String> },
}

impl ConfigError {
    /// A refusal without a hint.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Refused { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } => hint.as_deref(),
            Self::Unreadable { .. } => None,
        }
    }
}

impl Config {
    /// The defaults below `file` (if any), the environment, and `flags` (dotted key, TOML value).
    pub fn load(file: Option<&Path>, flags: &[(&str, Value)]) -> Result<Self, ConfigError> {
        let mut layers = Figment::new().merge(Toml::string(DEFAULT_TOML));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
            layers = layers.merge(Toml::string(&text));
            extract(layers.clone(), file)?; // errors name the file before its paths are laid over it
            layers = layers.merge(Serialized::from(rebased(&text, path), Profile::Default));
        }
        layers = layers.merge(Environment::read(std::env::vars()));
        for (key, value) in flags {
            layers = layers.merge(Serialized::from(nested(key, value.clone()), Profile::Default));
        }
        let config = extract(layers, file)?;
        config.check()?;
        Ok(config)
    }

    /// What types alone cannot say.
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: &str| Err(ConfigError::refused(text));
        if self.queue.every_n_epochs == 0 {
            return refuse("`queue.every_n_epochs` must be at least 1");
        }
        if !self.probe.crop.is_multiple_of(32) {
            let refused =
                ConfigError::refused(format!("`probe.crop` is a multiple of 32 pixels, not {}", self.probe.crop));
            return Err(refused.with_hint("0 takes chips as they are"));
        }
        if self.probe.seeds.is_empty() || self.probe.fit_steps == 0 || self.probe.batch_size == 0 {
            return refuse(
                "`probe.seeds` must not be empty, `probe.fit_steps` and `probe.batch_size` must be at least 1",
            );
        }
        if !(0.0..1.0).contains(&self.probe.threshold)
            || self.probe.learning_rate.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater)
        {
            return refuse("`probe.threshold` must lie in [0, 1), `probe.learning_rate` above 0");
        }
        let mut heads = self.probe.heads.clone();
        heads.sort_unstable();
        heads.dedup();
        if heads.is_empty() || heads.len() != self.probe.heads.len() {
            return refuse("`probe.heads` must name one head at least, none twice");
        }
        let mut seeds = self.probe.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        if seeds.len() != self.probe.seeds.len() {
            return refuse("`probe.seeds` holds a seed twice");
        }
        if self.worker.max_parallel == 0 || self.worker.nice > 19 {
            return refuse("`worker.max_parallel` must be at least 1, `worker.nice` at most 19");
        }
        Ok(())
    }
}

/// The variables `CLAY_PROBE__SECTION__KEY`. A value is read as TOML where it is TOML (`5`, `1e-3`, `[0, 1]`), else as
/// a string, so that paths and words need no quotes.
struct Environment(Value);

impl Environment {
    fn read(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut out = json!({});
        for (name, text) in variables {
            let Some(key) = name.strip_prefix("CLAY_PROBE__") else { continue };
            let key = key.to_lowercase().replace("__", ".");
            let read = Figment::from(Toml::string(&format!("value = {text}"))).extract_inner("value");
            let value = read.unwrap_or(Value::String(text));
            match key.split_once('.') {
                Some((section, key)) => out[section][key] = value,
                None => out[key.as_str()] = value,
            }
        }
        Self(out)
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment variables")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.0).data()
    }
}

/// Keys that hold paths: relative ones in a file are relative to its folder.
const PATHS: [(&str, &str); 7] = [
    ("intake", "dirs"),
    ("intake", "roots"),
    ("intake", "path_map"),
    ("probe", "data"),
    ("probe", "metadata"),
    ("store", "dir"),
    ("api", "token_file"),
];

/// The paths of a file's text, joined to the folder that it lies in.
fn rebased(text: &str, file: &Path) -> Value {
    let base = file.parent().unwrap_or(Path::new(""));
    // The text was read as TOML before.
    let held: Value = Figment::from(Toml::string(text)).extract().unwrap_or_default();
    let mut out = json!({});
    for (section, key) in PATHS {
        if let Some(value) = held.get(section).and_then(|s| s.get(key)) {
            out[section][key] = joined(base, value);
        }
    }
    out
}

fn joined(base: &Path, value: &Value) -> Value {
    match value {
        Value::String(path) if !path.is_empty() => json!(base.join(path)),
        Value::Array(items) => items.iter().map(|item| joined(base, item)).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), joined(base, item))).collect(),
        other => other.clone(),
    }
}

fn nested(key: &str, value: Value) -> Value {
    key.rsplit('.').fold(value, |inner, part| json!({ part: inner }))
}

fn extract(layers: Figment, file: Option<&Path>) -> Result<Config, ConfigError> {
    layers.extract().map_err(|error| {
        let (found, hints): (Vec<_>, Vec<_>) = error.into_iter().map(|e| describe(&e, file)).unzip();
        let hint = hints.into_iter().flatten().collect::<Vec<_>>().join("; ");
        ConfigError::Refused { message: found.join("\n"), hint: Some(hint).filter(|h| !h.is_empty()) }
    })
}

/// One refusal in words, and the nearest known key.
fn describe(error: &figment::Error, file: Option<&Path>) -> (String, Option<String>) {
    let at = error.path.join(".");
    let origin = match error.metadata.as_ref().map(|m| m.name.as_ref()) {
        Some(name) if name.contains("environment") => "the environment".to_owned(),
        Some(name) if name.contains("TOML") => {
            file.map_or("the configuration".into(), |f| format!("`{}`", f.display()))
        }
        _ => "a flag".to_owned(),
    };
    match &error.kind {
        Kind::UnknownField(key, known) => {
            let parent = error.path.iter().filter(|part| *part != key).cloned().collect::<Vec<_>>().join(".");
            let full = |k: &str| if parent.is_empty() { k.to_owned() } else { format!("{parent}.{k}") };
            let nearest =
                known.iter().max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
            let hint = nearest.map(|k| format!("the nearest known key is `{}`", full(k)));
            (format!("unknown key `{}` in {origin}", full(key)), hint)
        }
        kind => (format!("`{at}` in {origin}: {kind}"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_alone() {
        let config = Config::load(None, &[]).unwrap();
        assert_eq!(config.queue.every_n_epochs, 5);
        assert_eq!(config.intake.settle.as_secs(), 2);
        assert_eq!(config.store.max_bytes.0, 50_000_000_000);
        assert_eq!(config.queue.idle_after, None);
    }

    #[test]
    fn a_file_below_flags() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clay-probe.toml");
        std::fs::write(
            &file,
            "[queue]\nevery_n_epochs = 2\n[probe]\ndata = \"floods\"\n[store]\ndir = \"clay-probe-data\"\n",
        )
        .unwrap();
        let config = Config::load(Some(&file), &[("queue.retries", 7.into())]).unwrap();
        assert_eq!((config.queue.every_n_epochs, config.queue.retries), (2, 7));
        assert_eq!(config.probe.data, dir.path().join("floods"));
        let said = dir.path().join("clay-probe-data");
        assert_eq!(config.store.dir, said, "also where the file says the same as the default");
        assert_eq!(Config::load(None, &[]).unwrap().store.dir, Path::new("clay-probe-data"));
    }

    #[test]
    fn the_environment_is_read_as_toml_where_it_is() {
        let held = [("LEARNING_RATE", "1e-3"), ("SEEDS", "[4, 5]"), ("DATA", "/floods/a b"), ("STRICT", "true")];
        let variables = held.map(|(key, value)| (format!("CLAY_PROBE__PROBE__{key}"), value.to_owned()));
        let layers = Figment::new().merge(Toml::string(DEFAULT_TOML)).merge(Environment::read(variables.into_iter()));
        let probe = extract(layers, None).unwrap().probe;
        assert_eq!((probe.learning_rate, probe.seeds, probe.strict), (1e-3, vec![4, 5], true));
        assert_eq!(probe.data, Path::new("/floods/a b"));
        let misspelt = [("CLAY_PROBE__PROBE__SEED".to_owned(), "1".to_owned())];
        let layers = Figment::new().merge(Toml::string(DEFAULT_TOML)).merge(Environment::read(misspelt.into_iter()));
        let message = extract(layers, None).unwrap_err().to_string();
        assert!(message.contains("unknown key `probe.seed` in the environment"), "{message}");
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[queue]\nevery_n_epoch = 2\n").unwrap();
        let error = Config::load(Some(&file), &[]).unwrap_err();
        assert!(error.to_string().contains("unknown key `queue.every_n_epoch`"), "{error}");
        assert_eq!(error.hint(), Some("the nearest known key is `queue.every_n_epochs`"));
        std::fs::write(&file, "[intake]\nsettle = \"soon\"\n").unwrap();
        let message = Config::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(message.contains("`soon` is not a duration"), "{message}");
    }
}
