//! `check`: configuration, data set, device, disk and watched directories, before a long run.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::serve::Settings;
use crate::{
    config::Config,
    domain::{ChipRecord, DatasetSummary, Failure, Input},
    probe::{
        ProbeError,
        chips::Dataset,
        device::{self, DeviceRequest},
    },
};

/// Look at everything that a long run needs: configuration, data set, device, disk, watched directories.
#[derive(clap::Args)]
#[command(after_help = "\
Example: clay-probe check --config clay-probe.toml
Prints one line per thing, `ok`, `warn` or `fail`. Exit code 1 when anything fails.")]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.settings.load()?;
    let mut report = Report::default();
    let source =
        args.settings.config.as_deref().map_or("built-in defaults".to_owned(), |f| format!("`{}`", f.display()));
    report.ok("configuration", source);
    data_set(&config, &mut report);
    device(&config, &mut report);
    writable(&config.store.dir, config.store.max_bytes.0, &mut report);
    for dir in &config.intake.dirs {
        match std::fs::read_dir(dir) {
            Ok(entries) => report.ok("watched", format!("`{}`, {} entries at its top", dir.display(), entries.count())),
            Err(error) => {
                report.fail("watched", format!("`{}`: {error}; make it, or correct `intake.dirs`", dir.display()))
            }
        }
    }
    listening(&config, &mut report);
    if let Some(program) = config.worker.launcher.iter().chain(&config.worker.command).next() {
        match on_path(program) {
            Some(path) => report.ok("worker", format!("`{}`", path.display())),
            None => report.fail("worker", format!("`{program}` is not a program that can be found")),
        }
    }
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints as it goes.
#[derive(Default)]
struct Report {
    failed: bool,
}

impl Report {
    fn ok(&mut self, what: &str, text: impl AsRef<str>) {
        println!("ok    {what:<14} {}", text.as_ref());
    }

    fn warn(&mut self, what: &str, text: impl AsRef<str>) {
        println!("warn  {what:<14} {}", text.as_ref());
    }

    fn fail(&mut self, what: &str, text: impl AsRef<str>) {
        println!("fail  {what:<14} {}", text.as_ref());
        self.failed = true;
    }
}

/// Reads every chip once, as the daemon would when it starts; its cache is thrown away.
fn data_set(config: &Config, report: &mut Report) {
    if config.probe.data.as_os_str().is_empty() {
        return report.fail("data set", "`probe.data` is empty; give the folder of labelled flood chips");
    }
    let folder = config.probe.data.display();
    let opened = tempfile::tempdir()
        .map_err(ProbeError::io(std::env::temp_dir()))
        .and_then(|cache| Ok(Dataset::open(&config.probe, cache.path(), &mut |_| {})?));
    match opened {
        Err(error) => report.fail("data set", format!("`{folder}`: {}", Failure::from(error).text())),
        Ok(dataset) => describe(&dataset, &folder.to_string(), report),
    }
}

/// What was found: chips by event, bands, folds; what is left out, and what looks wrong.
fn describe(dataset: &Dataset, folder: &str, report: &mut Report) {
    let found = dataset.summary();
    for refusal in &found.refused {
        report.warn("chip", format!("`{}` is left out, {}: {}", refusal.path, refusal.reason, refusal.message));
    }
    for warning in &found.warnings {
        report.warn("chip", format!("{}: {}", warning.reason, warning.message));
    }
    let text = format!(
        "`{folder}`: {} chips of {} events in the layout {}, {} folds, {} refused, {} held out; {} of {} labelled pixels \
         are water",
        found.chips,
        found.events.len(),
        found.layout,
        dataset.folds().len(),
        found.refused.len(),
        found.held_out,
        found.water,
        found.water + found.land,
    );
    report.ok("data set", text);
    for event in &found.events {
        let (n, water, land) = counted(dataset.chips().iter().filter(|chip| chip.event == *event));
        report.ok("event", format!("`{event}`: {n} chips, {water} pixels of water, {land} of land"));
    }
    report.ok("bands", bands(found));
    for fold in dataset.folds() {
        let side = |places: &[usize]| counted(places.iter().map(|i| &dataset.chips()[*i]));
        let ((n, water, land), (m, wet, dry)) = (side(&fold.train), side(&fold.val));
        let text = format!(
            "{}: trained on {n} chips ({water} pixels of water, {land} of land), scored on {m} ({wet} and {dry})",
            fold.number
        );
        match water == 0 || land == 0 {
            true => report.warn("fold", format!("{text}: its training lacks a class, so that it has no score")),
            false => report.ok("fold", text),
        }
    }
    for note in &found.notes {
        report.ok("note", note);
    }
}

