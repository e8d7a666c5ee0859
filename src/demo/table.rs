//! The demo's table on a terminal: a line per finished probe.

use serde_json::Value;

/// What one line shows; `None` is what has no value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub epoch: u64,
    pub state: String,
    /// Of the first head, as all that follows.
    pub iou: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub dice: Option<f64>,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    /// IoU of the linear head.
    pub linear: Option<f64>,
    pub train_loss: Option<f64>,
    pub seconds: Option<f64>,
    pub reason: Option<String>,
}

/// The names of the columns.
pub const HEADING: &str = " epoch    IoU  [low, high]      Dice  precision  recall  linear IoU  train loss  seconds";

impl Row {
    /// The line under [`HEADING`].
    pub fn line(&self) -> String {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
        if self.state != "done" {
            return format!(
                "{:>6}  {}: {}",
                self.epoch,
                self.state,
                self.reason.as_deref().unwrap_or("no reason given")
            );
        }
        let band = format!("[{}, {}]", number(self.low), number(self.high));
        let seconds = self.seconds.map_or("-".to_owned(), |s| format!("{s:.1}"));
        let train_loss = self.train_loss.map_or("-".to_owned(), |v| format!("{v:.4}"));
        format!(
            "{:>6}  {:>5}  {band:<14}  {:>5}  {:>9}  {:>6}  {:>10}  {train_loss:>10}  {seconds:>7}",
            self.epoch,
            number(self.iou),
            number(self.dice),
            number(self.precision),
            number(self.recall),
            number(self.linear),
        )
    }
}

/// The series `GET /probes?…` that a table is made of.
pub struct Series {
    /// IoU, Dice, precision and recall of the first head.
    pub of_metrics: [Value; 4],
    /// IoU of the linear head.
    pub linear: Value,
}

/// The rows of the series, joined by step.
pub fn rows(series: &Series) -> Vec<Row> {
    let [iou, dice, precision, recall] = &series.of_metrics;
    let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
    let value_at = |list: &Value, step: &Value| {
        items(list).iter().find(|item| item["global_step"] == *step).and_then(|item| item["value"].as_f64())
    };
    let row = |item: &Value| {
        let step = &item["global_step"];
        Row {
            epoch: item["epoch"].as_u64().unwrap_or_default(),
            state: item["state"].as_str().unwrap_or_default().to_owned(),
            iou: item["value"].as_f64(),
            low: item["low"].as_f64(),
            high: item["high"].as_f64(),
            dice: value_at(dice, step),
            precision: value_at(precision, step),
            recall: value_at(recall, step),
            linear: value_at(&series.linear, step),
            train_loss: number_of(&item["context"]["train_loss"]),
            seconds: None,
            reason: item["reason"].as_str().map(str::to_owned),
        }
    };
    let mut rows: Vec<Row> = items(iou).iter().map(row).collect();
    rows.sort_by_key(|row| row.epoch);
    rows
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
                {"epoch": 5, "global_step": 144, "state": "failed", "reason": "out-of-memory", "value": null, "context": {}},
                {"epoch": 0, "global_step": 24, "state": "done", "value": value, "low": 0.25, "high": 0.5,
                 "context": {"train_loss": 0.98}},
            ]})
        };
        let of_metrics = [0.4, 0.571, 0.75, 0.461].map(series);
        let rows = rows(&Series { of_metrics, linear: series(0.3) });
        let lines: Vec<String> = rows.iter().map(Row::line).collect();
        insta::assert_snapshot!(format!("{HEADING}\n{}", lines.join("\n")), @r"
         epoch    IoU  [low, high]      Dice  precision  recall  linear IoU  train loss  seconds
             0  0.400  [0.250, 0.500]  0.571      0.750   0.461       0.300      0.9800        -
             5  failed: out-of-memory
        ");
    }
}
