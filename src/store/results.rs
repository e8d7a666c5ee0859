//! Results: what weights give on a data set, head by head; a head is stored once, and others are added beside it.

use std::collections::BTreeSet;

use sqlx::{SqliteConnection, types::Json};

use super::Store;
use crate::{
    domain::{Basis, Digest, FitNote, HeadId, HeadName, HeadReport, JobId, PointId, ProbeReport, ResultId},
    error::Result,
};

/// What a result is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultKey {
    pub weights: Digest,
    pub basis: Basis,
}

impl ResultKey {
    /// One digest of all: the name of the pictures' folder.
    pub fn digest(&self) -> Digest {
        Digest::of(format!("{} {}", self.weights, self.basis).as_bytes())
    }

    /// One digest of this and the heads to be fitted: the name of the report's file.
    pub fn digest_with(&self, heads: &[Digest]) -> Digest {
        let heads: Vec<String> = heads.iter().map(Digest::to_string).collect();
        Digest::of(format!("{} {}", self.digest(), heads.join(" ")).as_bytes())
    }

    /// Whether a report is of this, and of all of these heads.
    pub fn is_of(&self, report: &ProbeReport, heads: &[Digest]) -> bool {
        let has = |digest: &Digest| report.heads.values().any(|head| head.digest == *digest);
        *self == Self { weights: report.weights_digest, basis: report.basis() } && heads.iter().all(has)
    }
}

impl Store {
    /// The result that is stored under a key.
    pub async fn result_of(&self, db: &mut SqliteConnection, key: &ResultKey) -> Result<Option<ResultId>> {
        let sql = "select id from results where weights_digest = ?1 and dataset_digest = ?2 and assignment = ?3 \
                   and preparation_digest = ?4";
        let Basis { dataset, assignment, preparation } = key.basis;
        let query = sqlx::query_scalar(sql).bind(key.weights).bind(dataset).bind(assignment).bind(preparation);
        Ok(query.fetch_optional(db).await?)
    }

    /// The heads that a result has, by the digests of their settings.
    pub async fn heads_of(&self, db: &mut SqliteConnection, result: ResultId) -> Result<Vec<Digest>> {
        Ok(sqlx::query_scalar("select digest from heads where result_id = ?1").bind(result).fetch_all(db).await?)
    }

    /// Stores a report: its heads are added to what is stored under its key; a head that is there already stays.
    pub async fn add_result(&self, db: &mut SqliteConnection, report: &ProbeReport, now: &str) -> Result<ResultId> {
        let key = ResultKey { weights: report.weights_digest, basis: report.basis() };
        let result =
            match self.result_of(db, &key).await? {
                Some(known) => known,
                None => sqlx::query_scalar(
                    "insert into results (weights_digest, dataset_digest, assignment, preparation_digest, preparation, \
                     created_at) values (?1, ?2, ?3, ?4, ?5, ?6) returning id",
                )
                .bind(key.weights)
                .bind(key.basis.dataset)
                .bind(key.basis.assignment)
                .bind(key.basis.preparation)
                .bind(Json(&report.preparation))
                .bind(now)
                .fetch_one(&mut *db)
                .await?,
            };
        let known = self.heads_of(db, result).await?;
        for (&name, head) in report.heads.iter().filter(|(_, head)| !known.contains(&head.digest)) {
            add_head(db, result, report, name, head, now).await?;
        }
        // Points that share the result have the scores of what is new, too.
        sqlx::query(
            "insert into scores (point_id, line, head_id) \
             select distinct j.point_id, h.line, h.id from jobs j join heads h on h.result_id = j.result_id \
             where j.result_id = ?1 and j.state = 'done' order by h.id on conflict do nothing",
        )
        .bind(result)
        .execute(db)
        .await?;
        Ok(result)
    }

    /// The result of a probe job: its point has the scores of all heads of it. The lines that were asked for are now
    /// what their heads show.
    pub async fn link_result(
        &self,
        db: &mut SqliteConnection,
        id: JobId,
        result: ResultId,
        asked: &[Digest],
    ) -> Result<()> {
        sqlx::query("update jobs set result_id = ?2 where id = ?1").bind(id).bind(result).execute(&mut *db).await?;
        sqlx::query(
            "insert into scores (point_id, line, head_id) select j.point_id, h.line, h.id from jobs j \
             join heads h on h.result_id = j.result_id where j.id = ?1 and j.point_id is not null order by h.id on conflict do nothing",
        )
        .bind(id)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "update lines set asked = ?1 \
             where run_id = (select p.run_id from points p join jobs j on j.point_id = p.id where j.id = ?1) and line in \
             (select line from heads where result_id = ?2 and digest in (select value from json_each(?3)))",
        )
        .bind(id)
        .bind(result)
        .bind(Json(asked))
        .execute(db)
        .await?;
        Ok(())
    }

    /// Whether a point has a score under each of these lines.
    pub async fn has_scores(&self, db: &mut SqliteConnection, point: PointId, lines: &[String]) -> Result<bool> {
        let sql = "select count(*) from scores where point_id = ?1 and line in (select value from json_each(?2))";
        let count: i64 = sqlx::query_scalar(sql).bind(point).bind(Json(lines)).fetch_one(db).await?;
        Ok(count == signed(lines.len() as u64))
    }
}

async fn add_head(
    db: &mut SqliteConnection,
    result: ResultId,
    report: &ProbeReport,
    name: HeadName,
    head: &HeadReport,
    now: &str,
) -> Result<()> {
    let own = report.of_head(name);
    let notes: BTreeSet<FitNote> = own.fits.iter().flat_map(|fit| fit.notes.iter().copied()).collect();
    let nulls = || own.fits.iter().filter(|fit| fit.reason.is_some());
    let id: HeadId = sqlx::query_scalar(
        "insert into heads (result_id, head, digest, line, settings, device, n_events, n_chips, notes, null_fits, reason, \
         message, report, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) returning id",
    )
    .bind(result)
    .bind(name)
    .bind(head.digest)
    .bind(report.basis().line(name, head.digest).name())
    .bind(Json(&head.settings))
    .bind(&report.device)
    .bind(signed(report.dataset.events.len() as u64))
    .bind(signed(report.dataset.chips))
    .bind(Json(notes))
    .bind(signed(nulls().count() as u64))
    .bind(nulls().next().and_then(|fit| fit.reason))
    .bind(nulls().next().and_then(|fit| fit.message.clone()))
    .bind(Json(&own))
    .bind(now)
    .fetch_one(&mut *db)
    .await?;
    for &metric in head.summary.keys() {
        let spread = head.spread(metric);
        sqlx::query(
            "insert into summaries (head_id, series, metric, value, std, n, low, high) \
             values (?1, 'main', ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(id)
        .bind(metric)
        .bind(spread.mean)
        .bind(spread.std)
        .bind(spread.n)
        .bind(spread.min)
        .bind(spread.max)
        .execute(&mut *db)
        .await?;
    }
    for score in &own.event_scores {
        let sql = "insert into event_scores (head_id, metric, event, seed, value) values (?1, ?2, ?3, ?4, ?5)";
        let seed = score.seed.map_or(String::new(), |seed| seed.0.to_string());
        let query = sqlx::query(sql).bind(id).bind(score.metric).bind(&score.event).bind(seed).bind(score.value);
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// SQLite's integers are signed; no count of ours comes near the end.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
