//! What workers give, made without one: what a checkpoint holds, a data set, a report.

use clay_probe::{
    config::Config,
    domain::{
        ChipRecord, DatasetSummary, Digest, EncoderFacts, Epoch, Family, Format, Generation, Interval, LayoutName,
        Metric, Pinned, ProbeReport, RunName, Seconds, Summary, TensorCounts, ValueSource, Versions,
    },
    store::LineKey,
};

fn encoder() -> EncoderFacts {
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
        held_out: 0,
        decoded: 1,
    };
    let chip = ChipRecord {
        path: "flood/chip.tif".into(),
        event: "flood".into(),
        split: "0".into(),
        side: 224,
        bbox: [0.0; 4],
        epsg: 32630,
        lat: 0.0,
        lon: 0.0,
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

/// The report of a probe of these weights under a line.
pub fn report(weights: Digest, line: LineKey, iou: f64) -> ProbeReport {
    let (dataset, _) = dataset(0);
    let (mean, low, high) = (Some(iou), Some(iou - 0.1), Some(iou + 0.1));
    let summary = Summary { mean, std: Some(0.1), n: 3, low, high, interval: Interval::SeedMinmax };
    ProbeReport {
        schema: ProbeReport::SCHEMA,
        run: RunName::default_run(),
        epoch: None,
        global_step: None,
        path: "epoch.ckpt".into(),
        weights_digest: weights,
        encoder: encoder(),
        dataset: DatasetSummary { digest: line.dataset, ..dataset },
        protocol: Config::load(None, &[]).unwrap().probe.protocol(),
        protocol_digest: line.protocol,
        device: "cpu".into(),
        device_reason: "made".into(),
        fits: Vec::new(),
        summary: Metric::ALL.iter().map(|&metric| (metric, summary.clone())).collect(),
        chip_scores: Vec::new(),
        mean_batch_iou: None,
        seconds: Seconds::default(),
        versions: Versions { clay_probe: "1".into(), candle: "1".into(), host: "h".into(), threads: 1 },
        chips_encoded: 1,
    }
}
