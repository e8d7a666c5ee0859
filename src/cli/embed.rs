//! `clay-probe embed CKPT`: what the encoder makes of chips or of given tensors.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{compute::Compute, progress::Bars};
use crate::{
    config::Config,
    domain::{Progress, Stage},
    probe::{
        self, ProbeError,
        chips::Dataset,
        device::{self, DeviceRequest},
        embed::{embed_dataset, embed_tensors},
        encoder::{self, InputPlan},
        features::{FeatureCache, features},
        weights,
    },
};

/// Write embeddings of chips, or of tensors in a file.
#[derive(Args, Clone, Debug)]
pub struct EmbedArgs {
    /// The checkpoint
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    #[command(flatten)]
    input: Input,
    /// Where the embeddings go
    #[arg(long, value_name = "OUT.safetensors")]
    out: PathBuf,
    #[command(flatten)]
    compute: Compute,
}

/// Either of them.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct Input {
    /// A folder of chips, with or without labels; one `decoder_input` each, named by its path below the folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A file with `pixels` (normalised), `latlon` and `time` or `timestep`; for Clay v1 also `waves` and `gsd`
    #[arg(long, value_name = "IN.safetensors")]
    tensors: Option<PathBuf>,
}

/// Embeds and writes.
pub fn run(args: &EmbedArgs) -> anyhow::Result<ExitCode> {
    let data = args.input.data.as_ref().map(|d| d.to_string_lossy().into());
    let config = args.compute.load([("probe.data", data)])?;
    let mut bars = Bars::new(&args.checkpoint.file_name().unwrap_or_default().to_string_lossy());
    let result = embed(args, &config, &mut |progress| bars.show(progress));
    bars.clear();
    let count = result?;
    eprintln!("embedded {count} images into `{}`", args.out.display());
    Ok(ExitCode::SUCCESS)
}

fn embed(args: &EmbedArgs, config: &Config, progress: &mut dyn FnMut(Progress)) -> Result<u64, ProbeError> {
    progress(Progress { stage: Stage::Load, done: 0, total: 1 });
    let worker = &config.worker;
    let chosen = device::choose(&DeviceRequest {
        device: &worker.device,
        serve: false,
        share_gpu: worker.share_gpu,
        gpu_memory: worker.gpu_memory,
    })?;
    let pool = device::pool(device::threads(worker.threads, false))?;
    let settings = &config.probe;
    let mut file = weights::open(&args.checkpoint, &probe::weights_options(settings))?;
    let facts = file.encoder().clone();
    if let Some(input) = &args.input.tensors {
        let plan = InputPlan::fixed(settings.clouds, settings.latlon);
        let encoder = encoder::load(&facts, &plan, &mut file, &chosen.device)?;
        drop(file);
        return embed_tensors(&*encoder, input, &pool, &args.out, progress);
    }
    let caches = super::folders::cache_folder();
    let dataset = Dataset::open_unlabelled(settings, &caches, progress)?;
    for refused in &dataset.summary().refused {
        eprintln!("refused: `{}`: {} [{}]", refused.path, refused.message, refused.reason);
    }
    let resolved = probe::resolve(settings, &facts, dataset.summary())?;
    let (weights, preparation) = (file.weights_digest()?, resolved.preparation.digest());
    let mut cache = FeatureCache::new(&caches, weights, preparation, config.store.max_bytes.0);
    let load = || Ok(encoder::load(&facts, &resolved.plan(settings), &mut file, &chosen.device)?);
    let features = features(&dataset, &mut cache, &chosen.device, &pool, load, progress)?;
    embed_dataset(&dataset, &features.chips, facts.patch_size, &args.out)
}
