//! The series of a run: one entry per epoch.

use serde::Serialize;

use super::{Doc, Page};
use crate::{domain::Metric, error::Result, store::Store};

/// Which entries of a series.
#[derive(Clone, Debug)]
pub struct SeriesFilter<'a> {
    pub run: &'a str,
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
    pub run: String,
    pub attempt: i64,
    pub epoch: i64,
    pub global_step: i64,
    /// Of its latest request: `held`, `queued`, `probing`, `done`, `failed`, `skipped`, `superseded`, `cancelled`.
    pub state: Option<String>,
    /// Why there is no value, in a word.
    pub reason: Option<String>,
    /// Why there is no value, in a sentence.
    pub message: Option<String>,
    /// Why it is probed: `first`, `every_n`, `modulo`, `last`, `forced`.
    pub due_reason: Option<String>,
    pub checkpoint_id: Option<i64>,
    pub weights_digest: String,
    pub protocol_digest: Option<String>,
    pub dataset_digest: Option<String>,
    #[sqlx(skip)]
    pub metric: String,
    /// Mean over seeds.
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// What `low` and `high` are: `seed_minmax` or `t95`.
    pub interval: Option<String>,
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
    pub context: Doc,
    /// How far the worker is, while probing.
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Doc>,
    pub created_at: String,
    pub finished_at: Option<String>,
}

impl Store {
    /// One entry per epoch: the newest attempt's highest step.
    pub async fn series(&self, of: SeriesFilter<'_>) -> Result<Page<SeriesItem>> {
        let mut rows = sqlx::query_as::<_, SeriesItem>(
            "with ranked as (
                 select r.name as run, a.number as attempt, p.*, row_number() over
                     (partition by p.epoch order by a.number desc, p.global_step desc) as place
                 from points p join attempts a on a.id = p.attempt_id join runs r on r.id = a.run_id
                 where r.name = ?1 and p.epoch between ?2 and ?3 and p.epoch > ?4)
             select p.run, p.attempt, p.epoch, p.global_step, q.state, q.message, q.due_reason,
                    coalesce(q.reason, case q.state when 'held' then 'not-yet-due' when 'skipped' then 'not-due' end)
                        as reason,
                    (select min(c.id) from checkpoints c where c.point_id = p.id) as checkpoint_id,
                    p.weights_digest, q.protocol_digest, q.dataset_digest,
                    s.mean as value, s.low, s.high, s.interval, s.n as n_seeds, s.std as seed_std,
                    x.n_events, x.n_chips, p.context,
                    case q.state when 'probing' then q.progress end as progress,
                    coalesce(q.created_at, p.created_at) as created_at, q.finished_at
             from ranked p
             left join requests q on q.id = (select max(id) from requests where point_id = p.id)
             left join results x on x.id = q.result_id
             left join summaries s on s.result_id = x.id and s.metric = ?5
             where p.place = 1
             order by p.epoch limit ?6",
        )
        .bind(of.run)
        .bind(of.from)
        .bind(of.to)
        .bind(of.cursor.unwrap_or(-1))
        .bind(of.metric.as_str())
        .bind(of.limit + 1)
        .fetch_all(self.pool())
        .await?;
        rows.iter_mut().for_each(|item| item.metric = of.metric.as_str().to_owned());
        Ok(Page::cut(rows, of.limit, |item| item.epoch))
    }
}
