//! What an encoder is given of a data set's chips: resolved once from settings, encoder and data set, before any pixel.

use super::{
    ProbeError,
    chips::ChipError,
    encoder::{InputPlan, clay_v0, clay_v1},
};
use crate::{
    config,
    domain::{Band, DatasetSummary, EncoderFacts, Family, Input, InputMetadata, Level, Preparation, Reason},
};

/// The preparation, and the values behind its digest of statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub preparation: Preparation,
    /// Empty for a family whose statistics are its own.
    pub metadata: InputMetadata,
}

impl Resolved {
    /// What an encoder is loaded for.
    pub fn plan(&self, settings: &config::Probe) -> InputPlan {
        let (inputs, metadata) = (self.preparation.inputs.clone(), self.metadata.clone());
        InputPlan { inputs, metadata, clouds: settings.clouds, latlon: settings.latlon }
    }
}

/// Resolves what decides the features of `dataset` under an encoder.
///
/// `metadata` is the file of `probe.metadata`, read; else what the checkpoint tells holds, else what is built in.
///
/// # Errors
/// `inputs`: the chips lack what the encoder takes, or `probe.inputs` asks for what its metadata lacks.
pub fn resolve(
    settings: &config::Probe,
    encoder: &EncoderFacts,
    metadata: Option<InputMetadata>,
    dataset: &DatasetSummary,
) -> Result<Resolved, ProbeError> {
    let (inputs, metadata, bands) = match encoder.family {
        Family::ClayV0 => {
            let none = InputMetadata { source: "built in, of Clay v0".to_owned(), inputs: Default::default() };
            (Vec::new(), none, clay_v0::BANDS.to_vec())
        }
        Family::ClayV1 => {
            let own = || encoder.metadata.clone().unwrap_or_else(|| clay_v1::built_in(encoder.generation));
            let metadata = metadata.unwrap_or_else(own);
            let inputs = inputs(settings, &metadata, dataset)?;
            let bands = inputs.iter().flat_map(|input| input.bands()).copied().collect();
            (inputs, metadata, bands)
        }
    };
    let statistics = match encoder.family {
        Family::ClayV0 => clay_v0::statistics_digest(),
        Family::ClayV1 => metadata.digest(),
    };
    let optical = bands.iter().any(|band: &Band| band.is_optical());
    let levels: Vec<Level> = if optical { dataset.levels.clone() } else { Vec::new() };
    let preparation = Preparation {
        revision: 1,
        family: encoder.family,
        generation: encoder.generation,
        inputs,
        statistics,
        clouds: settings.clouds.as_str().to_owned(),
        latlon: settings.latlon.as_str().to_owned(),
        levels,
        filled: bands.into_iter().filter(|band| !dataset.bands.contains(band)).collect(),
        precision: "f32".to_owned(),
    };
    Ok(Resolved { preparation, metadata })
}

/// What was asked for; else all inputs whose bands every chip has.
fn inputs(
    settings: &config::Probe,
    metadata: &InputMetadata,
    dataset: &DatasetSummary,
) -> Result<Vec<Input>, ProbeError> {
    let wrong = |message: String, hint: &str| ProbeError::from(ChipError::new(Reason::Inputs, message).with_hint(hint));
    let all = |input: &&Input| input.bands().iter().all(|band| dataset.bands.contains(band));
    let known = |input: &Input| metadata.inputs.contains_key(input);
    if let Some(input) = settings.inputs.iter().find(|input| !known(input)) {
        let message = format!("`probe.inputs` asks for `{input}`, of which {} tells nothing", metadata.source);
        return Err(wrong(message, "add it to `probe.metadata`"));
    }
    if !settings.inputs.is_empty() {
        return Ok(settings.inputs.clone());
    }
    let there: Vec<Input> = Input::ALL.iter().filter(all).copied().filter(known).collect();
    if there.is_empty() {
        let message = "no input of Clay v1 has all its bands in every chip".to_owned();
        return Err(wrong(message, "set `probe.inputs`: what a chip lacks is then 0 after normalisation"));
    }
    Ok(there)
}
