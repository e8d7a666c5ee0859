//! What workers give, made without one: what a checkpoint holds, a data set, a report.

use clay_probe::{
    config::{self, Config},
    domain::{
        ChipRecord, Confusion, CurvePoint, DatasetSummary, Digest, EncoderFacts, Epoch, Family, Fit, Format,
        Generation, HeadName, HeadReport, HeadSettings, Interval, LayoutName, Metric, Metrics, Pinned, Preparation,
        ProbeReport, RunName, Seconds, Seed, SeedScore, Side, TensorCounts, ValueSource, Versions,
    },
};

/// A small encoder.
pub fn encoder() -> EncoderFacts {
    let (dim, depth, heads, dim_head, mlp_dim, patch_size) = (16, 1, 2, 64, 32, 32);
    EncoderFacts {
        family: Family::ClayV0,
        generation: Generation::V0,
        told_by: "its keys".into(),
        dim,
        depth,
        heads,
        dim_head,
        mlp_dim,
        patch_size,
        parameters: 1000,
        prefix: "model.encoder.".into(),
        tensors: TensorCounts::default(),
        metadata: None,
    }
}

/// The proof of a checkpoint.
pub fn pinned(weights: Digest, epoch: u32, step: u64) -> Pinned {
    Pinned {
        pin: format!("{weights}.safetensors").into(),
        pin_bytes: 1000,
        format: Format::Safetensors,
        file_digest: weights,
        weights_digest: weights,
        epoch: Some((Epoch(epoch), ValueSource::File)),
        global_step: Some((step, ValueSource::File)),
        encoder: encoder(),
        dtype: "f32".into(),
        about: serde_json::json!({}),
    }
}

/// A data set of one chip; another number, another data set.
pub fn dataset(number: u32) -> (DatasetSummary, Vec<ChipRecord>) {
    let dataset = DatasetSummary {
        digest: Digest::of(&number.to_le_bytes()),
        assignment: Digest::of(b"folds"),
        layout: LayoutName::Cube,
        levels: Vec::new(),
        bands: Vec::new(),
        partial: Vec::new(),
        chips: 1,
        events: vec!["flood".into()],
        water: 10,
        land: 10,
        ignored: 0,
        nonfinite: 0,
        refused: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        held_out: 0,
        decoded: 1,
    };
    let chip = ChipRecord {
        path: "flood/chip.tif".into(),
        id: "flood/chip.tif".into(),
        event: "flood".into(),
        split: "0".into(),
        side: 224,
        bbox: [0.0; 4],
        epsg: 32630,
        lat: 0.0,
        lon: 0.0,
        gsd: 10.0,
        level: None,
        date: "2020-01-01".into(),
        source_url: "chip".into(),
        latlon: [0.0; 2],
        timestep: [0.0; 3],
        water: 10,
        land: 10,
        ignored: 0,
        nonfinite: 0,
    };
    (dataset, vec![chip])
}

/// What decides the features of that encoder; other statistics, another preparation.
pub fn preparation(encoder: &EncoderFacts, statistics: u32) -> Preparation {
    Preparation {
        revision: 1,
        family: encoder.family,
        generation: encoder.generation,
        inputs: Vec::new(),
        statistics: Digest::of(&statistics.to_le_bytes()),
        clouds: "ignore".into(),
        latlon: "wgs84".into(),
        levels: Vec::new(),
        filled: Vec::new(),
        precision: "f32".into(),
    }
}

/// The settings of heads of these names.
pub fn heads(names: &[HeadName]) -> Vec<HeadSettings> {
    let config = config::Probe { heads: names.to_vec(), ..Config::load(None, &[]).unwrap().probe };
    config.head_settings()
}

/// The report of a probe of these weights with these heads on data set 0.
pub fn report(
    weights: Digest,
    encoder: EncoderFacts,
    statistics: u32,
    heads: &[HeadSettings],
    iou: f64,
) -> ProbeReport {
    let (dataset, _) = dataset(0);
    let preparation = preparation(&encoder, statistics);
    let seed = |(seed, off): (Seed, f64)| SeedScore { seed, metrics: of_iou(iou + off), more: Default::default() };
    let head = |settings: &HeadSettings| {
        let seeds = settings.seeds.iter().copied().zip([-0.0625, 0.0, 0.0625]).map(seed).collect();
        (settings.head, HeadReport::new(settings, seeds, None, Metric::OF_PIXELS, Interval::SeedMinmax))
    };
    let fits = heads.iter().flat_map(|settings| settings.seeds.iter().map(|&seed| fit(settings.head, seed, iou)));
    ProbeReport {
        schema: ProbeReport::SCHEMA,
        run: RunName::default_run(),
        epoch: None,
        global_step: None,
        path: "epoch.ckpt".into(),
        weights_digest: weights,
        encoder,
        assignment: dataset.assignment,
        dataset,
        preparation_digest: preparation.digest(),
        preparation,
        device: "cpu".into(),
        device_reason: "made".into(),
        fits: fits.collect(),
        heads: heads.iter().map(head).collect(),
        controls: Vec::new(),
        event_scores: Vec::new(),
        chip_scores: Vec::new(),
        seconds: Seconds::default(),
        versions: Versions { clay_probe: "1".into(), candle: "1".into(), host: "h".into(), threads: 1 },
        chips_encoded: 1,
    }
}

/// All metrics from one number.
pub fn of_iou(iou: f64) -> Metrics {
    let dice = Some(2.0 * iou / (1.0 + iou));
    Metrics { iou: Some(iou), dice, f1: dice, precision: dice, recall: dice, loss: Some(1.0 - iou) }
}

fn fit(head: HeadName, seed: Seed, iou: f64) -> Fit {
    Fit {
        head,
        seed,
        fold: 0,
        metrics: of_iou(iou),
        confusion: Confusion::default(),
        mean_batch_iou: None,
        notes: Vec::new(),
        reason: None,
        message: None,
        curve: vec![CurvePoint { fit_step: 600, side: Side::Val, metrics: of_iou(iou) }],
    }
}
