//! What a pickle holds, in an arena: values refer to each other by number.
//!
//! An arena gives the memo Python's meaning (a dictionary that is shared and filled later is one dictionary), makes
//! cycles harmless, and neither reading nor dropping a deep nest recurses.

use serde_json::{Number, Value as Json};

use super::{dtype::Dtype, globals::Global};

/// The number of a value in its [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

/// A value of a pickle.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Box<str>),
    List(Vec<Id>),
    Tuple(Box<[Id]>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Box<Tensor>),
    /// Something harmless that is not looked into.
    Opaque,
}

/// A storage that a pickle refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub dtype: Dtype,
    /// A [`Value::Str`]: the entry below `data/`.
    pub key: Id,
    /// Declared number of elements.
    pub elements: u64,
}

/// A view of a storage; all numbers in elements.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub stride: Vec<u64>,
}

/// The most values and references one pickle may make.
pub(super) const MAX_VALUES: usize = 4_000_000;

/// All values of a pickle.
#[derive(Debug, Default)]
pub(super) struct Arena {
    values: Vec<Value>,
    /// Values and references made so far, copies included.
    spent: usize,
}

impl Arena {
    /// Keeps a value; none once [`MAX_VALUES`] is spent.
    pub fn add(&mut self, value: Value) -> Option<Id> {
        self.spend(1 + value.references())?;
        // `MAX_VALUES` fits.
        let id = Id(self.values.len() as u32);
        self.values.push(value);
        Some(id)
    }

    /// Counts `n` references against the bound.
    pub fn spend(&mut self, n: usize) -> Option<()> {
        self.spent = self.spent.checked_add(n).filter(|&spent| spent <= MAX_VALUES)?;
        Some(())
    }

    pub fn get(&self, id: Id) -> &Value {
        // Ids are made by `add` alone and values are never removed.
        &self.values[id.0 as usize]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    pub fn str(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::List(items) => Some(items),
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key that is text; the last one, as in Python, if it stands there twice.
    pub fn lookup(&self, dict: &[(Id, Id)], key: &str) -> Option<Id> {
        dict.iter().rev().find(|(k, _)| self.str(*k) == Some(key)).map(|&(_, value)| value)
    }

    /// The plain part of a value as JSON (numbers, text, lists, dictionaries), cut at some depth and length.
    pub fn json(&self, id: Id) -> Option<Json> {
        self.json_within(id, 6, &mut 2_000)
    }

    fn json_within(&self, id: Id, depth: usize, left: &mut usize) -> Option<Json> {
        *left = left.checked_sub(1)?;
        let deeper = depth.checked_sub(1);
        Some(match self.get(id) {
            Value::None => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => Json::from(*n),
            Value::Float(x) => Number::from_f64(*x).map_or_else(|| Json::String(x.to_string()), Json::Number),
            Value::Str(text) => Json::String(text.chars().take(1_000).collect()),
            Value::List(items) => {
                items.iter().take(1_000).filter_map(|&i| self.json_within(i, deeper?, left)).collect()
            }
            Value::Tuple(items) => {
                items.iter().take(1_000).filter_map(|&i| self.json_within(i, deeper?, left)).collect()
            }
            Value::Dict(items) => {
                let deeper = deeper?;
                let mut object = serde_json::Map::new();
                for &(key, value) in items.iter().take(1_000) {
                    let key = match self.get(key) {
                        Value::Str(text) => text.chars().take(200).collect(),
                        Value::Int(n) => n.to_string(),
                        _ => continue,
                    };
                    if let Some(value) = self.json_within(value, deeper, left) {
                        object.insert(key, value);
                    }
                }
                Json::Object(object)
            }
            Value::Global(_) | Value::Storage(_) | Value::Tensor(_) | Value::Opaque => return None,
        })
    }
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "`None`",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Str(_) => "a string",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a class",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Opaque => "an opaque object",
        }
    }

    fn references(&self) -> usize {
        match self {
            Self::List(items) => items.len(),
            Self::Tuple(items) => items.len(),
            Self::Dict(items) => items.len(),
            Self::Tensor(tensor) => tensor.shape.len() + tensor.stride.len(),
            Self::Str(text) => text.len() / 32,
            _ => 0,
        }
    }
}
