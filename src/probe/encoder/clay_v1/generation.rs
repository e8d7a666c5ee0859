//! Which release of Clay v1 a file is of: v1.0 takes radar in linear power, v1.5 in dB, and the encoder's tensors are the
//! same. The rest of the file's directory tells (the specification of Clay v1, "Which keys tell ..."), strongest first.

use super::super::{evidence::Evidence, keys::Size};
use crate::domain::Generation::{self, V1_0, V1_5};

/// The generation, and what told it, in words.
///
/// `prefix` is the encoder's; teacher, projection and decoder are looked for beside it.
pub fn told(evidence: &Evidence, prefix: &str, size: &Size) -> (Generation, String) {
    let by = by_hyper_parameters(evidence)
        .or_else(|| by_parts(evidence, prefix))
        .or_else(|| by_decoder(evidence, prefix))
        .or_else(|| by_name(evidence))
        .or_else(|| by_size(size));
    by.unwrap_or_else(|| (V1_5, "nothing in the file: taken for the current one".to_owned()))
}

fn by_hyper_parameters(evidence: &Evidence) -> Option<(Generation, String)> {
    for key in ["dolls", "doll_weights"] {
        if evidence.hyper_parameter(key).is_some() {
            return Some((V1_5, format!("`hyper_parameters.{key}` is there")));
        }
    }
    let there = evidence.hyper_parameters?.as_object().is_some_and(|object| !object.is_empty());
    // A finetuning has hyper-parameters of its own, whichever encoder it started from.
    let finetuned = ["ckpt_path", "num_classes"].into_iter().any(|key| evidence.hyper_parameter(key).is_some());
    (there && !finetuned).then(|| (V1_0, "`hyper_parameters` are there without `dolls`".to_owned()))
}

/// Where the parts beside the encoder may lie: `model.` for `model.encoder.`, else Lightning's own.
fn beside(prefix: &str) -> Vec<String> {
    let parent =
        prefix.trim_end_matches('.').rsplit_once('.').map_or(String::new(), |(parent, _)| format!("{parent}."));
    let mut places = vec![parent, "model.".to_owned()];
    places.dedup();
    places
}

fn by_parts(evidence: &Evidence, prefix: &str) -> Option<(Generation, String)> {
    for base in beside(prefix) {
        for name in ["teacher.reg_token", "teacher.blocks.0.ls1.gamma"].map(|name| format!("{base}{name}")) {
            if evidence.shape(&name).is_some() {
                return Some((V1_5, format!("`{name}`, of a DINOv2 teacher, is there")));
            }
        }
        let name = format!("{base}teacher.pos_embed");
        if evidence.shape(&name) == Some(&[1, 197, 768]) {
            return Some((V1_0, format!("`{name}` is [1, 197, 768], of a DINO ViT-B/16 teacher")));
        }
        let name = format!("{base}proj.weight");
        let generation = match evidence.shape(&name) {
            Some(&[1024, _]) => Some((V1_5, 1024)),
            Some(&[768, _]) => Some((V1_0, 768)),
            _ => None,
        };
        if let Some((generation, rows)) = generation {
            return Some((generation, format!("`{name}` has {rows} rows")));
        }
    }
    None
}

fn by_decoder(evidence: &Evidence, prefix: &str) -> Option<(Generation, String)> {
    beside(prefix).into_iter().find_map(|base| {
        let layers = format!("{base}decoder.transformer.layers.");
        let rows = evidence.shape(&format!("{layers}0.0.to_qkv.weight"))?.first().copied()?;
        let depth = (0..8).take_while(|i| evidence.has_below(&format!("{layers}{i}."))).count();
        match (depth, rows) {
            (6, 1152) => Some((V1_0, "its decoder has 6 layers of 6 heads".to_owned())),
            (4, 768) => Some((V1_5, "its decoder has 4 layers of 4 heads".to_owned())),
            _ => None,
        }
    })
}

/// `v1.5.`, `v1.0.` or `v0.5.7` (the v1.0 release is an epoch of a run called so) in the file's name, or in the name of
/// the file that a finetuning started from.
fn by_name(evidence: &Evidence) -> Option<(Generation, String)> {
    let start = evidence.hyper_parameter("ckpt_path").and_then(|path| path.as_str()).unwrap_or_default();
    let start = start.rsplit('/').next().unwrap_or_default();
    [evidence.file_name.as_str(), start].into_iter().find_map(|name| {
        let versions = [("v1.5", V1_5), ("v1.0", V1_0), ("v0.5.7", V1_0)];
        let (word, generation) = versions.into_iter().find(|(word, _)| has_version(name, word))?;
        Some((generation, format!("`{word}` is in the name `{}`", name.escape_debug())))
    })
}

