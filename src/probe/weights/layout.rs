//! The file of a pin: its header, which says all that is known of the encoder, and where its tensors lie.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{facts::PIN_FORMAT, find::Found};
use crate::{
    domain::{Digest, EncoderFacts},
    probe::checkpoint::View,
};

/// Where each tensor of the copy lies: the widest elements first, so that all are aligned, then by name.
pub(super) struct Layout {
    metadata: BTreeMap<String, String>,
    tensors: Map<String, Json>,
    /// Offsets in the data section.
    offsets: BTreeMap<String, u64>,
    data: u64,
}

impl Layout {
    pub fn of(found: &Found, facts: &EncoderFacts, source: String) -> Self {
        let mut order: Vec<(&String, &View)> = found.views.iter().collect();
        order.sort_by_key(|(_, view)| std::cmp::Reverse(view.dtype.size()));
        let (mut tensors, mut offsets, mut at) = (Map::new(), BTreeMap::new(), 0);
        for (name, view) in order {
            let end = at + view.bytes();
            // Only floating types pass the check, and their names are those of safetensors in lower case.
            let dtype = view.dtype.name().to_uppercase();
            tensors.insert(name.clone(), json!({"dtype": dtype, "shape": view.shape, "data_offsets": [at, end]}));
            offsets.insert(name.clone(), at);
            at = end;
        }
        Self { metadata: metadata(found, facts, source), tensors, offsets, data: at }
    }

    /// Whether a file with this metadata says the same of the same weights; where either was copied from counts for
    /// nothing.
    pub fn is_told_by(&self, metadata: &BTreeMap<String, String>) -> bool {
        let facts = |metadata: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            let kept = metadata.iter().filter(|(key, _)| !matches!(key.as_str(), "source" | "file_digest"));
            kept.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        facts(&self.metadata) == facts(metadata)
    }

    /// The length and the header, padded so that the tensors start at a multiple of 64 bytes; its length does not
    /// depend on the digest.
    pub fn header(&self, file_digest: Digest) -> Vec<u8> {
        let mut metadata = self.metadata.clone();
        metadata.insert("file_digest".into(), file_digest.to_string());
        let mut object = Map::from_iter([("__metadata__".to_owned(), json!(metadata))]);
        object.extend(self.tensors.clone());
        let mut json = Json::Object(object).to_string().into_bytes();
        json.resize((json.len() + 8).next_multiple_of(64) - 8, b' ');
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.append(&mut json);
        header
    }

    fn start(&self) -> u64 {
        self.header(Digest::of(&[])).len() as u64
    }

    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.start() + self.data
    }

    /// Where a tensor starts in the file.
    pub fn positions(&self) -> BTreeMap<&str, u64> {
        let start = self.start();
        self.offsets.iter().map(|(name, at)| (name.as_str(), start + at)).collect()
    }
}

/// All that is known of the encoder, so that the pin opens to the same facts as the trainer's file.
fn metadata(found: &Found, facts: &EncoderFacts, source: String) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([
        ("format".to_owned(), PIN_FORMAT.to_owned()),
        ("source".to_owned(), source),
        ("generation".to_owned(), facts.generation.to_string()),
        ("told_by".to_owned(), facts.told_by.clone()),
        ("prefix".to_owned(), facts.prefix.clone()),
        ("unused".to_owned(), facts.tensors.unused.to_string()),
        ("foreign".to_owned(), facts.tensors.foreign.to_string()),
    ]);
    let epoch = found.epoch.map(|(epoch, _)| ("epoch".to_owned(), epoch.to_string()));
    let step = found.global_step.map(|(step, _)| ("global_step".to_owned(), step.to_string()));
    metadata.extend(epoch.into_iter().chain(step));
    if let Some(told) = &facts.metadata {
        metadata.insert("statistics".to_owned(), json!(told.inputs).to_string());
        metadata.insert("statistics_from".to_owned(), told.source.clone());
    }
    metadata
}
