//! Durations and sizes as people write them: `"2s"`, `"10m"`, `"50GB"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A number of bytes, written `"4GB"` (decimal) or `"4GiB"` (binary).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let size: bytesize::ByteSize =
            text.parse().map_err(|_| D::Error::custom(format!("`{text}` is not a size such as \"500MB\"")))?;
        Ok(Self(size.as_u64()))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{}B", self.0))
    }
}

fn parse<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    humantime::parse_duration(text)
        .map_err(|_| E::custom(format!("`{text}` is not a duration such as \"2s\" or \"10m\"")))
}

pub(super) mod duration {
    //! A duration that must be there.
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(from)?)
    }

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&humantime::format_duration(*value).to_string())
    }
}

pub(super) mod maybe_duration {
    //! A duration, or empty for never.
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() { Ok(None) } else { parse(&text).map(Some) }
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.map(|v| humantime::format_duration(v).to_string()).unwrap_or_default())
    }
}
