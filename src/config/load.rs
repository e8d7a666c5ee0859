//! Layers of configuration, laid over each other, and errors that name the nearest known key.

use std::path::{Path, PathBuf};

use figment::{
    Figment, Profile,
    error::Kind,
    providers::{Env, Format, Serialized, Toml},
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
    #[error("{0}")]
    Refused(String),
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
        layers = layers.merge(Env::prefixed("CLAY_PROBE__").split("__"));
        for (key, value) in flags {
            layers = layers.merge(Serialized::from(nested(key, value.clone()), Profile::Default));
        }
        let config = extract(layers, file)?;
        config.check()?;
        Ok(config)
    }

    /// What types alone cannot say.
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: &str| Err(ConfigError::Refused(text.to_owned()));
        if self.queue.every_n_epochs == 0 {
            return refuse("`queue.every_n_epochs` must be at least 1");
        }
        if self.probe.seeds.is_empty() || self.probe.fit_epochs == 0 || self.probe.batch_size == 0 {
            return refuse(
                "`probe.seeds` must not be empty, `probe.fit_epochs` and `probe.batch_size` must be at least 1",
            );
        }
        if !(0.0..1.0).contains(&self.probe.threshold)
            || self.probe.learning_rate.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater)
        {
            return refuse("`probe.threshold` must lie in [0, 1), `probe.learning_rate` above 0");
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

/// Keys that hold paths: relative ones in a file are relative to its folder.
const PATHS: [(&str, &str); 9] = [
    ("intake", "dirs"),
    ("intake", "roots"),
    ("intake", "path_map"),
    ("probe", "data"),
    ("probe", "cache"),
    ("store", "path"),
    ("store", "pins"),
    ("store", "results"),
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
        let found: Vec<String> = error.into_iter().map(|e| describe(&e, file)).collect();
        ConfigError::Refused(found.join("\n"))
    })
}

/// One refusal in words, with the nearest known key.
fn describe(error: &figment::Error, file: Option<&Path>) -> String {
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
            let hint = nearest.map(|k| format!("\nhint: the nearest known key is `{}`", full(k))).unwrap_or_default();
            format!("unknown key `{}` in {origin}{hint}", full(key))
        }
        kind => format!("`{at}` in {origin}: {kind}"),
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
        std::fs::write(&file, "[queue]\nevery_n_epochs = 2\n[probe]\ndata = \"floods\"\n[store]\npins = \"pins\"\n")
            .unwrap();
        let config = Config::load(Some(&file), &[("queue.retries", 7.into())]).unwrap();
        assert_eq!((config.queue.every_n_epochs, config.queue.retries), (2, 7));
        assert_eq!(config.probe.data, dir.path().join("floods"));
        assert_eq!(config.store.pins, dir.path().join("pins"), "also where the file says the same as the default");
        assert_eq!(config.store.path, Path::new("clay-probe.db"));
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[queue]\nevery_n_epoch = 2\n").unwrap();
        let message = Config::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(message.contains("unknown key `queue.every_n_epoch`"), "{message}");
        assert!(message.contains("nearest known key is `queue.every_n_epochs`"), "{message}");
        std::fs::write(&file, "[intake]\nsettle = \"soon\"\n").unwrap();
        let message = Config::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(message.contains("`soon` is not a duration"), "{message}");
    }
}
