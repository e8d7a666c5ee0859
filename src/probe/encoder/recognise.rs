//! Which encoder a file holds: prefix and family by the names of its tensors, generation by all the file shows.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    clay_v0, clay_v1,
    evidence::Evidence,
    keys::{Found, Problems, Size},
};
use crate::domain::{Family, Generation, Reason};

/// What tells one family from others, and holds its tensors against the specification.
struct Known {
    family: Family,
    /// Names of tensors, or starts of names (with a dot at the end), that other networks do not have.
    marks: &'static [&'static str],
    /// Buffers that may stand below the prefix and are of no use.
    buffers: &'static [&'static str],
    check: fn(&Found) -> (Option<Size>, Problems),
    generation: fn(&Evidence, &str, &Size) -> (Generation, String),
}

/// All families. A further one is a line here and a folder of its own.
const FAMILIES: [Known; 2] = [
    Known {
        family: Family::ClayV0,
        marks: clay_v0::keys::MARKS,
        buffers: clay_v0::keys::BUFFERS,
        check: clay_v0::keys::check,
        generation: |_, _, _| (Generation::V0, "its keys".to_owned()),
    },
    Known {
        family: Family::ClayV1,
        marks: clay_v1::keys::MARKS,
        buffers: &[],
        check: clay_v1::keys::check,
        generation: clay_v1::generation::told,
    },
];

fn known(family: Family) -> &'static Known {
    // Every family has its line; a test holds the table against `Family::ALL`.
    FAMILIES.iter().find(|known| known.family == family).unwrap_or(&FAMILIES[0])
}

/// An encoder in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    pub family: Family,
    /// What stands before its tensors' names, wrappers removed: `model.encoder.`, or nothing.
    pub prefix: String,
    /// Prefixes below it that other encoders stand under.
    pub nested: Vec<String>,
}

impl Recognised {
    /// Whether a full name belongs to another encoder.
    pub fn is_nested(&self, name: &str) -> bool {
        self.nested.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// Why no encoder is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrecognised {
    /// No family fits; what was seen instead.
    #[error("holds no encoder of {families}: no name {marks}; {seen}", families = families(), marks = marks())]
    None { seen: String },
    /// Several do, and nothing chooses.
    #[error("holds {} encoders: {}", .found.len(), listed(.found))]
    Several { found: Vec<Recognised> },
    /// `probe.prefix` names none of those that are there.
    #[error("holds no encoder below `{wanted}`, which is `probe.prefix`; there is {}", listed(.found))]
    NotThere { wanted: String, found: Vec<Recognised> },
    /// The file's metadata says what cannot be.
    #[error("says `generation` = `{said}` in its metadata, and holds an encoder of {}", .family.title())]
    Generation { said: String, family: Family },
}

impl Unrecognised {
    pub fn reason(&self) -> Reason {
        match self {
            Self::None { .. } | Self::NotThere { .. } => Reason::NoEncoder,
            Self::Several { .. } => Reason::SeveralEncoders,
            Self::Generation { .. } => Reason::Metadata,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Several { found } | Self::NotThere { found, .. } => {
                let first = shown(&found.first()?.prefix);
                Some(format!("choose one: `probe.prefix = \"{first}\"`"))
            }
            Self::None { .. } | Self::Generation { .. } => None,
        }
    }
}

/// `Clay v0 or Clay v1`.
fn families() -> String {
    FAMILIES.iter().map(|known| known.family.title()).collect::<Vec<_>>().join(" or ")
}

fn marks() -> String {
    let firsts = FAMILIES.iter().map(|known| known.marks[0]);
    firsts
        .map(|mark| if mark.ends_with('.') { format!("`{mark}*`") } else { format!("`{mark}`") })
        .collect::<Vec<_>>()
        .join(" or ")
}

fn listed(found: &[Recognised]) -> String {
    let each = found.iter().take(8).map(|r| format!("`{}` ({})", shown(&r.prefix), r.family.title()));
    each.collect::<Vec<_>>().join(", ")
}

/// A prefix as it is written in `probe.prefix`, where no text means that none is chosen.
fn shown(prefix: &str) -> String {
    if prefix.is_empty() { ".".to_owned() } else { prefix.escape_debug().to_string() }
}

/// A key without the segments that wrappers add, wherever they stand: DDP's `module.`, `torch.compile`'s `_orig_mod.`.
pub fn unwrapped(key: &str) -> String {
    let kept: Vec<&str> = key.split('.').filter(|segment| !matches!(*segment, "module" | "_orig_mod")).collect();
    kept.join(".")
}

/// Finds the encoder; `chosen` is `probe.prefix`, with or without its last dot and with or without wrappers: nothing
/// where the only one is taken, `.` for the names that have no prefix.
pub fn recognise(evidence: &Evidence, chosen: &str) -> Result<Recognised, Unrecognised> {
    let marks = marks_by_prefix(evidence);
    let all: Vec<(Recognised, bool)> = marks.into_iter().map(|(prefix, marks)| candidate(prefix, &marks)).collect();
    let of = |keep: &dyn Fn(&Recognised, bool) -> bool| -> Vec<Recognised> {
        all.iter().filter(|(found, several)| keep(found, *several)).map(|(found, _)| found.clone()).collect()
    };
    let with_nested = |found: Recognised| {
        let below = of(&|other, several| several && other.prefix.len() > found.prefix.len());
        let below = below.into_iter().map(|other| other.prefix).filter(|prefix| prefix.starts_with(&found.prefix));
        Recognised { nested: below.collect(), ..found }
    };
    if !chosen.is_empty() {
        let segments = unwrapped(chosen.trim_matches('.'));
        let wanted = if segments.is_empty() { segments } else { format!("{segments}.") };
        let found = of(&|found, _| found.prefix == wanted);
        return match found.into_iter().next() {
            Some(found) => Ok(with_nested(found)),
            None if all.is_empty() => Err(Unrecognised::None { seen: seen(evidence) }),
            None => Err(Unrecognised::NotThere { wanted: chosen.to_owned(), found: of(&|_, _| true) }),
        };
    }
    let mut found = of(&|_, several| several);
    if found.is_empty() {
        // One mark alone may be chance in another network, unless it stands where encoders stand.
        found = of(&|found, _| found.prefix.is_empty() || found.prefix.ends_with("encoder."));
    }
    match found.as_slice() {
        [] => Err(Unrecognised::None { seen: seen(evidence) }),
        [one] => Ok(with_nested(one.clone())),
        _ => Err(Unrecognised::Several { found }),
    }
}

/// The marks that stand below each prefix, as (family's line, mark).
fn marks_by_prefix<'a>(evidence: &'a Evidence) -> BTreeMap<&'a str, BTreeSet<(usize, usize)>> {
    let mut found = BTreeMap::<&str, BTreeSet<_>>::new();
    let all = || {
        FAMILIES
            .iter()
            .enumerate()
            .flat_map(|(f, known)| known.marks.iter().enumerate().map(move |(m, mark)| ((f, m), *mark)))
    };
    for name in evidence.tensors.keys() {
        for (id, mark) in all() {
            let at = if mark.ends_with('.') {
                name.find(mark)
            } else {
                name.len().checked_sub(mark.len()).filter(|&at| name.get(at..) == Some(mark))
            };
            let Some(prefix) = at.and_then(|at| name.get(..at)) else { continue };
            if prefix.is_empty() || prefix.ends_with('.') {
                found.entry(prefix).or_default().insert(id);
            }
        }
    }
    found
}

