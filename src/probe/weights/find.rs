//! The encoder of a file, sound or not: its entries taken out of the state dict and held against the specification.

use std::{collections::BTreeMap, path::Path};

use super::{Options, facts, proof, refusal_of};
use crate::{
    domain::{EncoderFacts, Epoch, Family, Format, Reason, TensorCounts, ValueSource},
    probe::{
        checkpoint::{CheckpointError, Container, Contents, Entry, Result, View},
        encoder::{
            Evidence,
            keys::{Problems, Stored},
            recognise::{self, Recognised},
        },
    },
};

/// How many times its own size the tensors of a file may add up to.
const MAX_OVERLAP: u64 = 8;

/// What was found.
pub(super) struct Found {
    pub format: Format,
    pub epoch: Option<(Epoch, ValueSource)>,
    pub global_step: Option<(u64, ValueSource)>,
    pub about: serde_json::Value,
    family: Family,
    /// As soon as the size can be inferred, also when there are problems.
    pub facts: Option<EncoderFacts>,
    problems: Problems,
    /// The encoder's tensors by name.
    pub views: BTreeMap<String, View>,
    /// The first tensor whose bytes are not there.
    broken: Option<(Reason, String)>,
}

impl Found {
    /// Finds the encoder; refuses a file in which there is none or not one, or that says what cannot be.
    pub fn find(container: &Container, contents: Contents, options: &Options) -> Result<Self> {
        let path = container.file().path();
        let Contents { format, epoch, global_step, about, hyper_parameters, metadata, entries } = contents;
        let names: Vec<String> = entries.iter().map(|(key, _)| recognise::unwrapped(key)).collect();
        let evidence = Evidence {
            tensors: names.iter().cloned().zip(entries.iter().map(|(_, entry)| shape(entry))).collect(),
            hyper_parameters: hyper_parameters.as_ref(),
            metadata,
            file_name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        // A pin holds the one encoder that was chosen, under plain names.
        let chosen = if facts::is_pin(&evidence) { "" } else { options.prefix.as_str() };
        let recognised = recognise::recognise(&evidence, chosen).map_err(|e| facts::unrecognised(path, &e))?;
        let Split { own, unused, foreign } = Split::of(path, &recognised, names, entries)?;

        let (mut found, mut views, mut broken) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, entry) in own {
            match entry {
                Entry::Tensor(view) => {
                    found.insert(name.clone(), Stored::Tensor(view.info()));
                    views.insert(name, view);
                }
                Entry::Other(what) => {
                    found.insert(name, Stored::Other(what));
                }
                Entry::Broken(reason, what) => broken.push((reason, format!("cannot read `{name}`: {what}"))),
            }
        }
        let (size, problems) = recognise::check(recognised.family, &found);
        // Views may overlap, but a file does not become many times larger by it.
        let bytes = views.values().fold(0u64, |sum, view| sum.saturating_add(view.bytes()));
        if bytes > container.file().size().saturating_mul(MAX_OVERLAP) {
            broken.push((Reason::WrongShape, format!("declares {bytes} bytes of tensors, far more than it has")));
        }
        let loaded = (found.len() - problems.unexpected.len()) as u64;
        let facts = match size {
            Some(size) => {
                let counts = TensorCounts { loaded, needed: size.tensors, unused, foreign };
                Some(facts::of(path, &evidence, &recognised, size, counts, options)?)
            }
            None => None,
        };
        let (family, broken) = (recognised.family, broken.into_iter().next());
        Ok(Self { format, epoch, global_step, about, family, facts, problems, views, broken })
    }

    /// Where names, shapes or dtypes are wrong, notes also which tensors are not finite, so that one message tells
    /// all; a sound set is left to the one pass over its tensors that digests them.
    pub fn with_non_finite(mut self, container: &mut Container) -> Self {
        if self.broken.is_none() && self.problems.reason().is_some() {
            // A read that fails here is less telling than the problem that is known.
            if let Ok(proof) = proof::read_all(container, &self.views, |_, _| Ok(())) {
                self.problems.non_finite = proof.non_finite;
            }
        }
        self
    }

    /// What is known of the encoder, or why its set of tensors is refused. Bytes that are not there come first: the rest
    /// may be their fault.
    pub fn facts_or_refusal(&self, path: &Path) -> Result<EncoderFacts> {
        let family = self.family.title();
        match (&self.broken, &self.facts) {
            (Some((Reason::Truncated, what)), _) => Err(CheckpointError::later(Reason::Truncated, path, what)),
            (Some((reason, what)), _) => Err(CheckpointError::refuse(*reason, path, what)),
            (None, Some(facts)) if self.problems.reason().is_none() => Ok(facts.clone()),
            (None, _) if self.problems.reason().is_some() => {
                let refusal = refusal_of(path, &self.problems);
                let what = format!("holds an encoder of {family} that {}", self.problems);
                Err(CheckpointError { hint: refusal.hint, ..CheckpointError::refuse(refusal.reason, path, what) })
            }
            // The check names what the sizes are inferred from; kept for the type's sake.
            (None, _) => {
                let what = format!("does not tell the size of its encoder of {family}");
                Err(CheckpointError::refuse(Reason::WrongShape, path, what))
            }
        }
    }
}

/// The state dict, split at the encoder's prefix.
struct Split {
    own: BTreeMap<String, Entry>,
    /// Buffers below the prefix that are of no use.
    unused: u64,
    foreign: u64,
}

impl Split {
    /// Refuses keys that coincide without their wrappers (`duplicate-tensor`).
    fn of(path: &Path, recognised: &Recognised, names: Vec<String>, entries: Vec<(String, Entry)>) -> Result<Self> {
        let mut own: BTreeMap<String, (String, Entry)> = BTreeMap::new();
        let (mut unused, mut foreign, mut twice) = (0, 0, Vec::new());
        for (full, (key, entry)) in names.into_iter().zip(entries) {
            let name = full.strip_prefix(&recognised.prefix).filter(|_| !recognised.is_nested(&full));
            match name {
                None if matches!(entry, Entry::Other(_)) => {}
                None => foreign += 1,
                Some(name) if recognise::is_buffer(recognised.family, name) => unused += 1,
                Some(name) => {
                    if let Some((first, _)) = own.insert(name.to_owned(), (key.clone(), entry)) {
                        twice.push(format!("`{name}` (as `{}` and `{}`)", first.escape_debug(), key.escape_debug()));
                    }
                }
            }
        }
        if !twice.is_empty() {
            twice.truncate(20);
            let what = format!("holds tensors twice: {}", twice.join(", "));
            return Err(CheckpointError::refuse(Reason::DuplicateTensor, path, what));
        }
        Ok(Self { own: own.into_iter().map(|(name, (_, entry))| (name, entry)).collect(), unused, foreign })
    }
}

fn shape(entry: &Entry) -> Vec<usize> {
    match entry {
        Entry::Tensor(view) => view.shape.clone(),
        Entry::Broken(..) | Entry::Other(_) => Vec::new(),
    }
}
