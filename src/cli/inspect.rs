//! `inspect`: what a checkpoint, a chip or a folder of chips is, or exactly why it is refused.

use std::{
    fmt::Display,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    config::Config,
    probe::{
        chips,
        weights::{self, looks_like_checkpoint},
    },
};

/// Say what a checkpoint, a chip or a folder of chips is, what would be read of it, or exactly why it is refused.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clay-probe inspect mae_epoch-15_val-loss-0.31.ckpt
  clay-probe inspect floods --json | jq .refused
  clay-probe inspect floods --chips
Exit code 1 when anything of it is not usable.")]
pub struct Args {
    /// Checkpoints, chips, folders of chips.
    #[arg(required = true, value_name = "CKPT|CHIP|DIR")]
    paths: Vec<PathBuf>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Also list every chip of a folder with its bands, its place and its label.
    #[arg(long)]
    chips: bool,
    /// The configuration: `probe.layout`, `probe.strict`, `probe.latlon`, `probe.opaque_globals`, `probe.prefix`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Config::load(args.config.as_deref(), &[])?.probe;
    let mut all_usable = true;
    for path in &args.paths {
        all_usable &= match kind(path) {
            Kind::Folder => {
                let report = chips::inspect_dir(path, &settings, args.chips);
                print(&report, args.json)?;
                report.reason.is_none() && report.usable > 0
            }
            Kind::Chip => {
                let report = chips::inspect_chip(path, &settings);
                print(&report, args.json)?;
                report.usable
            }
            Kind::Checkpoint => {
                let options = weights::Options {
                    opaque_globals: settings.opaque_globals.clone(),
                    prefix: settings.prefix.clone(),
                    metadata: Some(settings.metadata.clone()).filter(|path| !path.as_os_str().is_empty()),
                };
                let report = weights::inspect(path, &options);
                print(&report, args.json)?;
                report.usable
            }
        };
    }
    Ok(if all_usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print<T: Display + Serialize>(report: &T, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{}", report.to_string().trim_end());
    }
    Ok(())
}

enum Kind {
    Folder,
    Chip,
    Checkpoint,
}

/// By what it is: a folder; a file that starts as a TIFF does; else by its extension.
fn kind(path: &Path) -> Kind {
    if path.is_dir() {
        return Kind::Folder;
    }
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    // TIFF and BigTIFF, in both byte orders.
    let is_tiff = read.is_ok() && [*b"II\x2a\0", *b"MM\0\x2a", *b"II\x2b\0", *b"MM\0\x2b"].contains(&start);
    let named_tiff = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tif") || e.eq_ignore_ascii_case("tiff"));
    if is_tiff || (named_tiff && !looks_like_checkpoint(path)) { Kind::Chip } else { Kind::Checkpoint }
}
