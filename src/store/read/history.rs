//! The scored points of a line, with what they are compared by: scores per event and seed, signs of collapse, the
//! trainer's loss.

use std::collections::HashMap;

use sqlx::types::Json;

use super::{SHOWN_POINTS, Snapshot};
use crate::{
    domain::{Context, Epoch, HeadId, Metric, RunId},
    error::Result,
};

/// One scored point of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPoint {
    pub epoch: Epoch,
    pub global_step: i64,
    pub context: Context,
    /// Of the metric that was asked for: event, seed (empty: of a head without seeds), value.
    pub events: Vec<(String, String, f64)>,
    /// Every metric's mean.
    pub values: Vec<(Metric, Option<f64>)>,
}

#[derive(sqlx::FromRow)]
struct Row {
    epoch: Epoch,
    global_step: i64,
    context: Json<Context>,
    head_id: HeadId,
}

impl Snapshot {
    /// What each epoch up to `to` shows under a line, in order; `metric` is the one whose scores per event are read.
    pub async fn history(&mut self, run: RunId, line: &str, metric: Metric, to: Epoch) -> Result<Vec<HistoryPoint>> {
        let sql = format!(
            "{SHOWN_POINTS} select epoch, global_step, context, head_id from shown_points \
             where place = 1 and head_id is not null order by epoch"
        );
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(run)
            .bind(line)
            .bind(0)
            .bind(to)
            .fetch_all(self.connection())
            .await?;
        let heads = Json(rows.iter().map(|row| row.head_id.0).collect::<Vec<i64>>());
        let sql = "select head_id, event, seed, value from event_scores \
                   where head_id in (select value from json_each(?1)) and metric = ?2 order by head_id, event, seed";
        let events: Vec<(HeadId, String, String, f64)> =
            sqlx::query_as(sql).bind(&heads).bind(metric).fetch_all(self.connection()).await?;
        let sql = "select head_id, metric, value from summaries \
                   where head_id in (select value from json_each(?1)) and series = 'main'";
        let values: Vec<(HeadId, Metric, Option<f64>)> =
            sqlx::query_as(sql).bind(&heads).fetch_all(self.connection()).await?;
        let (mut events_of, mut values_of) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (head, event, seed, value) in events {
            events_of.entry(head).or_default().push((event, seed, value));
        }
        for (head, metric, value) in values {
            values_of.entry(head).or_default().push((metric, value));
        }
        // Points of equal weights share a head.
        let point = |Row { epoch, global_step, context, head_id }| HistoryPoint {
            epoch,
            global_step,
            context: context.0,
            events: events_of.get(&head_id).cloned().unwrap_or_default(),
            values: values_of.get(&head_id).cloned().unwrap_or_default(),
        };
        Ok(rows.into_iter().map(point).collect())
    }
}
