//! The series of a run: one entry per epoch.

use serde::Serialize;
use sqlx::types::Json;

use super::Page;
use crate::{
    domain::{CheckpointId, Context, Digest, DueReason, Epoch, Interval, JobId, Metric, Reason, RunId, RunName, Shown},
    error::Result,
    store::Store,
};

/// Which entries of a series.
#[derive(Clone, Debug)]
pub struct SeriesFilter {
    pub run: RunId,
    pub metric: Metric,
    /// First epoch, itself included.
    pub from: u32,
    /// Last epoch, itself included.
    pub to: u32,
    /// The `next` of the page before.
    pub cursor: Option<i64>,
    pub limit: u32,
}

/// An entry of `/probes`; what is not known yet is null.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct SeriesItem {
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
    /// What the score is under: values of one line may be compared.
    pub line: Option<String>,
    #[schema(value_type = Option<String>)]
    pub protocol_digest: Option<Digest>,
    #[schema(value_type = Option<String>)]
    pub dataset_digest: Option<Digest>,
    pub metric: Metric,
    /// Mean over seeds.
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// What `low` and `high` are.
    pub interval: Option<Interval>,
    /// Seeds in the mean.
    pub n_seeds: Option<i64>,
    pub n_events: Option<i64>,
    pub n_chips: Option<i64>,
    /// Sample standard deviation over seeds.
    pub seed_std: Option<f64>,
    /// Spread over events; not computed yet.
    #[sqlx(skip)]
    pub event_std: Option<f64>,
    /// Whether it got better; not computed yet.
    #[sqlx(skip)]
    pub verdict: Option<String>,
    /// Scalars of the trainer.
    #[schema(value_type = Object)]
    pub context: Json<Context>,
    #[schema(value_type = Option<i64>)]
    pub job_id: Option<JobId>,
    pub device: Option<String>,
    pub created_at: String,
    pub finished_at: Option<String>,
}

impl Store {
    /// One entry per epoch: what the epoch shows.
    pub async fn series(&self, of: SeriesFilter) -> Result<Page<SeriesItem>> {
        let from = of.cursor.map_or(i64::from(of.from), |cursor| i64::from(of.from).max(cursor + 1));
        // The page's last epoch is looked up first, so that the view ranks the page's points only.
        let last: Option<i64> = sqlx::query_scalar(
            "select max(epoch) from (select distinct epoch from points where run_id = ?1 and epoch between ?2 and ?3 \
             order by epoch limit ?4)",
        )
        .bind(of.run)
        .bind(from)
        .bind(of.to)
        .bind(of.limit + 1)
        .fetch_one(self.pool())
        .await?;
        let rows = sqlx::query_as::<_, SeriesItem>(
            "select p.run, p.attempt, p.epoch, p.global_step, p.state,
                    coalesce(case when p.result_id is null and p.state = 'done' then 'other-line' end,
                        case when p.result_id is null then j.reason end,
                        case p.state when 'held' then 'not-due-yet' when 'skipped' then 'not-due' end) as reason,
                    case when p.result_id is null then j.message end as message, p.due_reason,
                    (select min(c.id) from checkpoints c where c.point_id = p.id) as checkpoint_id,
                    p.weights_digest, x.line, x.protocol_digest, x.dataset_digest, ?4 as metric,
                    s.value, s.low, s.high, s.interval, s.n as n_seeds, s.std as seed_std, x.n_events, x.n_chips,
                    p.context, p.job_id, x.device, coalesce(j.created_at, p.created_at) as created_at, j.finished_at
             from shown_points p
             left join jobs j on j.id = p.job_id
             left join results x on x.id = p.result_id
             left join summaries s on s.result_id = x.id and s.metric = ?4
             where p.run_id = ?1 and p.epoch between ?2 and ?3 and p.place = 1
             order by p.epoch",
        )
        .bind(of.run)
        .bind(from)
        .bind(last.unwrap_or(-1))
        .bind(of.metric)
        .fetch_all(self.pool())
        .await?;
        Ok(Page::cut(rows, of.limit, |item| i64::from(item.epoch.0)))
    }
}
