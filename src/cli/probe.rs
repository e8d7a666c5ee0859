//! `clay-probe probe CKPT…`: one-shot probes, no daemon, same code, same result.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{compute::Compute, progress::Bars};
use crate::{
    domain::{Metric, ProbeReport, RunName},
    probe::{self, ProbeRequest, device},
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
    /// Passes over the training chips [config: probe.fit_epochs]
    #[arg(long, value_name = "N")]
    fit_epochs: Option<u32>,
    #[command(flatten)]
    compute: Compute,
}

/// Probes each checkpoint in turn; a refused one is told on stderr and the next goes on.
pub fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let config = args.compute.load([
        ("probe.data", args.data.as_ref().map(|d| d.to_string_lossy().into())),
        ("probe.seeds", args.seeds.clone().map(Into::into)),
        ("probe.fit_epochs", args.fit_epochs.map(Into::into)),
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
            device: config.worker.device.clone(),
            serve: false,
            share_gpu: config.worker.share_gpu,
            gpu_memory: config.worker.gpu_memory,
            cache: super::folders::cache_folder(),
            dump: args.dump.as_ref().map(own),
            pictures: args.pictures.as_ref().map(own),
            expected_dataset: None,
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
        "  encoder   {} D {} depth {} heads {}, weights {}",
        e.family,
        e.dim,
        e.depth,
        e.heads,
        report.weights_digest.short()
    )?;
    writeln!(out, "  data set  {} chips of {} events, {} refused", d.chips, d.events.len(), d.refused.len())?;
    writeln!(
        out,
        "  device    {} ({}), {} threads; load {:.1} s, embed {:.1} s, fit {:.1} s",
        report.device, report.device_reason, report.versions.threads, s.load, s.embed, s.fit
    )?;
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    writeln!(out, "  {:<10} {:>8} {:>8} {:>8} {:>8} {:>3}", "metric", "mean", "std", "low", "high", "n")?;
    for (metric, summary) in Metric::ALL.iter().filter_map(|m| Some((m, report.summary.get(m)?))) {
        let cells = [summary.mean, summary.std, summary.low, summary.high].map(number);
        let [mean, std, low, high] = cells;
        writeln!(out, "  {:<10} {mean:>8} {std:>8} {low:>8} {high:>8} {:>3}", metric.as_str(), summary.n)?;
    }
    Ok(())
}
