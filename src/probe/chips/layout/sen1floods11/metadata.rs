//! `Sen1Floods11_Metadata.geojson`: the days of each event, by its location.

use std::{collections::BTreeMap, fs, io, path::Path};

use chrono::NaiveDate;
use serde::Deserialize;

use crate::{domain::Reason, probe::chips::ChipError};

const FILE: &str = "Sen1Floods11_Metadata.geojson";

/// Events whose location has another name in the metadata.
const ALIASES: [(&str, &str); 1] = [("Mekong", "Cambodia")];

/// The radar days by location; `None`: there is no such file.
#[derive(Debug)]
pub struct Metadata(Option<BTreeMap<String, Vec<NaiveDate>>>);

#[derive(Deserialize)]
struct Collection {
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    properties: Properties,
}

#[derive(Deserialize)]
struct Properties {
    location: String,
    s1_date: String,
}

impl Metadata {
    /// Reads it below `base`.
    ///
    /// # Errors
    /// `metadata`: it cannot be read, is cut off, or has a date that is none.
    pub fn read(base: &Path) -> Result<Self, ChipError> {
        let path = base.join(FILE);
        let wrong = |why: String| ChipError::new(Reason::Metadata, format!("`{}` {why}", path.display()));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self(None)),
            Err(e) => return Err(wrong(format!("cannot be read: {e}"))),
        };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let collection: Collection =
            serde_json::from_slice(bytes).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let mut days: BTreeMap<String, Vec<NaiveDate>> = BTreeMap::new();
        for Feature { properties: Properties { location, s1_date } } in collection.features {
            let day = ["%Y/%m/%d", "%Y-%m-%d"].iter().find_map(|f| NaiveDate::parse_from_str(s1_date.trim(), f).ok());
            let day = day.ok_or_else(|| wrong(format!("has no date for `{location}`: `{s1_date}` is not one")))?;
            let days = days.entry(plain(&location)).or_default();
            if !days.contains(&day) {
                days.push(day);
            }
        }
        Ok(Self(Some(days)))
    }

    /// The day of an event's radar image.
    ///
    /// # Errors
    /// `date`: nothing tells it, or several days are told; the message goes behind the chip's name.
    pub fn date(&self, event: &str) -> Result<NaiveDate, ChipError> {
        let wrong = |message: String| ChipError::new(Reason::Date, message);
        let Some(days) = &self.0 else {
            let message = format!("has no date: `{FILE}` is not there");
            return Err(wrong(message).with_hint("it lies beside `data` in Sen1Floods11 v1.1"));
        };
        let location = ALIASES.iter().find(|(name, _)| *name == event).map_or(event, |(_, location)| location);
        match days.get(&plain(location)).map(Vec::as_slice) {
            Some([day]) => Ok(*day),
            Some(_) => Err(wrong(format!("has no date: `{FILE}` tells several for `{location}`"))),
            None => Err(wrong(format!("has no date: `{FILE}` has no location `{location}`"))),
        }
    }
}

/// `Sri-Lanka` and `Sri Lanka` are one.
fn plain(location: &str) -> String {
    location.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Metadata, ChipError> {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join(FILE), text).unwrap();
        Metadata::read(base.path())
    }

    fn feature(location: &str, date: &str) -> String {
        format!(r#"{{"type": "Feature", "properties": {{"location": "{location}", "s1_date": "{date}"}}}}"#)
    }

    #[test]
    fn dates_by_location() {
        let features =
            [("Cambodia", "2018\\/08\\/05"), ("Sri-Lanka", "2017-05-30"), ("USA", "2019/05/22"), ("USA", "2019/05/23")];
        let text = features.map(|(location, date)| feature(location, date)).join(",");
        let metadata = read(&format!(r#"{{"features": [{text}]}}"#)).unwrap();
        let of = |event: &str| metadata.date(event).map(|d| d.to_string()).map_err(|e| e.message);
        assert_eq!(of("Mekong").unwrap(), "2018-08-05");
        assert_eq!(of("Sri Lanka").unwrap(), "2017-05-30");
        assert!(of("USA").unwrap_err().contains("several"));
        assert!(of("Spain").unwrap_err().contains("no location `Spain`"));
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said() {
        assert_eq!(read(r#"{"features": [{"proper"#).unwrap_err().reason, Reason::Metadata);
        let odd = read(&format!(r#"{{"features": [{}]}}"#, feature("Spain", "in May"))).unwrap_err();
        assert!(odd.message.contains("`in May`"), "{odd}");
        let none = Metadata::read(tempfile::tempdir().unwrap().path()).unwrap();
        assert!(none.date("Spain").unwrap_err().message.contains(FILE));
    }
}
