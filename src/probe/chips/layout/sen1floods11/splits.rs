//! The published split files: read for what they say, obeyed for Bolivia alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use crate::{domain::Reason, probe::chips::ChipError};

use super::{LABEL, Listing, RADAR, event_of, id_of};

const FOLDER: &str = "splits/flood_handlabeled";
const NAMES: [&str; 4] = ["train", "valid", "test", "bolivia"];

/// The ids of each split file that is there.
#[derive(Debug, Default)]
pub struct Splits(BTreeMap<&'static str, BTreeSet<String>>);

impl Splits {
    /// Reads `flood_{train,valid,test,bolivia}_data.csv` below `base`; a file that is not there has no rows.
    ///
    /// # Errors
    /// `split`: a row that does not name an image and its label, with file and line.
    pub fn read(base: &Path) -> Result<Self, ChipError> {
        let mut splits = BTreeMap::new();
        for name in NAMES {
            let path = base.join(FOLDER).join(format!("flood_{name}_data.csv"));
            let wrong = |why: String| ChipError::new(Reason::Split, format!("`{}` {why}", path.display()));
            match fs::read(&path) {
                Ok(bytes) => splits.insert(name, rows(&bytes).map_err(wrong)?),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(wrong(format!("cannot be read: {e}"))),
            };
        }
        Ok(Self(splits))
    }

    pub fn holds_out(&self, id: &str) -> bool {
        self.0.get("bolivia").is_some_and(|ids| ids.contains(id))
    }

    /// Tells what they say: rows of absent chips are refused, a chip in two files is warned of, the rest is a note.
    pub fn tell(&self, listing: &mut Listing) {
        if self.0.is_empty() {
            listing.notes.push(format!("no split files (`{FOLDER}`)"));
            return;
        }
        let there: BTreeSet<&str> = listing.chips.iter().map(|chip| chip.id.as_str()).collect();
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, ids) in &self.0 {
            for id in ids {
                files.entry(id).or_default().push(name);
            }
        }
        let absent = files.iter().filter(|(id, _)| !there.contains(*id)).map(|(id, names)| {
            let message = format!("`{id}` is in `flood_{}_data.csv` and not on disk", names[0]);
            ChipError::new(Reason::ChipMissing, message).refusal(id)
        });
        let twice = files.iter().filter(|(_, names)| names.len() > 1).map(|(id, names)| {
            let message = format!("`{id}` is in two split files of the set: {}", names.join(" and "));
            ChipError::new(Reason::SplitLeak, message).refusal(id)
        });
        let (absent, twice): (Vec<_>, Vec<_>) = (absent.collect(), twice.collect());
        listing.refused.extend(absent);
        listing.warnings.extend(twice);
        let count = |name: &&str| self.0.get(*name).map(|ids| format!("{name} {}", ids.len()));
        let counts: Vec<String> = NAMES.iter().filter_map(count).collect();
        listing
            .notes
            .push(format!("split files: {}; not obeyed but for bolivia, folds are by event", counts.join(", ")));
        let sides = |name: &str| self.0.get(name).into_iter().flatten().map(|id| event_of(id)).collect::<BTreeSet<_>>();
        let shared: Vec<&str> = sides("train").intersection(&sides("test")).copied().collect();
        if !shared.is_empty() {
            listing.notes.push(format!("its test side shares events with its training side: {}", shared.join(", ")));
        }
    }
}

/// The ids of a split file: per row an image and its label, without a header.
fn rows(bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let mut ids = BTreeSet::new();
    for row in reader.records() {
        let row = row.map_err(|e| format!("cannot be read: {e}"))?;
        if row.len() == 1 && row[0].is_empty() {
            continue; // a line of blanks
        }
        let line = row.position().map_or(0, |at| line_of(bytes, at.byte()));
        let pair = (row.get(0).and_then(|f| id_of(f, RADAR)), row.get(1).and_then(|f| id_of(f, LABEL)));
        let (Some(image), Some(label)) = pair else {
            let fields = row.iter().collect::<Vec<_>>().join(",");
            return Err(format!("names no image (`<id>_{RADAR}.tif`) and label in line {line}: `{fields}`"));
        };
        if image != label {
            return Err(format!("names the label of another chip in line {line}: `{image}` and `{label}`"));
        }
        ids.insert(image.to_owned());
    }
    Ok(ids)
}

/// The line, counted from 1, of the row that begins at `byte` or, behind blank lines, later.
fn line_of(bytes: &[u8], byte: u64) -> usize {
    let start = usize::try_from(byte).unwrap_or(usize::MAX).min(bytes.len());
    let blank = bytes[start..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    bytes[..start + blank].iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_kinds() {
        let of = |text: &str| rows(text.as_bytes()).map(|ids| ids.into_iter().collect::<Vec<_>>().join(" "));
        let row = "A_1_S1Hand.tif,A_1_LabelHand.tif";
        assert_eq!(of(&format!("\u{feff}{row}\r\n\r\n \n\n")).unwrap(), "A_1");
        assert_eq!(of(&format!("{row}\n B_2_S1Hand.tif , B_2_LabelHand.tif")).unwrap(), "A_1 B_2");
        assert_eq!(of("").unwrap(), "");
        assert!(of(&format!("{row}\nA_1\n")).unwrap_err().contains("line 2"));
        assert!(of(&format!("{row}\n\n,,\n")).unwrap_err().contains("line 3"));
        assert!(of("A_1_S1Hand.tif,B_1_LabelHand.tif").unwrap_err().contains("another chip"));
    }
}
