//! The flood chips that the binary carries: `data/sample`, with its licences, and the demo's own manifest.

use std::{fmt::Write, path::Path};

use include_dir::{Dir, include_dir};

use super::DemoError;

static SAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/data/sample");

/// Side of the demo's crops in pixels.
pub const CROP: u32 = 64;
/// Crops along a side of a chip of 224 px.
const ALONG: u32 = 224 / CROP;

/// Writes the chips into `folder`, which is made, with a manifest of their crops: the thirds of each chip's columns are
/// the folds, so that every crop is scored by heads that saw its scene, and not itself. All eight chips are used.
pub fn unpack(folder: &Path) -> Result<(), DemoError> {
    std::fs::create_dir_all(folder).map_err(DemoError::io(folder))?;
    SAMPLE.extract(folder).map_err(DemoError::io(folder))?;
    let manifest = folder.join("manifest.csv");
    std::fs::write(&manifest, crops()).map_err(DemoError::io(&manifest))
}

/// A row for each crop of each chip: `<path>#<row>,<column>`, its event (the scene's folder), its fold.
fn crops() -> String {
    let mut text = "file,event,fold\n".to_owned();
    let chips = SAMPLE.dirs().flat_map(Dir::files).map(|file| file.path().to_string_lossy());
    for chip in chips.filter(|path| path.ends_with("_rtc.tif")) {
        let event = chip.split('/').next().unwrap_or_default();
        for (row, column) in (0..ALONG).flat_map(|row| (0..ALONG).map(move |column| (row, column))) {
            // A string takes whatever is written to it.
            let _ = writeln!(text, "\"{chip}#{row},{column}\",{event},{column}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{
        config::{self, Config},
        probe::chips::Dataset,
    };

    #[test]
    fn seventy_two_crops_in_three_folds() {
        let dir = tempfile::tempdir().unwrap();
        super::unpack(&dir.path().join("data")).unwrap();
        let defaults = Config::load(None, &[]).unwrap().probe;
        let settings = config::Probe { data: dir.path().join("data"), crop: super::CROP, ..defaults };
        let dataset = Dataset::open(&settings, dir.path(), &mut |_| {}).unwrap();
        let summary = dataset.summary();
        assert_eq!(
            (summary.chips, summary.events.len(), summary.decoded),
            (72, 6, 24),
            "8 chips, each once: {summary:?}"
        );
        assert_eq!((&summary.refused, summary.held_out), (&Vec::new(), 0));
        let sizes: Vec<_> = dataset.folds().iter().map(|fold| (fold.train.len(), fold.val.len())).collect();
        assert_eq!(sizes, [(48, 24); 3]);
        let sides: BTreeSet<u32> = dataset.chips().iter().map(|chip| chip.side).collect();
        assert_eq!(sides, BTreeSet::from([64]));
        // The second time nothing is decoded.
        let again = Dataset::open(&settings, dir.path(), &mut |_| {}).unwrap();
        assert_eq!((again.summary().decoded, again.summary().digest), (0, summary.digest));
    }
}
