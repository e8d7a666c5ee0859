//! A computation, read back whole: the head that is shown, and the others of the same result.

use sqlx::types::Json;

use crate::{
    domain::{HeadId, HeadName, ProbeReport},
    error::Result,
    store::Store,
};

/// A head of a result: its report, and when it was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadItem {
    pub head: HeadName,
    pub line: String,
    /// Of this head alone.
    pub report: ProbeReport,
    pub created_at: String,
}

impl Store {
    /// The heads of the result that a stored head belongs to: that one first, then of every other head the one that was
    /// stored last.
    pub async fn heads_beside(&self, head: HeadId) -> Result<Vec<HeadItem>> {
        let rows: Vec<(HeadName, String, Json<ProbeReport>, String)> = sqlx::query_as(
            "select h.head, h.line, h.report, h.created_at from heads own join heads h on h.result_id = own.result_id \
             where own.id = ?1 and (h.id = own.id or (h.head <> own.head and h.id = \
                 (select max(o.id) from heads o where o.result_id = own.result_id and o.head = h.head))) \
             order by h.id <> own.id, h.head",
        )
        .bind(head)
        .fetch_all(self.pool())
        .await?;
        let item = |(head, line, report, created_at): (_, _, Json<ProbeReport>, _)| HeadItem {
            head,
            line,
            report: report.0,
            created_at,
        };
        Ok(rows.into_iter().map(item).collect())
    }
}