/// Whether a version stands in a name and does not go on (`v1.0` in `v1.05`).
fn has_version(name: &str, version: &str) -> bool {
    let name = name.to_lowercase();
    name.match_indices(version).any(|(at, _)| !name[at + version.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

fn by_size(size: &Size) -> Option<(Generation, String)> {
    match (size.dim, size.depth) {
        (768, 12) => Some((V1_0, "its size, that of the release of v1.0".to_owned())),
        (1024, 24) => Some((V1_5, "its size, that of the release of v1.5".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SIZE: Size =
        Size { dim: 32, depth: 2, heads: 2, dim_head: 64, mlp_dim: 64, patch_size: 8, parameters: 0, tensors: 45 };

    fn with(tensors: &[(&str, &[usize])]) -> Evidence<'static> {
        let tensors = tensors.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect();
        Evidence { tensors, ..Evidence::default() }
    }

    fn decoder(layers: usize, rows: usize) -> Evidence<'static> {
        let name = |i| format!("model.decoder.transformer.layers.{i}.0.to_qkv.weight");
        Evidence { tensors: (0..layers).map(|i| (name(i), vec![rows, 384])).collect(), ..Evidence::default() }
    }

    fn named(name: &str) -> Evidence<'static> {
        Evidence { file_name: name.to_owned(), ..Evidence::default() }
    }

    #[test]
    fn each_sign_alone() {
        let signs = [
            (with(&[("model.teacher.reg_token", &[1, 4, 1024])]), V1_5, "model.teacher.reg_token"),
            (with(&[("model.teacher.blocks.0.ls1.gamma", &[1024])]), V1_5, "ls1.gamma"),
            (with(&[("model.proj.weight", &[1024, 32])]), V1_5, "1024 rows"),
            (with(&[("model.teacher.pos_embed", &[1, 197, 768])]), V1_0, "pos_embed"),
            (with(&[("model.proj.weight", &[768, 32])]), V1_0, "768 rows"),
            (decoder(6, 1152), V1_0, "6 layers"),
            (decoder(4, 768), V1_5, "4 layers"),
            (named("mae_v1.5.0_epoch-07_val-loss-0.2932.ckpt"), V1_5, "v1.5"),
            (named("clay_v1.5_d32.safetensors"), V1_5, "v1.5"),
            (named("mae_v1.0.0_epoch-01.ckpt"), V1_0, "v1.0"),
            (named("mae_v0.5.7_epoch-13_val-loss-0.3098.ckpt"), V1_0, "v0.5.7"),
            // Nothing: other rows, another decoder, other versions.
            (with(&[("model.proj.weight", &[8, 32]), ("model.teacher.head.weight", &[8, 3])]), V1_5, "nothing"),
            (decoder(1, 48), V1_5, "nothing"),
            (named("run-v1.05.ckpt"), V1_5, "nothing"),
        ];
        for (evidence, generation, by) in signs {
            let (told, words) = told(&evidence, "model.encoder.", &SIZE);
            assert_eq!(told, generation, "{words}");
            assert!(words.contains(by), "`{by}` is not in `{words}`");
        }
        let base = Size { dim: 768, depth: 12, ..SIZE };
        assert_eq!(told(&named("last.ckpt"), "", &base).0, V1_0);
        let large = Size { dim: 1024, depth: 24, ..SIZE };
        assert_eq!(told(&named("last.ckpt"), "", &large).0, V1_5);
    }

    #[test]
    fn the_strongest_sign_decides() {
        let (new, old) = (json!({"dolls": [16], "mask_ratio": 0.75}), json!({"mask_ratio": 0.75}));
        let with_v1_0 = with(&[("model.teacher.pos_embed", &[1, 197, 768])]);
        let evidence = Evidence { hyper_parameters: Some(&new), ..with_v1_0 };
        assert_eq!(told(&evidence, "model.encoder.", &SIZE).0, V1_5);
        let evidence = Evidence { hyper_parameters: Some(&old), file_name: "mae_v1.5.0.ckpt".into(), ..evidence };
        assert_eq!(told(&evidence, "model.encoder.", &SIZE).0, V1_0);
        // The teacher before the decoder, the decoder before the name, the name before the size.
        let mut evidence = decoder(6, 1152);
        evidence.file_name = "mae_v1.5.0.ckpt".into();
        assert_eq!(told(&evidence, "model.encoder.", &SIZE).0, V1_0);
        evidence.tensors.insert("model.teacher.reg_token".into(), vec![1, 4, 1024]);
        assert_eq!(told(&evidence, "model.encoder.", &SIZE).0, V1_5);
        let base = Size { dim: 768, depth: 12, ..SIZE };
        assert_eq!(told(&named("clay-v1.5.ckpt"), "", &base).0, V1_5);
    }

    #[test]
    fn a_finetuning_tells_by_the_file_it_started_from() {
        let own = json!({"num_classes": 7, "ckpt_path": "checkpoints/mae_v1.0.0_epoch-09.ckpt", "lr": 1e-5});
        let evidence = Evidence { hyper_parameters: Some(&own), ..named("chesapeake-7class-segment_epoch-05.ckpt") };
        let (generation, words) = told(&evidence, "model.encoder.", &SIZE);
        assert_eq!((generation, words.contains("mae_v1.0.0_epoch-09.ckpt")), (V1_0, true), "{words}");
        let own = json!({"num_classes": 7, "lr": 1e-5});
        let evidence = Evidence { hyper_parameters: Some(&own), ..named("segment.ckpt") };
        assert_eq!(told(&evidence, "model.encoder.", &SIZE), (V1_5, told(&named(""), "", &SIZE).1));
    }
}
