//! Writes checkpoints as `torch.save` does: a ZIP of stored entries with a pickle (protocol 2) and raw tensors.
//!
//! The layout is that of a weights-only Lightning file (`epoch`, `global_step`, `hyper_parameters`, `state_dict`),
//! readable by `torch.load(..., weights_only=True)`. It does not claim to be written by Lightning.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// What a checkpoint holds.
pub struct Contents<'a> {
    pub epoch: u32,
    pub global_step: u64,
    /// Plain numbers of the training.
    pub hyper_parameters: &'a [(&'a str, f64)],
    /// Name, shape and row-major values.
    pub state_dict: &'a [(String, Vec<usize>, Vec<f32>)],
}

/// Writes `contents` beside `path` under a name that nobody watches, then renames it: no reader sees a part of it.
pub fn write(path: &Path, contents: &Contents<'_>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.part"));
    let mut zip = ZipWriter::new(BufWriter::new(File::create(&temporary)?));
    // Tensors start at multiples of 64 bytes, so that they could be mapped as they are.
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(64);
    let mut entry = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), stored).map_err(io::Error::other)?;
        zip.write_all(bytes)
    };
    entry("data.pkl", &pickle(contents))?;
    entry("byteorder", b"little")?;
    for (key, (_, _, values)) in contents.state_dict.iter().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        entry(&format!("data/{key}"), &bytes)?;
    }
    entry("version", b"3\n")?;
    let file = zip.finish().map_err(io::Error::other)?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// The pickle of the top dictionary.
fn pickle(contents: &Contents<'_>) -> Vec<u8> {
    let mut out = Pickle(vec![0x80, 2]); // PROTO 2
    out.dict(|out| {
        out.text("epoch").int(contents.epoch.into());
        out.text("global_step").int(contents.global_step);
        out.text("clay-probe_version").text(env!("CARGO_PKG_VERSION"));
        out.text("hyper_parameters").dict(|out| {
            for (name, value) in contents.hyper_parameters {
                out.text(name);
                if value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(value) {
                    out.int(*value as u64);
                } else {
                    out.float(*value);
                }
            }
        });
        out.text("state_dict").ordered_dict();
        out.0.push(b'('); // MARK
        for (key, (name, shape, values)) in contents.state_dict.iter().enumerate() {
            out.text(name).tensor(&key.to_string(), shape, values.len());
        }
        out.0.push(b'u'); // SETITEMS, into the OrderedDict
    });
    out.0.push(b'.'); // STOP
    out.0
}

/// A pickle in the making; nothing is put in the memo, for nothing is used twice.
struct Pickle(Vec<u8>);

impl Pickle {
    fn dict(&mut self, fill: impl FnOnce(&mut Self)) {
        self.0.extend_from_slice(b"}("); // EMPTY_DICT MARK
        fill(self);
        self.0.push(b'u'); // SETITEMS
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'X'); // BINUNICODE
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn int(&mut self, value: u64) {
        match i32::try_from(value) {
            Ok(small) => {
                self.0.push(b'J'); // BININT
                self.0.extend_from_slice(&small.to_le_bytes());
            }
            Err(_) => {
                self.0.extend_from_slice(&[0x8a, 9]); // LONG1, nine bytes so that the sign bit is 0
                self.0.extend_from_slice(&value.to_le_bytes());
                self.0.push(0);
            }
        }
    }

    fn float(&mut self, value: f64) {
        self.0.push(b'G'); // BINFLOAT
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend_from_slice(format!("c{module}\n{name}\n").as_bytes()); // GLOBAL
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.0.extend_from_slice(b")R"); // EMPTY_TUPLE REDUCE
    }

    fn ints(&mut self, values: impl Iterator<Item = usize>) {
        self.0.push(b'('); // MARK
        values.for_each(|value| self.int(value as u64));
        self.0.push(b't'); // TUPLE
    }

    /// `_rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())`.
    fn tensor(&mut self, key: &str, shape: &[usize], count: usize) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.extend_from_slice(b"(("); // MARK MARK
        self.text("storage").global("torch", "FloatStorage");
        self.text(key).text("cpu").int(count as u64);
        self.0.extend_from_slice(b"tQ"); // TUPLE BINPERSID
        self.int(0);
        self.ints(shape.iter().copied());
        self.ints((0..shape.len()).map(|axis| shape[axis + 1..].iter().product()));
        self.0.push(0x89); // NEWFALSE
        self.ordered_dict();
        self.0.extend_from_slice(b"tR"); // TUPLE REDUCE
    }
}

#[cfg(test)]
mod tests {
    use candle_core::pickle;

    use super::*;

    #[test]
    fn an_independent_reader_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mae_epoch-03_val-loss-0.50.ckpt");
        let state_dict = vec![
            ("model.encoder.a.weight".to_owned(), vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, -5.5]),
            ("model.encoder.a.bias".to_owned(), vec![2], vec![1e-30, 7.0]),
        ];
        let contents = Contents {
            epoch: 3,
            global_step: 96,
            hyper_parameters: &[("lr", 1e-3), ("dim", 64.0)],
            state_dict: &state_dict,
        };
        write(&path, &contents).unwrap();

        let read = pickle::read_all_with_key(&path, Some("state_dict")).unwrap();
        assert_eq!(read.len(), 2);
        // It gives them in no particular order.
        let read: std::collections::HashMap<_, _> = read.into_iter().collect();
        for (name, shape, values) in &state_dict {
            let tensor = &read[name];
            assert_eq!(tensor.dims(), shape.as_slice(), "{name}");
            assert_eq!(&tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), values);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");

        let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        for i in 0..archive.len() {
            let entry = archive.by_index(i).unwrap();
            assert_eq!(entry.data_start().unwrap() % 64, 0, "{:?} is not aligned", entry.name());
        }
    }
}
