//! Chips through the encoder, each once.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};

use super::{
    ProbeError,
    chips::{Dataset, encode::BANDS},
    encoder::{Encoder, GROUPS, PATCH, to_grid},
    seed::in_batches,
};
use crate::domain::{ChipRecord, Progress, Stage};

// B chips, L = h*w patches, G band groups, D width.

/// The most tokens of one pass; keeps memory flat, whatever the size of the chips.
const TOKENS: usize = 2048;

/// Chips of one pass for chips of that side.
fn per_pass(side: u32) -> usize {
    let grid = side as usize / PATCH;
    (TOKENS / (GROUPS.len() * grid * grid + 2)).clamp(1, 16)
}

/// Calls `each` with the tokens `[1, G*L+2, D]` of every chip, in passes of equal size; chips come in no set order.
fn encode(
    encoder: &Encoder,
    dataset: &Dataset,
    device: &Device,
    pool: &rayon::ThreadPool,
    progress: &mut dyn FnMut(Progress),
    each: &mut dyn FnMut(usize, Tensor) -> Result<(), ProbeError>,
) -> Result<(), ProbeError> {
    let chips = dataset.chips();
    let sides: Vec<u32> = chips.iter().map(|chip| chip.side).collect();
    let order: Vec<usize> = (0..chips.len()).collect();
    let mut sizes = sides.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let total = chips.len() as u64;
    let mut done = 0;
    progress(Progress { stage: Stage::Embed, done, total });
    for side in sizes {
        let of_size: Vec<usize> = order.iter().copied().filter(|&i| sides[i] == side).collect();
        for batch in in_batches(&of_size, &sides, per_pass(side)) {
            let records: Vec<&ChipRecord> = batch.iter().map(|&i| &chips[i]).collect();
            let s = side as usize;
            let pixels: Vec<f32> = batch.iter().flat_map(|&i| dataset.pixels(i)).copied().collect();
            let pixels = Tensor::from_vec(pixels, (batch.len(), BANDS, s, s), device)?;
            let latlon: Vec<f32> = records.iter().flat_map(|r| r.latlon).collect();
            let latlon = Tensor::from_vec(latlon, (batch.len(), 2), device)?;
            let time: Vec<f32> = records.iter().flat_map(|r| r.timestep).collect();
            let time = Tensor::from_vec(time, (batch.len(), 3), device)?;
            let tokens = pool.install(|| encoder.forward(&pixels, &latlon, &time))?; // [B, G*L+2, D]
            for (row, &i) in batch.iter().enumerate() {
                each(i, tokens.narrow(0, row, 1)?)?;
            }
            done += batch.len() as u64;
            progress(Progress { stage: Stage::Embed, done, total });
        }
    }
    Ok(())
}

/// The features of every chip, `[h*w, G*D]` row by row with channel `g*D + d`, on `device`.
pub fn features(
    encoder: &Encoder,
    dataset: &Dataset,
    device: &Device,
    pool: &rayon::ThreadPool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Tensor>, ProbeError> {
    let mut all: Vec<Option<Tensor>> = vec![None; dataset.chips().len()];
    encode(encoder, dataset, device, pool, progress, &mut |i, tokens| {
        let map = to_grid(&tokens)?.squeeze(0)?; // [G*D, h, w]
        let rows = map.flatten_from(1)?.t()?.contiguous()?; // [h*w, G*D]
        if !rows.sum_all()?.to_scalar::<f32>()?.is_finite() {
            let path = &dataset.chips()[i].path;
            return Err(ProbeError::NotFinite(format!("the embedding of `{path}` is not finite")));
        }
        all[i] = Some(rows);
        Ok(())
    })?;
    Ok(all.into_iter().flatten().collect())
}

/// One `decoder_input` `[G*D, h, w]` per chip, named by the chip's path, written to `out`.
pub fn embed_dataset(
    encoder: &Encoder,
    dataset: &Dataset,
    device: &Device,
    pool: &rayon::ThreadPool,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, ProbeError> {
    let mut named = HashMap::new();
    encode(encoder, dataset, device, pool, progress, &mut |i, tokens| {
        let map = to_grid(&tokens)?.squeeze(0)?.to_device(&Device::Cpu)?;
        named.insert(dataset.chips()[i].path.clone(), map);
        Ok(())
    })?;
    write(&named, out)?;
    Ok(named.len() as u64)
}

/// `tokens` and `decoder_input` of what `input` holds, written to `out`; the number of images.
///
/// `input` holds f32 `pixels` `[B, 13, S, S]` (already normalised), `latlon` `[B, 2]` and `time` or `timestep`
/// `[B, 3]`; other tensors are ignored.
pub fn embed_tensors(
    encoder: &Encoder,
    input: &Path,
    device: &Device,
    pool: &rayon::ThreadPool,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, ProbeError> {
    let bytes = std::fs::read(input).map_err(ProbeError::io(input))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|e| ProbeError::Input(format!("`{}` is not a safetensors file: {e}", input.display())))?;
    drop(bytes);
    let get = |names: &[&str]| {
        let found = names.iter().find_map(|name| tensors.get(*name));
        let missing = || ProbeError::Input(format!("`{}` has no tensor `{}`", input.display(), names.join("` or `")));
        Ok::<_, ProbeError>(found.ok_or_else(missing)?.to_dtype(candle_core::DType::F32)?)
    };
    let (pixels, latlon, time) = (get(&["pixels"])?, get(&["latlon"])?, get(&["time", "timestep"])?);
    let images = pixels.dim(0)?;
    let pass = per_pass(pixels.dims().last().map_or(0, |&side| side as u32));
    let mut tokens = Vec::new();
    for start in (0..images).step_by(pass) {
        let part = |t: &Tensor| t.narrow(0, start, pass.min(images - start))?.to_device(device);
        let (pixels, latlon, time) = (part(&pixels)?, part(&latlon)?, part(&time)?);
        tokens.push(pool.install(|| encoder.forward(&pixels, &latlon, &time))?.to_device(&Device::Cpu)?);
        let done = (start + pass).min(images) as u64;
        progress(Progress { stage: Stage::Embed, done, total: images as u64 });
    }
    let tokens = Tensor::cat(&tokens, 0)?; // [B, G*L+2, D]
    let decoder_input = to_grid(&tokens)?; // [B, G*D, h, w]
    write(&HashMap::from([("tokens".to_owned(), tokens), ("decoder_input".to_owned(), decoder_input)]), out)?;
    Ok(images as u64)
}

/// Writes under a temporary name, then renames into place.
pub(super) fn write(tensors: &HashMap<String, Tensor>, out: &Path) -> Result<(), ProbeError> {
    let partial = out.with_extension("safetensors.partial");
    candle_core::safetensors::save(tensors, &partial)
        .map_err(|e| ProbeError::Input(format!("`{}` cannot be written: {e}", partial.display())))?;
    std::fs::rename(&partial, out).map_err(ProbeError::io(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_bounded_by_tokens() {
        assert_eq!((per_pass(64), per_pass(224), per_pass(512)), (16, 6, 1));
    }
}
