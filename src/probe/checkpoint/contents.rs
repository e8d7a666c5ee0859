//! A checkpoint's contents as its container tells them: names, views of tensors, plain values. Nothing is proven yet,
//! and no family of encoders is known here.

use std::collections::BTreeMap;

use super::view::View;
use crate::domain::{Epoch, Format, Reason, ValueSource};

/// What a container holds.
pub(in crate::probe) struct Contents {
    pub format: Format,
    pub epoch: Option<(Epoch, ValueSource)>,
    pub global_step: Option<(u64, ValueSource)>,
    /// What else the file says of itself, cut to plain values of some length.
    pub about: serde_json::Value,
    /// The trainer's `hyper_parameters`, where they are a dictionary; its plain values.
    pub hyper_parameters: Option<serde_json::Value>,
    /// Of a safetensors file its `__metadata__`, uncut.
    pub metadata: BTreeMap<String, String>,
    /// The state dict in file order.
    pub entries: Vec<(String, Entry)>,
}

/// What stands under one key of the state dict.
pub(in crate::probe) enum Entry {
    Tensor(View),
    /// A tensor that cannot be read, and why.
    Broken(Reason, String),
    /// No tensor, but this: `a string`.
    Other(&'static str),
}
