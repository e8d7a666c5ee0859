//! What a file shows of its encoder before any tensor is read: names, shapes, hyper-parameters, metadata, its own name.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// A file's directory, as far as it tells which encoder is inside.
#[derive(Clone, Debug, Default)]
pub struct Evidence<'a> {
    /// Every name of the state dict without wrappers; the shape, empty for what is no tensor.
    pub tensors: BTreeMap<String, Vec<usize>>,
    /// The trainer's.
    pub hyper_parameters: Option<&'a Json>,
    /// `__metadata__` of a safetensors file.
    pub metadata: BTreeMap<String, String>,
    /// Without its folder.
    pub file_name: String,
}

impl Evidence<'_> {
    /// The shape of a tensor by its full name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(Vec::as_slice)
    }

    /// Whether any name starts so.
    pub fn has_below(&self, start: &str) -> bool {
        self.tensors.range(start.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(start))
    }

    /// A hyper-parameter.
    pub fn hyper_parameter(&self, name: &str) -> Option<&Json> {
        self.hyper_parameters?.get(name)
    }
}