/// Chips, and their labelled pixels of water and land.
fn counted<'a>(chips: impl Iterator<Item = &'a ChipRecord>) -> (u64, u64, u64) {
    chips.fold((0, 0, 0), |(n, water, land), chip| (n + 1, water + chip.water, land + chip.land))
}

/// The bands, and the inputs of Clay v1 that all chips have.
fn bands(found: &DatasetSummary) -> String {
    fn list<T: ToString>(words: &[T]) -> String {
        words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
    let whole = |input: &&Input| input.bands().iter().all(|band| found.bands.contains(band));
    let inputs: Vec<Input> = Input::ALL.iter().filter(whole).copied().collect();
    let mut text = format!("{} in every chip", list(&found.bands));
    if !found.partial.is_empty() {
        text += &format!("; {} in some", list(&found.partial));
    }
    if !found.levels.is_empty() {
        text += &format!("; optical {}", list(&found.levels));
    }
    match inputs.is_empty() {
        true => text + "; no whole input of Clay v1",
        false => text + "; inputs of Clay v1: " + &list(&inputs),
    }
}

/// The device that probes would get now, and why.
fn device(config: &Config, report: &mut Report) {
    let chosen = device::choose(&DeviceRequest {
        device: &config.worker.device,
        serve: true,
        share_gpu: config.worker.share_gpu,
        gpu_memory: config.worker.gpu_memory,
    });
    match chosen.map_err(ProbeError::from) {
        Ok(chosen) => {
            report.ok("device", format!("{}, because {}", chosen.name, chosen.reason));
            report.ok("threads", device::threads(config.worker.threads, true).to_string());
        }
        Err(error) => report.fail("device", format!("`worker.device`: {}", Failure::from(error).text())),
    }
}

/// Whether a file can be made in the store's folder, and how much room there is.
fn writable(folder: &Path, max_bytes: u64, report: &mut Report) {
    let shown = folder.display();
    let bytes = |n| bytesize::ByteSize(n).display().si();
    match try_writing(folder) {
        Err(error) => report.fail("store", format!("`{shown}` cannot be written: {error}")),
        Ok(None) => report.ok("store", format!("`{shown}` can be written")),
        Ok(Some(free)) if free < max_bytes => {
            let text = format!(
                "`{shown}` can be written, {} free, less than {} (`store.max_bytes`)",
                bytes(free),
                bytes(max_bytes)
            );
            report.warn("store", text);
        }
        Ok(Some(free)) => report.ok("store", format!("`{shown}` can be written, {} free", bytes(free))),
    }
}

/// Free bytes, where the system tells. Nothing is left behind: a folder that is not there yet is tried in its parent.
fn try_writing(folder: &Path) -> io::Result<Option<u64>> {
    let mut there = folder.to_owned();
    while !there.exists() {
        there = there.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    }
    tempfile::tempfile_in(&there)?;
    Ok(rustix::fs::statvfs(&there).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize)))
}

fn listening(config: &Config, report: &mut Report) {
    let (listen, token) = (config.api.listen, &config.api.token_file);
    if !token.as_os_str().is_empty() {
        match std::fs::read_to_string(token) {
            Ok(text) if text.trim().is_empty() => {
                return report.fail("token", format!("`{}` is empty", token.display()));
            }
            Ok(_) => report.ok("token", format!("`{}`", token.display())),
            Err(error) => return report.fail("token", format!("`{}`: {error}", token.display())),
        }
    } else if !listen.ip().is_loopback() {
        return report.fail("address", format!("{listen} is reachable from outside and needs `api.token_file`"));
    }
    match std::net::TcpListener::bind(listen) {
        Ok(_) => report.ok("address", format!("{listen} is free")),
        Err(error) => report.warn("address", format!("{listen}: {error}; is a daemon running?")),
    }
}

/// Where a program lies, as the shell finds it.
fn on_path(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}
