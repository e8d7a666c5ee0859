//! What `manifest.csv`, beside the data, says of the chips: event, side of the split, fold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use super::{ChipError, layout::Found};
use crate::domain::{Reason, Refusal};

/// What the column `split` says of a chip; words in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    Train,
    Val,
    /// Never to be opened.
    Test,
    /// Another word: nobody can tell whether it may be trained on.
    Unknown(String),
}

/// One row; an empty field says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file, from 1.
    line: u64,
    pub event: Option<String>,
    pub listed: Option<Listed>,
    pub fold: Option<String>,
}

/// `manifest.csv`; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// By the column `file`: a chip's path, as its layout gives it.
    rows: BTreeMap<String, Row>,
    /// There is a column `fold`.
    pub has_folds: bool,
}

/// The columns that count; all others are for people.
const COLUMNS: [&str; 4] = ["file", "event", "split", "fold"];

impl Manifest {
    /// Reads `<root>/manifest.csv`: comma-separated, UTF-8, quotes as in RFC 4180, names of columns in any case.
    ///
    /// # Errors
    /// `manifest`, naming the line: no column `file`, a column or a chip twice, too few or too many fields.
    pub fn read(root: &Path) -> Result<Self, ChipError> {
        let path = root.join("manifest.csv");
        let wrong = |why: String| ChipError::new(Reason::Manifest, format!("`{}` {why}", path.display()));
        match fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes).map_err(wrong),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(wrong(format!("cannot be read: {e}"))),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(bytes);
        let mut records = reader.records().map(|record| record.map_err(|e| format!("is no CSV: {e}")));
        let header = records.next().transpose()?.unwrap_or_default();
        let names: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
        if let Some(twice) = COLUMNS.iter().find(|column| names.iter().filter(|name| name == *column).count() > 1) {
            return Err(format!("has two columns `{twice}`"));
        }
        let [file, event, split, fold] = COLUMNS.map(|column| names.iter().position(|name| name == column));
        let file = file.ok_or("has no column `file`")?;
        let mut manifest = Self { rows: BTreeMap::new(), has_folds: fold.is_some() };
        for record in records {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            if record.iter().all(|field| field.trim().is_empty()) {
                continue;
            }
            if record.len() < names.len() {
                return Err(format!("has too few fields in line {line}: {} of {}", record.len(), names.len()));
            }
            // A comma that is not quoted would shift what follows into the wrong columns.
            if record.iter().skip(names.len()).any(|field| !field.trim().is_empty()) {
                return Err(format!("has too many fields in line {line}: {} for {}", record.len(), names.len()));
            }
            let text = |at: usize| record.get(at).map(str::trim).filter(|text| !text.is_empty());
            let of = |at: Option<usize>| at.and_then(text);
            let name = text(file).ok_or_else(|| format!("names no file in line {line}"))?;
            let name = name.trim_start_matches("./");
            let row = Row {
                line,
                event: of(event).map(str::to_owned),
                listed: of(split).map(listed),
                fold: of(fold).map(str::to_owned),
            };
            if manifest.rows.insert(name.to_owned(), row).is_some() {
                return Err(format!("names `{name}` twice, again in line {line}"));
            }
        }
        Ok(manifest)
    }

    /// What it says of a chip; of a crop without a row of its own, what it says of the whole.
    pub fn row(&self, chip: &Found) -> Option<&Row> {
        self.rows.get(&chip.path).or_else(|| self.rows.get(chip.whole()))
    }

    /// Whether a chip is never to be opened.
    pub fn holds_out(&self, chip: &Found) -> bool {
        self.row(chip).is_some_and(|row| row.listed == Some(Listed::Test))
    }

    /// What it names and the folder lacks; `found` are all chips of the folder, those held out too.
    ///
    /// # Errors
    /// `manifest`: a row marked `test` names no chip, so that the chip it means would be trained on.
    pub fn missing(&self, found: &[Found]) -> Result<Vec<Refusal>, ChipError> {
        let there: BTreeSet<&str> = found.iter().flat_map(|chip| [chip.path.as_str(), chip.whole()]).collect();
        let gone = self.rows.iter().filter(|(name, _)| !there.contains(name.as_str()));
        let mut refused = Vec::new();
        for (name, row) in gone {
            if row.listed == Some(Listed::Test) {
                let message = format!(
                    "`manifest.csv` marks `{name}` as `test` in line {}, and no chip of the folder is called so",
                    row.line
                );
                return Err(ChipError::new(Reason::Manifest, message).with_hint(
                    "`file` is a chip's path below the data folder (or its id, where a chip is several files); correct the row, or remove it if the chip is gone",
                ));
            }
            let message = format!("`{name}` is in `manifest.csv` and not in the folder");
            refused.push(Refusal { path: name.clone(), reason: Reason::Missing, message });
        }
        Ok(refused)
    }

    /// A refusal for each chip whose row has a split that is none of train, val and test: it is left out.
    pub fn unknown(&self, found: &[Found]) -> Vec<Refusal> {
        let of = |chip: &Found| match self.row(chip) {
            Some(Row { line, listed: Some(Listed::Unknown(word)), .. }) => Some(Refusal {
                path: chip.path.clone(),
                reason: Reason::UnknownSplit,
                message: format!(
                    "`{}` has the split `{word}` in line {line} of `manifest.csv`; train, val or test",
                    chip.path
                ),
            }),
            _ => None,
        };
        found.iter().filter_map(of).collect()
    }
}

