//! Features of chips, and given tensors through the encoder, to a file.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};

use super::{
    ProbeError,
    chips::Dataset,
    encoder::{Embedded, Encoder, EncoderError},
};
use crate::domain::{Progress, Stage};

/// Writes to `out` one `decoder_input` `[C, h, w]` per chip, named by the chip's path, from features `[h*w, C]` in the
/// data set's order; the number of chips.
pub fn embed_dataset(dataset: &Dataset, features: &[Tensor], patch: usize, out: &Path) -> Result<u64, ProbeError> {
    let mut named = HashMap::new();
    for (chip, rows) in dataset.chips().iter().zip(features) {
        named.insert(chip.path.clone(), to_map(rows, chip.side as usize / patch)?.to_device(&Device::Cpu)?);
    }
    write(&named, out)?;
    Ok(named.len() as u64)
}

/// Features `[h*w, C]` as the map that a decoder takes, `[C, h, w]`; `grid` patches per side.
pub(super) fn to_map(features: &Tensor, grid: usize) -> candle_core::Result<Tensor> {
    features.t()?.contiguous()?.reshape((features.dim(1)?, grid, grid))
}

/// Tensors of one row per image; what else a file holds is the same for all of them.
const PER_IMAGE: [&str; 4] = ["pixels", "latlon", "time", "timestep"];

/// `tokens` and `decoder_input` of what `input` holds (see [`Encoder::embed`]), written to `out`; the number of images.
pub fn embed_tensors(
    encoder: &dyn Encoder,
    input: &Path,
    pool: &rayon::ThreadPool,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, ProbeError> {
    let bytes = std::fs::read(input).map_err(ProbeError::io(input))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|e| ProbeError::Input(format!("`{}` is not a safetensors file: {e}", input.display())))?;
    drop(bytes);
    let about = |error| match error {
        EncoderError::Input(text) => ProbeError::Input(format!("`{}`: {text}", input.display())),
        other => other.into(),
    };
    let (images, side) = match tensors.get("pixels").map(Tensor::dims) {
        Some(&[images, _, _, side]) => (images, side),
        // The encoder says what is wrong with it.
        _ => (1, 1),
    };
    let pass = encoder.chips_per_pass(side);
    let mut parts = Vec::new();
    for start in (0..images.max(1)).step_by(pass) {
        let part = |(name, tensor): (&String, &Tensor)| {
            let rows = PER_IMAGE.contains(&name.as_str()) && tensor.dims().first() == Some(&images) && images > 0;
            let tensor = if rows { tensor.narrow(0, start, pass.min(images - start))? } else { tensor.clone() };
            Ok((name.clone(), tensor))
        };
        let part = tensors.iter().map(part).collect::<Result<HashMap<_, _>, candle_core::Error>>()?;
        parts.push(pool.install(|| encoder.embed(&part)).map_err(about)?);
        progress(Progress { stage: Stage::Embed, done: (start + pass).min(images) as u64, total: images as u64 });
    }
    let join = |of: fn(&Embedded) -> &Tensor| {
        let parts = parts.iter().map(|part| of(part).to_device(&Device::Cpu)).collect::<Result<Vec<_>, _>>()?;
        Tensor::cat(&parts, 0)
    };
    let (tokens, decoder_input) = (join(|part| &part.tokens)?, join(|part| &part.decoder_input)?);
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
