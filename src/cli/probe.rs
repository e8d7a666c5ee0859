//! `clay-probe probe CKPT…`: one-shot probes, no daemon, same code, same result.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{compute::Compute, progress::Bars};
use crate::{
    domain::{ControlDraw, ControlName, ControlScore, FitNote, Metric, ProbeReport, RunName},
    probe::{self, ControlRequest, ProbeError, ProbeRequest, Resources, device},
};

/// What a table tells of a control; the JSON has all.
const TELLING: [Metric; 3] = [Metric::Iou, Metric::IouEvent, Metric::QuickR2];

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
    /// With `--dump`: the weights after each step, too, so that each step can be repeated by itself
    #[arg(long, requires = "dump")]
    dump_path: bool,
    /// Also compute the controls: the same heads on random encoders and on the bands themselves, all-water, the best index.
    /// Takes as long again for each draw of a random encoder
    #[arg(long)]
    controls: bool,
    /// With `--controls`: also the network of Clay's documentation, trained from scratch on the pixels, with the budget of
    /// `conv` and one seed. Heavy: it says how long it will take
    #[arg(long, requires = "controls")]
    from_scratch: bool,
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
            dump_path: args.dump_path,
            pictures: args.pictures.as_ref().map(own),
            heads: config.probe.head_settings(),
            expected: None,
        };
        let mut bars = Bars::new(&checkpoint.file_name().unwrap_or_default().to_string_lossy());
        let result = probe::probe(&request, threads, &mut |progress| bars.show(progress));
        bars.clear();
        let result = result.and_then(|report| {
            if args.controls { with_controls(report, &request, threads, args.from_scratch) } else { Ok(report) }
        });
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

/// The report with all draws of all controls.
fn with_controls(
    report: ProbeReport,
    request: &ProbeRequest,
    threads: usize,
    from_scratch: bool,
) -> Result<ProbeReport, ProbeError> {
    let mut steps = Vec::new();
    let heavy = from_scratch.then_some(ControlDraw { control: ControlName::FromScratch, draw: 0 });
    for draw in ControlDraw::all().chain(heavy) {
        let control = ControlRequest {
            facts: report.encoder.clone(),
            draw,
            settings: request.settings.clone(),
            resources: request.resources.clone(),
            heads: draw.control.heads(&request.heads),
            expected: Some(report.basis()),
        };
        let mut bars = Bars::new(&format!("control {} {}", draw.control, draw.draw));
        let computed = probe::controls(&control, threads, &mut |progress| bars.show(progress));
        bars.clear();
        steps.extend(computed?.steps);
    }
    Ok(ProbeReport { controls: ControlScore::over(&steps), ..report })
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
        writeln!(out, "  {name:<19} {:>8} {:>8} {:>8} {:>8} {:>3}", "mean", "std", "low", "high", "n")?;
        for (metric, summary) in Metric::ALL.iter().filter_map(|m| Some((m, head.summary.get(m)?))) {
            let cells = [summary.mean, summary.std, summary.low, summary.high].map(number);
            let [mean, std, low, high] = cells;
            writeln!(out, "    {:<17} {mean:>8} {std:>8} {low:>8} {high:>8} {:>3}", metric.as_str(), summary.n)?;
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
    for control in report.controls.iter().filter(|control| TELLING.contains(&control.metric)) {
        let [value, low, high] = [control.value, control.low, control.high].map(number);
        let head = control.head.map_or("-".to_owned(), |head| head.to_string());
        let note = control.note.as_deref().unwrap_or_default();
        let (name, metric) = (control.control.as_str(), control.metric.as_str());
        writeln!(out, "  control {name:<10} {head:<8} {metric:<10} {value:>8} {low:>8} {high:>8} {note}")?;
    }
    Ok(())
}

fn words<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