fn listed(word: &str) -> Listed {
    match word.to_lowercase().as_str() {
        "train" => Listed::Train,
        "val" => Listed::Val,
        "test" => Listed::Test,
        _ => Listed::Unknown(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::layout::Facts, *};

    fn found(path: &str) -> Found {
        let (id, path, source) = (path.to_owned(), path.to_owned(), String::new());
        Found { id, path, source, event: None, held_out: false, crop: None, files: Vec::new(), facts: Facts::default() }
    }

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text.as_bytes())
    }

    #[test]
    fn byte_order_marks_quotes_and_cases() {
        let text = "\u{feff}File , Event,SPLIT,fold\r\n\"a, \"\"b\"\".tif\",\"e\n1\", Train ,\r\n./c.tif,e, TEST,2\r\n\r\n\
                    ,,,\r\nd.tif,,,\r\nG_1,e,holdout,x,,";
        let manifest = parse(text).unwrap();
        assert!(manifest.has_folds);
        let row = |path: &str| manifest.row(&found(path)).unwrap();
        assert_eq!(
            (&row("a, \"b\".tif").listed, row("a, \"b\".tif").event.as_deref()),
            (&Some(Listed::Train), Some("e\n1"))
        );
        assert!(manifest.holds_out(&found("c.tif")) && !manifest.holds_out(&found("d.tif")));
        assert_eq!((&row("d.tif").event, &row("d.tif").listed, &row("d.tif").fold), (&None, &None, &None));
        assert_eq!(row("c.tif").fold.as_deref(), Some("2"));
        let chips = [found("a, \"b\".tif"), found("G_1"), found("c.tif"), found("d.tif")];
        let unknown = manifest.unknown(&chips);
        assert_eq!((unknown.len(), unknown[0].reason), (1, Reason::UnknownSplit));
        assert!(unknown[0].message.contains("`holdout` in line 7"), "{}", unknown[0].message);
        assert_eq!(manifest.missing(&chips).unwrap(), []);
        assert_eq!(parse("file\na\n").unwrap().rows.len(), 1);
        assert!(parse("file,split\n").unwrap().rows.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, words) in [
            ("", "no column `file`"),
            ("event\nx\n", "no column `file`"),
            ("file,Split,split\na,b,c\n", "two columns `split`"),
            ("file,split\na.tif\n", "too few fields in line 2"),
            ("file,split\nb,train\na, b.tif,train\n", "too many fields in line 3"),
            ("file,split\na,train\n./a,test\n", "`a` twice, again in line 3"),
            ("file,split\n,test\n", "no file in line 2"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        assert!(Manifest::parse(b"file\n\xff\xfe\n").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_row_without_a_chip() {
        let manifest = parse("file,split\nhere,test\ngone,train\n").unwrap();
        let refused = manifest.missing(&[found("here")]).unwrap();
        assert_eq!((refused.len(), refused[0].path.as_str(), refused[0].reason), (1, "gone", Reason::Missing));
        let error = manifest.missing(&[]).unwrap_err();
        assert!(error.reason == Reason::Manifest && error.message.contains("`here` as `test` in line 2"), "{error}");
    }
}
