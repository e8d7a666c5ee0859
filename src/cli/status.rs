//! `status`: what a daemon is doing and why, for a terminal over ssh.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::Context;
use serde_json::Value;

use super::client::{At, Client, List, text_of};
use crate::error::Error;

/// Between two looks of `--watch`.
const EVERY: Duration = Duration::from_secs(2);
/// The newest runs whose last scores are asked for.
const RUNS: &str = "10";
/// What waits or runs, and what went wrong lately: states with the most that are shown of each.
const WAITING: [(&str, &str); 4] = [("probing", "20"), ("queued", "20"), ("settling", "10"), ("seen", "10")];
const WRONG: [(&str, &str); 2] = [("failed", "3"), ("rejected", "3")];

/// Show runs, last scores, the queue with its reasons, problems and the device of a running daemon.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clay-probe status
  clay-probe status --url http://node7:8080 --watch
  clay-probe status --token-file token              where the server asks for its token on reads

Exit code 1 when no daemon answers.")]
pub struct Args {
    #[command(flatten)]
    at: At,
    /// Look again every two seconds, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.at)?;
    let mut text = look(&client)?.text();
    let clear = if args.watch && io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        write!(io::stdout(), "{clear}{text}").and_then(|()| io::stdout().flush()).context("standard output")?;
        if !args.watch {
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(EVERY);
        // It may come back.
        text = look(&client).map_or_else(|error| format!("{error}\n"), |picture| picture.text());
    }
}

fn look(client: &Client) -> Result<Picture, Error> {
    let (_, ready) = client.get("/readyz", &[])?;
    let mut runs = client.list("/runs", &[("limit", RUNS)])?.items;
    for run in &mut runs {
        let name = text_of(&run["run"]);
        if run["done"] != 0 {
            // Without a score under the present settings it is a 404.
            run["latest"] = client.get("/probes/latest", &[("run", &name)])?.1;
        }
    }
    let listed = |states: &[(&str, &str)]| -> Result<Vec<List>, Error> {
        states.iter().map(|(state, most)| client.list("/checkpoints", &[("state", state), ("limit", most)])).collect()
    };
    Ok(Picture { url: client.url.clone(), ready, runs, waiting: listed(&WAITING)?, wrong: listed(&WRONG)? })
}

/// What was answered.
struct Picture {
    url: String,
    ready: Value,
    runs: Vec<Value>,
    waiting: Vec<List>,
    wrong: Vec<List>,
}

impl Picture {
    fn text(&self) -> String {
        let ready = &self.ready;
        let mut text =
            format!("clay-probe {} at {} is {}\n", bare(&ready["version"]), self.url, bare(&ready["status"]));
        for problem in ready["problems"].as_array().into_iter().flatten() {
            let since: String = bare(&problem["since"]).chars().take("2026-11-24T03:00:00".len()).collect();
            text += &format!("problem   {} since {since}Z: {}\n", bare(&problem["reason"]), bare(&problem["message"]));
        }
        text += &format!("device    {}\n", device(ready));
        text += &match &ready["dataset"] {
            Value::Null => "data set  not read yet\n".to_owned(),
            set => {
                let events = set["events"].as_array().map_or(0, Vec::len);
                let digest: String = text_of(&set["digest"]).chars().take(12).collect();
                format!("data set  {} chips of {events} events, {digest}\n", bare(&set["chips"]))
            }
        };
        let runs = self.runs.iter().map(run_row).collect();
        text += &table("run|latest epoch|checkpoints|scored|last IoU", runs, "no run yet");
        text += &table("state|epoch|run|why", rows(&self.waiting), "nothing waits or runs");
        let wrong = rows(&self.wrong);
        if !wrong.is_empty() {
            text += &table("state|epoch|run|why", wrong, "");
        }
        text
    }
}

fn device(ready: &Value) -> String {
    let name = match ready["device"].as_str() {
        None => return "not known yet".to_owned(),
        Some("cpu") => "CPU",
        Some(name) => name,
    };
    match ready["device_reason"].as_str() {
        None => name.to_owned(),
        Some("asked for") => format!("{name}, because it was asked for"),
        Some(reason) => format!("{name}, because {reason}"),
    }
}

fn run_row(run: &Value) -> Vec<String> {
    let finished = if run["finished_at"].is_null() { "" } else { " (finished)" };
    let heads = run["latest"]["heads"].as_object().into_iter().flatten();
    let scores: Vec<String> = heads.map(|(head, told)| format!("{head} {}", score(&told["summary"]["iou"]))).collect();
    let score = match scores.is_empty() {
        true => "–".to_owned(),
        false => format!("{} at epoch {}", scores.join(", "), bare(&run["latest"]["epoch"])),
    };
    let name = format!("{}{finished}", bare(&run["run"]));
    vec![name, bare(&run["latest_epoch"]), bare(&run["checkpoints"]), bare(&run["done"]), score]
}