/// The family with the largest share of its marks, and whether it has more than one.
fn candidate(prefix: &str, marks: &BTreeSet<(usize, usize)>) -> (Recognised, bool) {
    let count = |line: usize| marks.iter().filter(|(f, _)| *f == line).count();
    // Shares as counts over a common denominator; of equal ones the first line holds.
    let share = |line: usize| count(line) * 60 / FAMILIES[line].marks.len();
    let best = (0..FAMILIES.len()).rev().max_by_key(|&line| share(line)).unwrap_or(0);
    let found = Recognised { family: FAMILIES[best].family, prefix: prefix.to_owned(), nested: Vec::new() };
    (found, count(best) > 1)
}

/// The keys in short, for a message.
fn seen(evidence: &Evidence) -> String {
    let start = |name: &String| {
        let start: Vec<&str> = name.split('.').take(2).collect();
        let start: String = start.join(".").chars().take(60).collect();
        format!("`{}.`", start.escape_debug())
    };
    let mut starts: Vec<String> = evidence.tensors.keys().map(start).collect();
    starts.dedup();
    starts.truncate(6);
    match starts.as_slice() {
        [] => "its state dict is empty".to_owned(),
        starts => format!("its {} keys start with {}", evidence.tensors.len(), starts.join(", ")),
    }
}

/// Whether a name below the prefix is a buffer that is of no use.
pub fn is_buffer(family: Family, name: &str) -> bool {
    known(family).buffers.contains(&name)
}

/// Holds the tensors below the prefix against what the family must have.
pub fn check(family: Family, found: &Found) -> (Option<Size>, Problems) {
    (known(family).check)(found)
}

