//! What `torch.save` writes, in miniature: a pickle of protocol 2 and stored ZIP entries, sound or with a defect.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
    path::Path,
};

use clay_probe::probe::weights::{Options, open};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// What stands under a key of the state dict.
#[derive(Clone)]
pub enum Item {
    Tensor(Tensor),
    Text(&'static str),
}

/// A view of storage number `storage`.
#[derive(Clone)]
pub struct Tensor {
    pub storage: usize,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub stride: Vec<i64>,
}

/// A checkpoint to be written.
#[derive(Clone, Default)]
pub struct Save {
    pub top: &'static str,
    pub items: Vec<(String, Item)>,
    /// Class, elements as declared, bytes; no bytes: the entry is left out.
    pub storages: Vec<(&'static str, i64, Option<Vec<u8>>)>,
    /// Pickled keys and values of the top dictionary beside the state dict.
    pub extra: Vec<u8>,
    /// Written as it is instead of the state dict; `None`: no such key.
    pub state_dict: Option<Vec<u8>>,
    pub without_state_dict: bool,
    /// A state dict alone, without the dictionary around it.
    pub bare: bool,
}

pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub fn int(n: i64) -> Vec<u8> {
    match i32::try_from(n) {
        Ok(n) => [b"J", &n.to_le_bytes()[..]].concat(),
        Err(_) => [&[0x8a, 8], &n.to_le_bytes()[..]].concat(),
    }
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn call(module: &str, name: &str, args: &[Vec<u8>]) -> Vec<u8> {
    [global(module, name), tuple(args), b"R".to_vec()].concat()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), items.concat(), b"t".to_vec()].concat()
}

fn ints(items: &[i64]) -> Vec<u8> {
    tuple(&items.iter().map(|&n| int(n)).collect::<Vec<_>>())
}

/// Row-major strides.
pub fn strides(shape: &[i64]) -> Vec<i64> {
    (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect()
}

impl Save {
    /// The encoder of a sound file, under the prefix and with the extras of a Lightning checkpoint.
    pub fn like(path: &Path) -> Self {
        let mut checkpoint = open(path, &Options::default()).unwrap();
        let mut save = Self { top: "archive", ..Self::default() };
        for (key, value) in [("epoch", int(1)), ("global_step", int(4)), ("pytorch-lightning_version", text("2.1.4"))] {
            save.extra.extend([text(key), value].concat());
        }
        for (name, info) in checkpoint.tensors().clone() {
            let values = checkpoint.read_f32(&name).unwrap();
            save.insert(&format!("model.encoder.{name}"), &info.shape, "FloatStorage", f32_bytes(&values));
        }
        save
    }

    /// Adds or replaces a tensor, with a storage of its own.
    pub fn insert(&mut self, key: &str, shape: &[usize], class: &'static str, bytes: Vec<u8>) {
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let elements = shape.iter().product();
        let tensor = Tensor { storage: self.storages.len(), offset: 0, stride: strides(&shape), shape };
        self.storages.push((class, elements, Some(bytes)));
        self.set(key, Item::Tensor(tensor));
    }

    pub fn set(&mut self, key: &str, item: Item) {
        self.items.retain(|(k, _)| k != key);
        self.items.push((key.to_owned(), item));
    }

    pub fn remove(&mut self, part: &str) {
        self.items.retain(|(key, _)| !key.contains(part));
    }

    pub fn rename(&mut self, rename: impl Fn(&str) -> String) {
        self.items.iter_mut().for_each(|(key, _)| *key = rename(key));
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        let key = format!("model.encoder.{name}");
        match self.items.iter_mut().find(|(k, _)| *k == key) {
            Some((_, Item::Tensor(tensor))) => tensor,
            _ => panic!("no tensor {key}"),
        }
    }

    /// The storage of a tensor.
    pub fn storage(&mut self, name: &str) -> &mut (&'static str, i64, Option<Vec<u8>>) {
        let at = self.tensor(name).storage;
        &mut self.storages[at]
    }

    fn pickled_tensor(&self, tensor: &Tensor) -> Vec<u8> {
        let (class, elements, _) = &self.storages[tensor.storage];
        let number = tensor.storage.to_string();
        let id = [text("storage"), global("torch", class), text(&number), text("cuda:0"), int(*elements)];
        let storage = [tuple(&id), b"Q".to_vec()].concat();
        let hooks = call("collections", "OrderedDict", &[]);
        let view = [storage, int(tensor.offset), ints(&tensor.shape), ints(&tensor.stride), vec![0x89], hooks];
        call("torch._utils", "_rebuild_tensor_v2", &view)
    }

    /// Adds values to the top dictionary that no state dict holds, as an optimizer's moments are.
    pub fn insert_moments(&mut self, values: &[f32]) {
        let (storage, shape) = (self.storages.len(), vec![values.len() as i64]);
        self.storages.push(("FloatStorage", values.len() as i64, Some(f32_bytes(values))));
        let moments = self.pickled_tensor(&Tensor { storage, offset: 0, stride: strides(&shape), shape });
        self.extra.extend([text("optimizer_states"), b"(".to_vec(), moments, b"l".to_vec()].concat());
    }

    /// Sets the trainer's hyper-parameters: keys with pickled values.
    pub fn hyper_parameters(&mut self, items: &[(&str, Vec<u8>)]) {
        let items: Vec<u8> = items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
        self.extra.extend([text("hyper_parameters"), b"}(".to_vec(), items, b"u".to_vec()].concat());
    }

    fn pickled_state_dict(&self) -> Vec<u8> {
        let mut out = [call("collections", "OrderedDict", &[]), b"(".to_vec()].concat();
        for (key, item) in &self.items {
            out.extend(text(key));
            out.extend(match item {
                Item::Text(value) => text(value),
                Item::Tensor(tensor) => self.pickled_tensor(tensor),
            });
        }
        out.push(b'u');
        // `_metadata`, an attribute of the ordered dictionary.
        [out, b"}".to_vec(), text("_metadata"), b"}s".to_vec(), b"b".to_vec()].concat()
    }

    pub fn pickle(&self) -> Vec<u8> {
        let state_dict = self.state_dict.clone().unwrap_or_else(|| self.pickled_state_dict());
        if self.bare {
            return [vec![0x80, 2], state_dict, b".".to_vec()].concat();
        }
        let state = if self.without_state_dict { Vec::new() } else { [text("state_dict"), state_dict].concat() };
        [b"\x80\x02}(".to_vec(), self.extra.clone(), state, b"u.".to_vec()].concat()
    }

    /// The file, with another pickle than its own.
    pub fn with_pickle(&self, pickle: &[u8]) -> Vec<u8> {
        let mut entries =
            BTreeMap::from([("data.pkl".to_owned(), pickle.to_vec()), ("version".into(), b"3\n".to_vec())]);
        for (number, (_, _, bytes)) in self.storages.iter().enumerate() {
            entries.extend(bytes.clone().map(|bytes| (format!("data/{number}"), bytes)));
        }
        zip(self.top, entries, false)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.with_pickle(&self.pickle())
    }
}

/// A ZIP of stored entries below a top folder; `large` makes every entry a ZIP64 one.
pub fn zip(top: &str, entries: BTreeMap<String, Vec<u8>>, large: bool) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
        zip.start_file(format!("{top}/{name}"), options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
