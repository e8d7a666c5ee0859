//! The demo's table on a terminal: a line per quick score, and what else there is to say between them.

use serde_json::Value;

/// One epoch with its quick score; `None` is what has no value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub epoch: u32,
    pub train_loss: Option<f64>,
    pub quick_r2: Option<f64>,
    pub effective_rank: Option<f64>,
}

/// A full probe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FullProbe {
    pub epoch: u32,
    pub state: String,
    pub reason: Option<String>,
    pub iou: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The names of the columns.
pub const HEADING: &str = " epoch  train loss  quick R²  effective rank";

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |v| format!("{v:.digits$}"))
}

impl Row {
    /// The line under [`HEADING`]; `mark` sets it off.
    pub fn line(&self, mark: bool) -> String {
        let Self { epoch, train_loss, quick_r2, effective_rank } = self;
        format!(
            "{epoch:>6}  {:>10}  {:>8}  {:>14}{}",
            number(*train_loss, 4),
            number(*quick_r2, 3),
            number(*effective_rank, 1),
            if mark { "   ◀" } else { "" }
        )
    }
}

impl FullProbe {
    /// A line between the others.
    pub fn line(&self) -> String {
        let Self { epoch, state, reason, iou, low, high } = self;
        if state != "done" {
            return format!(
                "        full probe of epoch {epoch} {state}: {}",
                reason.as_deref().unwrap_or("no reason given")
            );
        }
        let (iou, low, high) = (number(*iou, 3), number(*low, 3), number(*high, 3));
        format!("        full probe of epoch {epoch}: IoU {iou} [{low}, {high}] over seeds")
    }
}

fn items(series: &Value) -> &[Value] {
    series["items"].as_array().map_or(&[], Vec::as_slice)
}

/// The quick scores that are there, from the series of `quick_r2` and of `effective_rank`; in the order of their epochs.
pub fn rows(quick_r2: &Value, effective_rank: &Value) -> Vec<Row> {
    let rank = |step: &Value| items(effective_rank).iter().find(|item| item["global_step"] == *step)?["value"].as_f64();
    let row = |item: &Value| Row {
        epoch: item["epoch"].as_u64().unwrap_or_default() as u32,
        train_loss: number_of(&item["context"]["train_loss"]),
        quick_r2: item["value"].as_f64(),
        effective_rank: rank(&item["global_step"]),
    };
    items(quick_r2).iter().filter(|item| item["line"].is_string()).map(row).collect()
}

/// The full probes that came to an end.
pub fn full_probes(iou: &Value) -> Vec<FullProbe> {
    let ended = |item: &&Value| match item["state"].as_str() {
        Some("done") => item["value"].is_number() || item["reason"] != "other-line",
        Some("failed") => true,
        _ => false,
    };
    let probe = |item: &Value| FullProbe {
        epoch: item["epoch"].as_u64().unwrap_or_default() as u32,
        state: item["state"].as_str().unwrap_or_default().to_owned(),
        reason: item["reason"].as_str().map(str::to_owned),
        iou: item["value"].as_f64(),
        low: item["low"].as_f64(),
        high: item["high"].as_f64(),
    };
    items(iou).iter().filter(ended).map(probe).collect()
}

/// The controls in a line each, with what they are.
pub fn controls(quick: &Value, full: &Value) -> Vec<String> {
    let of = |list: &Value, control: &str, metric: &str| {
        items(list).iter().find(|item| item["control"] == control && item["metric"] == metric).cloned()
    };
    let figure = |item: &Value| match (item["low"].as_f64(), item["high"].as_f64()) {
        (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
        _ => number(item["value"].as_f64(), 3),
    };
    let mut lines = Vec::new();
    let mut tell =
        |what: &str, found: Option<Value>| lines.extend(found.map(|item| format!("  {what:<44} {}", figure(&item))));
    tell("R² of random encoders (three)", of(quick, "random", "quick_r2"));
    tell("R² of the bands' own mean and spread", of(quick, "bands", "quick_r2"));
    tell("IoU of random encoders (three)", of(full, "random", "iou"));
    tell("IoU of calling everything water", of(full, "all_water", "iou"));
    let index = of(full, "index", "iou");
    let note =
        index.as_ref().and_then(|item| item["note"].as_str()).map(|note| format!(" ({note})")).unwrap_or_default();
    lines.extend(index.map(|item| format!("  {:<44} {}{note}", "IoU of the best single index", figure(&item))));
    lines
}

/// A number of the trainer, plain or as `{"value", "source"}`.
fn number_of(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value["value"].as_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn series_join_into_lines() {
        let series = |value: f64| {
            json!({"items": [
                {"epoch": 0, "global_step": 12, "state": "done", "line": "abc", "value": value, "context": {"train_loss": 0.98}},
                {"epoch": 1, "global_step": 24, "state": "queued", "line": null, "value": null, "context": {}},
            ]})
        };
        let rows = rows(&series(0.5), &series(60.0));
        let full = json!({"items": [
            {"epoch": 0, "state": "done", "value": 0.4, "low": 0.25, "high": 0.5, "reason": null},
            {"epoch": 1, "state": "done", "value": null, "reason": "other-line"},
            {"epoch": 5, "state": "failed", "value": null, "reason": "out-of-memory"},
            {"epoch": 6, "state": "held", "value": null, "reason": "not-due-yet"},
        ]});
        let mut lines: Vec<String> = rows.iter().map(|row| row.line(row.epoch == 0)).collect();
        lines.extend(full_probes(&full).iter().map(FullProbe::line));
        insta::assert_snapshot!(format!("{HEADING}\n{}", lines.join("\n")), @r"
         epoch  train loss  quick R²  effective rank
             0      0.9800     0.500            60.0   ◀
                full probe of epoch 0: IoU 0.400 [0.250, 0.500] over seeds
                full probe of epoch 5 failed: out-of-memory
        ");
    }
}
