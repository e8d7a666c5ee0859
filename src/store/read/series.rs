//! The series of a run: one entry per epoch.

use serde::Serialize;
use sqlx::types::Json;

use super::{ChosenLine, Page, SHOWN_POINTS, Snapshot};
use crate::{
    domain::{
        CheckpointId, Context, Digest, DueReason, Epoch, FitNote, HeadName, Interval, JobId, Metric, Reason, RunId,
        RunName, Shown, Spread, words,
    },
    error::Result,
};

words! {
    /// What a line is of besides its head.
    pub enum SeriesName {
        /// The encoder itself, not a control.
        Main = "main",
    }
}

/// Which entries of which series.
#[derive(Clone, Debug)]
pub struct SeriesFilter {
    pub run: RunId,
    pub line: ChosenLine,
    pub metric: Metric,
    /// What `low` and `high` are to be.
    pub interval: Interval,
    /// First epoch, itself included.
    pub from: u32,
    /// Last epoch, itself included.
    pub to: u32,
    /// The `next` of the page before.
    pub cursor: Option<i64>,
    pub limit: u32,
}

/// An entry of `/probes`; what is not known yet is null.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct SeriesItem {
    #[serde(flatten)]
    pub point: SeriesPoint,
    /// What the score is under: values of one line may be compared.
    pub line: Option<String>,
    pub series: SeriesName,
    pub head: HeadName,
    pub metric: Metric,
    /// Mean over seeds.
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// What `low` and `high` are.
    pub interval: Option<Interval>,
    /// Seeds in the mean.
    pub n_seeds: Option<u32>,
    /// Sample standard deviation over seeds.
    pub seed_std: Option<f64>,
    /// Spread over events; not computed yet.
    pub event_std: Option<f64>,
    /// Whether it got better; not computed yet.
    pub verdict: Option<String>,
}

/// What an entry tells besides its score's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct SeriesPoint {
    #[schema(value_type = String)]
    pub run: RunName,
    pub attempt: u32,
    #[schema(value_type = u32)]
    pub epoch: Epoch,
    pub global_step: i64,
    /// `done` where it has a score; else of its latest probe job; else `held` or `skipped`.
    pub state: Shown,
    /// Why there is no value, in a word.
    pub reason: Option<Reason>,
    /// Why there is no value, in a sentence.
    pub message: Option<String>,
    /// Why it is probed.
    pub due_reason: Option<DueReason>,
    #[schema(value_type = Option<i64>)]
    pub checkpoint_id: Option<CheckpointId>,
    #[schema(value_type = String)]
    pub weights_digest: Digest,
    #[schema(value_type = Option<String>)]
    pub dataset_digest: Option<Digest>,
    #[schema(value_type = Option<String>)]
    pub assignment: Option<Digest>,
    #[schema(value_type = Option<String>)]
    pub preparation_digest: Option<Digest>,
    pub n_events: Option<i64>,
    pub n_chips: Option<i64>,
    /// What a reader of the score should know of its fits; null without a score.
    #[schema(value_type = Option<Vec<FitNote>>)]
    pub notes: Option<Json<Vec<FitNote>>>,
    /// Fits that could not be made, and are in no mean.
    pub null_fits: Option<i64>,
    /// Scalars of the trainer.
    #[schema(value_type = Object)]
    pub context: Json<Context>,
    #[schema(value_type = Option<i64>)]
    pub job_id: Option<JobId>,
    pub device: Option<String>,
    pub created_at: String,
    pub finished_at: Option<String>,
}

/// A row: the entry's point and its spread.
#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    point: SeriesPoint,
    line: Option<String>,
    value: Option<f64>,
    std: Option<f64>,
    n: Option<u32>,
    low: Option<f64>,
    high: Option<f64>,
}

impl Row {
    fn item(self, of: &SeriesFilter) -> SeriesItem {
        let Self { point, line, value: mean, std, n, low: min, high: max } = self;
        let summary = n.map(|n| Spread { mean, std, n, min, max }.summary(of.metric, of.interval));
        let ends = summary.as_ref();
        SeriesItem {
            point,
            line,
            series: SeriesName::Main,
            head: of.line.head,
            metric: of.metric,
            value: mean,
            low: ends.and_then(|summary| summary.low),
            high: ends.and_then(|summary| summary.high),
            interval: ends.map(|summary| summary.interval),
            n_seeds: n,
            seed_std: std,
            event_std: None,
            verdict: None,
        }
    }
}

impl Snapshot {
    /// One entry per epoch: what the epoch shows under the line.
    pub async fn series(&mut self, of: SeriesFilter) -> Result<Page<SeriesItem>> {
        let from = of.cursor.map_or(i64::from(of.from), |cursor| i64::from(of.from).max(cursor + 1));
        // The page's last epoch is looked up first, so that the page's points only are ranked.
        let last: Option<i64> = sqlx::query_scalar(
            "select max(epoch) from (select distinct epoch from points where run_id = ?1 and epoch between ?2 and ?3 \
             order by epoch limit ?4)",
        )
        .bind(of.run)
        .bind(from)
        .bind(of.to)
        .bind(of.limit + 1)
        .fetch_one(self.connection())
        .await?;
        let sql = format!(
            "{SHOWN_POINTS}
             select p.run, p.attempt, p.epoch, p.global_step, p.state,
                    case when p.head_id is not null then case when m.value is null then h.reason end
                         else coalesce(case p.state when 'done' then 'other-line' end, j.reason,
                                 case p.state when 'held' then 'not-due-yet' when 'skipped' then 'not-due' end)
                    end as reason,
                    case when p.head_id is null then j.message when m.value is null then h.message end as message,
                    p.due_reason, (select min(c.id) from checkpoints c where c.point_id = p.id) as checkpoint_id,
                    p.weights_digest, p.line, x.dataset_digest, x.assignment, x.preparation_digest,
                    m.value, m.std, m.n, m.low, m.high, h.n_events, h.n_chips, h.notes, h.null_fits,
                    p.context, p.job_id, h.device, coalesce(j.created_at, p.created_at) as created_at, j.finished_at
             from shown_points p
             left join jobs j on j.id = p.job_id
             left join heads h on h.id = p.head_id
             left join results x on x.id = h.result_id
             left join summaries m on m.head_id = p.head_id and m.series = 'main' and m.metric = ?5
             where p.place = 1
             order by p.epoch"
        );
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(of.run)
            .bind(&of.line.line)
            .bind(from)
            .bind(last.unwrap_or(-1))
            .bind(of.metric)
            .fetch_all(self.connection())
            .await?;
        let items = rows.into_iter().map(|row| row.item(&of)).collect();
        Ok(Page::cut(items, of.limit, |item: &SeriesItem| i64::from(item.point.epoch.0)))
    }
}
