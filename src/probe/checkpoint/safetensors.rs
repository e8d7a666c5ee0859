//! A `.safetensors` file: its header within bounds; tensors stay in the file.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value as Json};

use super::{
    contents::{Contents, Entry},
    dtype::Dtype,
    error::{CheckpointError, Result},
    file::TrainerFile,
    view::View,
};
use crate::domain::{Epoch, Format, Reason, ValueSource};

/// More than any header needs (one of the large model: about 40 kB).
const MAX_HEADER: u64 = 16 << 20;

/// Whether a file that starts like this can be one: a length, then an object.
pub(super) fn is_likely(start: &[u8], size: u64) -> bool {
    header_len(start).is_some_and(|len| (2..=MAX_HEADER.max(size)).contains(&len)) && start.get(8) == Some(&b'{')
}

fn header_len(start: &[u8]) -> Option<u64> {
    start.first_chunk().map(|&bytes| u64::from_le_bytes(bytes))
}

/// The header's bytes.
pub(super) fn header(file: &TrainerFile) -> Result<Vec<u8>> {
    let len = header_len(&file.start(8)?).unwrap_or(u64::MAX);
    if len > MAX_HEADER {
        let what = format!("declares a safetensors header of {len} bytes; at most {MAX_HEADER} are read");
        return Err(CheckpointError::refuse(Reason::NotACheckpoint, file.path(), what));
    }
    if len > file.size().saturating_sub(8) {
        return Err(CheckpointError::later(Reason::Truncated, file.path(), "ends within its safetensors header"));
    }
    let mut header = vec![0; len as usize];
    file.read_exact_at(&mut header, 8)?;
    Ok(header)
}

/// Reads the header; `epoch` and `global_step` may stand in its metadata.
pub(super) fn read(file: &TrainerFile) -> Result<Contents> {
    let header_bytes = header(file)?;
    let refuse = |what: String| CheckpointError::refuse(Reason::NotACheckpoint, file.path(), what);
    let header: Header = serde_json::from_slice(&header_bytes)
        .map_err(|e| refuse(format!("looks like safetensors, but its header cannot be read: {e}")))?;
    let start = 8 + header_bytes.len() as u64;
    let data = file.size() - start;
    let mut spans: Vec<(u64, u64)> = header.tensors.iter().map(|(_, t)| t.data_offsets).collect();
    spans.sort_unstable();
    let end = spans.iter().try_fold(0, |at, &(from, to)| (from == at && to >= from).then_some(to));
    match end {
        None => return Err(refuse("is no valid safetensors file: its tensors overlap or leave gaps".into())),
        Some(end) if end > data => {
            let what = format!("holds {data} of {end} bytes of tensors");
            return Err(CheckpointError::later(Reason::Truncated, file.path(), what).half_written());
        }
        Some(end) if end < data => return Err(refuse("is no valid safetensors file: bytes follow its tensors".into())),
        Some(_) => {}
    }
    let entries = header.tensors.into_iter().map(|(name, tensor)| {
        let entry = tensor.entry(start).unwrap_or_else(|what| Entry::Broken(Reason::NotACheckpoint, what));
        (name, entry)
    });
    let number = |key: &str| header.metadata.get(key).and_then(|text| text.parse::<u64>().ok());
    let about = header.metadata.iter().filter(|(key, _)| !matches!(key.as_str(), "epoch" | "global_step"));
    let about =
        about.take(100).map(|(k, v)| (k.chars().take(200).collect(), v.chars().take(1_000).collect::<String>().into()));
    Ok(Contents {
        format: Format::Safetensors,
        epoch: number("epoch").and_then(|n| u32::try_from(n).ok()).map(|n| (Epoch(n), ValueSource::Metadata)),
        global_step: number("global_step").map(|n| (n, ValueSource::Metadata)),
        about: Json::Object(about.collect::<Map<_, _>>()),
        hyper_parameters: None,
        metadata: header.metadata,
        entries: entries.collect(),
    })
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Tensor {
    fn entry(self, start: u64) -> Result<Entry, String> {
        let Some(dtype) = Dtype::of_safetensors(&self.dtype) else { return Ok(Entry::Other("of an unknown dtype")) };
        let bytes = self.shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d)).map(|n| n as u64);
        let (from, to) = self.data_offsets;
        if bytes != Some(to - from) {
            return Err(format!("its {} bytes are no {} of shape {:?}", to - from, dtype.name(), self.shape));
        }
        Ok(Entry::Tensor(View::contiguous(dtype, self.shape, start + from)))
    }
}

/// The header in file order, so that a name that stands there twice is seen.
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, Tensor)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { metadata: BTreeMap::new(), tensors: Vec::new() };
                while let Some(key) = map.next_key::<String>()? {
                    if key == "__metadata__" {
                        header.metadata = map.next_value()?;
                    } else {
                        header.tensors.push((key, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
