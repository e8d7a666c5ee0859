//! The flood chips that the binary carries: `data/sample`, with its manifest and licences.

use std::path::Path;

use include_dir::{Dir, include_dir};

use super::DemoError;

static SAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/data/sample");

/// Writes the chips into `folder`, which is made.
pub fn unpack(folder: &Path) -> Result<(), DemoError> {
    std::fs::create_dir_all(folder).map_err(DemoError::io(folder))?;
    SAMPLE.extract(folder).map_err(DemoError::io(folder))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_chip_of_the_manifest_comes_out() {
        let dir = tempfile::tempdir().unwrap();
        super::unpack(dir.path()).unwrap();
        let manifest = std::fs::read_to_string(dir.path().join("manifest.csv")).unwrap();
        let chips: Vec<&str> = manifest.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        assert!(chips.len() >= 6, "{chips:?}");
        for chip in chips {
            assert!(dir.path().join(chip).is_file(), "{chip}");
            assert!(dir.path().join(chip.replace(".tif", "_LabelWater.tif")).is_file(), "{chip}");
        }
    }
}
