//! Names that can be mixed up: epoch, seed, run. Parsing is the only way in for text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The trainer's own epoch, zero-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch in a file name: the digits after `epoch`, `epoch-`, `epoch_` or `epoch=`.
    ///
    /// `mae_epoch-07_val-loss-0.52.ckpt` is 7; a name without one, `last.ckpt`, is `None`.
    pub fn from_file_name(name: &str) -> Option<Self> {
        number_after(name, "epoch").and_then(|n| u32::try_from(n).ok()).map(Self)
    }
}

/// The digits that follow `word` and one of `-`, `_`, `=` in `name`.
fn number_after(name: &str, word: &str) -> Option<u64> {
    name.match_indices(word).find_map(|(at, _)| {
        let rest = name[at + word.len()..].strip_prefix(['-', '_', '='])?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A seed of one fit: initial weights and batch order follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

/// The name of a training run: 1 to 128 letters, digits, `_`, `-`, `.`, `/` or spaces, without `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunName(String);

/// A text that is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a run's name: 1 to 128 letters, digits, spaces, `_`, `-`, `.` and `/`, without `..`")]
pub struct ParseNameError {
    text: String,
}

impl RunName {
    /// The run of files directly in a watched directory.
    pub fn default_run() -> Self {
        Self("default".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ');
        let fits = (1..=128).contains(&text.chars().count()) && text.chars().all(known) && !text.contains("..");
        if fits { Ok(Self(text.to_owned())) } else { Err(ParseNameError { text: text.chars().take(160).collect() }) }
    }
}

impl TryFrom<String> for RunName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunName> for String {
    fn from(name: RunName) -> Self {
        name.0
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_of_a_file_name() {
        let of = |name| Epoch::from_file_name(name).map(|e| e.0);
        assert_eq!(of("mae_epoch-07_val-loss-0.52.ckpt"), Some(7));
        assert_eq!(of("epoch=12-step=340.ckpt"), Some(12));
        assert_eq!(of("Clay_v0.1_epoch-24_val-loss-0.46.ckpt"), Some(24));
        assert_eq!(of("epoch_100-v1.ckpt"), Some(100));
        assert_eq!(of("last.ckpt"), None);
        assert_eq!(of("epoch-99999999999.ckpt"), None);
    }

    #[test]
    fn run_names() {
        assert!("a/b-1.2 x_y".parse::<RunName>().is_ok());
        for bad in ["", "../x", "a..b", "a\nb", "a\"b", &"x".repeat(129)] {
            assert!(bad.parse::<RunName>().is_err(), "{bad:?}");
        }
    }
}