/// A metric over seeds: its mean, and between which values it lies.
fn score(summary: &Value) -> String {
    let number = |key: &str| summary[key].as_f64();
    match (number("mean"), number("low"), number("high")) {
        (Some(mean), Some(low), Some(high)) => format!("{mean:.3} ({low:.3} to {high:.3})"),
        (Some(mean), ..) => format!("{mean:.3}"),
        _ => "–".to_owned(),
    }
}

fn rows(lists: &[List]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for list in lists {
        for item in &list.items {
            rows.push(vec![bare(&item["state"]), bare(&item["epoch"]), bare(&item["run"]), why(item)]);
        }
        if let Some(last) = list.items.last().filter(|_| list.more) {
            rows.push(vec!["…".to_owned(), String::new(), String::new(), format!("more are {}", bare(&last["state"]))]);
        }
    }
    rows
}

/// Why a checkpoint is as it is, or how far its job is.
fn why(item: &Value) -> String {
    let progress = &item["progress"];
    match (progress["stage"].as_str(), item["reason"].as_str()) {
        (Some("launch"), _) => "waiting for the launcher (Slurm)".to_owned(),
        (Some(stage), _) => format!("{stage} {} of {}", bare(&progress["done"]), bare(&progress["total"])),
        (None, Some(reason)) => match item["message"].as_str() {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        },
        (None, None) => item["due_reason"].as_str().map(|due| format!("due: {due}")).unwrap_or_default(),
    }
}

/// Columns padded to their widest cell, below a head of names parted by `|`; `none` stands for no row.
fn table(head: &str, rows: Vec<Vec<String>>, none: &str) -> String {
    if rows.is_empty() {
        return format!("\n{none}\n");
    }
    let all: Vec<Vec<String>> = std::iter::once(head.split('|').map(str::to_owned).collect()).chain(rows).collect();
    let width = |column: usize| all.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..all[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    format!("\n{}", all.iter().map(line).collect::<String>())
}

/// A text as it is, null as a dash, the rest as JSON writes it.
fn bare(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        other => text_of(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_in_plain_text() {
        let ready = json!({"status": "not ready", "version": "0.1.0", "device": "cpu", "device_reason": "no GPU was found",
            "dataset": {"digest": "67522d520882ffff", "chips": 24, "events": ["a", "b"]},
            "problems": [{"reason": "no-space", "message": "the folder is full", "since": "2026-11-24T03:00:00Z"}]});
        let head = |iou: Value| json!({"summary": {"iou": iou}});
        let heads = json!({"conv": head(json!({"mean": 0.5123, "low": 0.49, "high": 0.53})), "linear": head(json!({"mean": 0.4}))});
        let latest = json!({"epoch": 10, "heads": heads});
        let runs = vec![
            json!({"run": "default", "latest_epoch": 12, "checkpoints": 13, "done": 3, "finished_at": null, "latest": latest}),
            json!({"run": "old", "latest_epoch": null, "checkpoints": 1, "done": 0, "finished_at": "x"}),
        ];
        let item = |state: &str, more: Value| {
            let mut item = json!({"state": state, "epoch": 11, "run": "default", "due_reason": "every_n"});
            item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            item
        };
        let list = |items| List { items, more: false };
        let waiting = vec![
            list(vec![
                item("probing", json!({"progress": {"stage": "fit", "done": 3, "total": 18}})),
                item("probing", json!({"progress": {"stage": "launch", "done": 0, "total": 0}})),
            ]),
            List { items: vec![item("queued", json!({}))], more: true },
        ];
        let wrong = vec![list(vec![item("failed", json!({"reason": "timeout", "message": "2 h are over"}))])];
        let url = "http://127.0.0.1:8080".to_owned();
        insta::assert_snapshot!(Picture { url, ready, runs, waiting, wrong }.text(), @r"
        clay-probe 0.1.0 at http://127.0.0.1:8080 is not ready
        problem   no-space since 2026-11-24T03:00:00Z: the folder is full
        device    CPU, because no GPU was found
        data set  24 chips of 2 events, 67522d520882

        run             latest epoch  checkpoints  scored  last IoU
        default         12            13           3       conv 0.512 (0.490 to 0.530), linear 0.400 at epoch 10
        old (finished)  –             1            0       –

        state    epoch  run      why
        probing  11     default  fit 3 of 18
        probing  11     default  waiting for the launcher (Slurm)
        queued   11     default  due: every_n
        …                        more are queued

        state   epoch  run      why
        failed  11     default  timeout: 2 h are over
        ");
    }

    #[test]
    fn a_daemon_that_has_nothing_to_tell() {
        let ready = json!({"status": "scanning", "version": "0.1.0", "device": null, "dataset": null, "problems": []});
        let picture = Picture { url: "http://x".into(), ready, runs: vec![], waiting: vec![], wrong: vec![] };
        insta::assert_snapshot!(picture.text(), @r"
        clay-probe 0.1.0 at http://x is scanning
        device    not known yet
        data set  not read yet

        no run yet

        nothing waits or runs
        ");
    }
}
