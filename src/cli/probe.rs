//! `clay-probe probe CKPT…`: one-shot probes, no daemon, same code, same result.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{compute::Compute, progress::Bars};
use crate::{
    domain::{FitNote, Metric, ProbeReport, RunName},
    probe::{self, ProbeRequest, Resources, device},
};

/// Probe checkpoints: embed the data set, fit the decoder, score it.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// Checkpoints: `.ckpt`, `.pt`, `.safetensors`
    #[arg(value_name = "CKPT", required = true)]
    checkpoints: Vec<PathBuf>,
    /// Folder of the labelled data set [config: probe.data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the report as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Write features, labels, initial weights and batch order into this folder, so that the fits can be repeated
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Write pictures of the predictions into this folder
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Seeds of the fits, such as `0,1,2` [config: probe.seeds]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    seeds: Option<Vec<u64>>,
    /// Steps of each fit [config: probe.fit_steps]
    #[arg(long, value_name = "N")]
    fit_steps: Option<u32>,
    #[command(flatten)]
    compute: Compute,
}

/// Probes each checkpoint in turn; a refused one is told on stderr and the next goes on.
pub fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let config = args.compute.load([
        ("probe.data", args.data.as_ref().map(|d| d.to_string_lossy().into())),
        ("probe.seeds", args.seeds.clone().map(Into::into)),
        ("probe.fit_steps", args.fit_steps.map(Into::into)),
    ])?;
    config.probe.needs_data()?;
    let threads = device::threads(config.worker.threads, false);
    let mut failed = 0;
    for checkpoint in &args.checkpoints {
        let several = args.checkpoints.len() > 1;
        let own =
            |dir: &PathBuf| if several { dir.join(checkpoint.file_stem().unwrap_or_default()) } else { dir.clone() };
        let request = ProbeRequest {
            checkpoint: checkpoint.clone(),
            shown_path: None,
            run: RunName::default_run(),
            epoch: None,
            global_step: None,
            settings: config.probe.clone(),
            resources: Resources {
                device: config.worker.device.clone(),
                serve: false,
                share_gpu: config.worker.share_gpu,
                gpu_memory: config.worker.gpu_memory,
                cache: super::folders::cache_folder(),
                cache_bytes: config.store.max_bytes,
            },
            dump: args.dump.as_ref().map(own),
            pictures: args.pictures.as_ref().map(own),
            heads: config.probe.head_settings(),
            expected: None,
        };
        let mut bars = Bars::new(&checkpoint.file_name().unwrap_or_default().to_string_lossy());
        let result = probe::probe(&request, threads, &mut |progress| bars.show(progress));
        bars.clear();
        match result {
            Ok(report) if args.json => writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?,
            Ok(report) => print_table(checkpoint, &report)?,
            Err(error) => {
                failed += 1;
                eprint!("{}", super::describe(&error.into()));
            }
        }
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What a person wants to see.
fn print_table(checkpoint: &Path, report: &ProbeReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let known = |number: Option<String>| number.unwrap_or_else(|| "?".into());
    let epoch = known(report.epoch.map(|e| e.to_string()));
    let step = known(report.global_step.map(|s| s.to_string()));
    let (e, d, s) = (&report.encoder, &report.dataset, &report.seconds);
    writeln!(out, "{}: epoch {epoch}, global step {step}", checkpoint.display())?;
    writeln!(
        out,
        "  encoder   {} {} (told by {}), D {} depth {} heads {}, weights {}",
        e.family,
        e.generation,
        e.told_by,
        e.dim,
        e.depth,
        e.heads,
        report.weights_digest.short()
    )?;
    writeln!(out, "            {}", e.what_was_loaded())?;
    let (inputs, levels) = (words(&report.preparation.inputs), words(&report.preparation.levels));
    let inputs = if inputs.is_empty() { "13 bands".to_owned() } else { inputs };
    let filled = words(&report.preparation.filled);
    let filled = if filled.is_empty() { String::new() } else { format!(", {filled} filled") };
    writeln!(out, "            sees {inputs}{filled}; optical {}", if levels.is_empty() { "none" } else { &levels })?;
    let (chips, events, refused) = (d.chips, d.events.len(), d.refused.len());
    writeln!(out, "  data set  {}: {chips} chips of {events} events, {refused} refused", d.layout)?;
    writeln!(
        out,
        "  device    {} ({}), {} threads; load {:.1} s, embed {:.1} s, fit {:.1} s",
        report.device, report.device_reason, report.versions.threads, s.load, s.embed, s.fit
    )?;
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    for (name, head) in &report.heads {
        writeln!(out, "  {name:<10} {:>8} {:>8} {:>8} {:>8} {:>3}", "mean", "std", "low", "high", "n")?;
        for (metric, summary) in Metric::ALL.iter().filter_map(|m| Some((m, head.summary.get(m)?))) {
            let cells = [summary.mean, summary.std, summary.low, summary.high].map(number);
            let [mean, std, low, high] = cells;
            writeln!(out, "    {:<8} {mean:>8} {std:>8} {low:>8} {high:>8} {:>3}", metric.as_str(), summary.n)?;
        }
        let fits = || report.fits.iter().filter(|fit| fit.head == *name);
        for note in FitNote::ALL {
            let noted = fits().filter(|fit| fit.notes.contains(note)).count();
            if noted > 0 {
                writeln!(out, "    {note}: {noted} of {} fits", fits().count())?;
            }
        }
        for fit in fits().filter(|fit| fit.reason.is_some()) {
            let message = fit.message.as_deref().unwrap_or_default();
            writeln!(out, "    no score of fold {}, seed {}: {message}", fit.fold, fit.seed.0)?;
        }
    }
    Ok(())
}

fn words<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
