//! Progress on stderr: a bar on a terminal, a plain line per stage elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::domain::{Progress, Stage};

/// Between two plain lines of one stage.
const EVERY: Duration = Duration::from_secs(10);

/// Shows how far one checkpoint is.
pub struct Bars {
    name: String,
    bar: Option<ProgressBar>,
    stage: Option<Stage>,
    told: Instant,
}

impl Bars {
    /// For what is called `name`.
    pub fn new(name: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            // A template without unknown keys always parses; the default style is as good.
            if let Ok(style) = ProgressStyle::with_template("{prefix} {msg:<6} {bar:30} {pos}/{len} {eta}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar
        });
        Self { name: name.to_owned(), bar, stage: None, told: Instant::now() }
    }

    /// Shows `progress`.
    pub fn show(&mut self, progress: Progress) {
        let Progress { stage, done, total } = progress;
        let word = stage.as_str();
        if let Some(bar) = &self.bar {
            if self.stage != Some(stage) {
                bar.reset();
            }
            bar.set_length(total);
            bar.set_message(word);
            bar.set_position(done);
        } else if self.stage != Some(stage) || self.told.elapsed() >= EVERY {
            eprintln!("{}: {word} {done}/{total}", self.name);
            self.told = Instant::now();
        }
        self.stage = Some(stage);
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