/// The generation, and what told it; a safetensors file may say it outright, as `generation` in its metadata.
///
/// # Errors
/// [`Unrecognised::Generation`]: it says one that the family does not have.
pub fn generation(evidence: &Evidence, found: &Recognised, size: &Size) -> Result<(Generation, String), Unrecognised> {
    let Some(said) = evidence.metadata.get("generation") else {
        return Ok((known(found.family).generation)(evidence, &found.prefix, size));
    };
    match said.parse::<Generation>() {
        Ok(generation) if generation.family() == found.family => {
            Ok((generation, "`generation` in its metadata".to_owned()))
        }
        _ => Err(Unrecognised::Generation { said: said.chars().take(60).collect(), family: found.family }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V0: [&str; 3] = ["patch_embedding.rgb.proj.weight", "latlon_embedding.weight", "time_embedding.weight"];
    const V1: [&str; 3] =
        ["cls_token", "patch_embedding.weight_generator.fc_weight.weight", "patch_embedding.fclayer.l1.bias"];

    fn file(parts: &[(&str, &[&str])]) -> Evidence<'static> {
        let names = parts.iter().flat_map(|(prefix, names)| names.iter().map(move |name| format!("{prefix}{name}")));
        Evidence { tensors: names.map(|name| (name, vec![1])).collect(), ..Evidence::default() }
    }

    fn of(family: Family, prefix: &str) -> Recognised {
        Recognised { family, prefix: prefix.to_owned(), nested: Vec::new() }
    }

    #[test]
    fn every_family_has_its_line() {
        assert_eq!(FAMILIES.iter().map(|known| known.family).collect::<Vec<_>>(), Family::ALL);
        assert!(FAMILIES.iter().all(|known| 60 % known.marks.len() == 0), "shares are counted in sixtieths");
    }

    #[test]
    fn wrappers_are_stripped_wherever_they_stand() {
        for key in ["module.model.encoder.a.b", "model._orig_mod.encoder.a.b", "_orig_mod.model.module.encoder.a.b"] {
            assert_eq!(unwrapped(key), "model.encoder.a.b");
        }
        assert_eq!(unwrapped("modules.a"), "modules.a");
    }

    #[test]
    fn families_and_prefixes_are_told_by_names() {
        for prefix in ["model.encoder.", "encoder.", "", "net.clay_encoder."] {
            assert_eq!(recognise(&file(&[(prefix, &V0)]), ""), Ok(of(Family::ClayV0, prefix)));
            assert_eq!(recognise(&file(&[(prefix, &V1)]), ""), Ok(of(Family::ClayV1, prefix)));
        }
        // The other parts of a v1 file are no encoders, whatever they have of one.
        let parts = file(&[
            ("model.encoder.", &V1),
            ("model.teacher.", &["cls_token", "pos_embed", "norm.weight"]),
            ("model.decoder.embed_to_pixels.", &["weight_generator.fc_weight.weight", "fclayer.l1.weight"]),
            ("model.", &["proj.weight", "conv1.weight"]),
        ]);
        assert_eq!(recognise(&parts, ""), Ok(of(Family::ClayV1, "model.encoder.")));
        // Clothes of another family do not make one: they are unexpected later.
        assert_eq!(recognise(&file(&[("", &V0), ("", &V1[..1])]), ""), Ok(of(Family::ClayV0, "")));
        assert_eq!(recognise(&file(&[("", &V1), ("", &V0[1..])]), ""), Ok(of(Family::ClayV1, "")));
        assert_eq!(recognise(&file(&[("", &V0), ("", &V1[2..])]), ""), Ok(of(Family::ClayV0, "")));
    }

    #[test]
    fn one_mark_alone_counts_where_encoders_stand() {
        assert_eq!(recognise(&file(&[("model.encoder.", &V1[1..2])]), ""), Ok(of(Family::ClayV1, "model.encoder.")));
        let unet = file(&[("unet.", &V0[2..])]);
        assert_eq!(recognise(&unet, "").unwrap_err().reason(), Reason::NoEncoder);
        assert_eq!(recognise(&unet, "unet"), Ok(of(Family::ClayV0, "unet.")), "unless it was asked for");
        let two = file(&[("unet.encoder.", &V0[2..]), ("model.encoder.", &V0)]);
        assert_eq!(recognise(&two, ""), Ok(of(Family::ClayV0, "model.encoder.")));
    }

    #[test]
    fn several_are_listed_and_a_prefix_chooses() {
        let file = file(&[("model.encoder.", &V1), ("ema.", &V1), ("", &V0)]);
        let error = recognise(&file, "").unwrap_err();
        assert_eq!(error.reason(), Reason::SeveralEncoders);
        insta::assert_snapshot!(error, @"holds 3 encoders: `.` (Clay v0), `ema.` (Clay v1), `model.encoder.` (Clay v1)");
        for (chosen, prefix) in
            [("ema.", "ema."), ("ema", "ema."), ("module.model.encoder", "model.encoder."), (".", "")]
        {
            assert_eq!(recognise(&file, chosen).unwrap().prefix, prefix);
        }
        assert_eq!(recognise(&file, ".").unwrap().nested, ["ema.", "model.encoder."]);
        let error = recognise(&file, "teacher.").unwrap_err();
        assert_eq!(error.reason(), Reason::NoEncoder);
        assert!(error.to_string().contains("`teacher.`") && error.to_string().contains("`ema.`"), "{error}");
        assert!(error.hint().unwrap().contains("probe.prefix"));
    }

    #[test]
    fn what_is_no_encoder_is_named() {
        let resnet = file(&[("features.", &["0.weight", "0.bias", "1.weight"])]);
        insta::assert_snapshot!(recognise(&resnet, "").unwrap_err(), @"holds no encoder of Clay v0 or Clay v1: no name `patch_embedding.rgb.proj.weight` or `patch_embedding.weight_generator.*`; its 3 keys start with `features.0.`, `features.1.`");
        let dino = file(&[("model.", &["cls_token", "pos_embed"])]);
        assert_eq!(recognise(&dino, "").unwrap_err().reason(), Reason::NoEncoder);
        assert!(recognise(&file(&[]), "").unwrap_err().to_string().contains("empty"));
    }
}
