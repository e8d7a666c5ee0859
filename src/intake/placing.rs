//! Placing: what is proven is put on its curve. Files of one batch are placed in the order of what they say.

use std::{collections::HashSet, path::Path, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{Intake, files::training_order, rest};
use crate::{
    domain::{Change, Epoch, Facts, Pinned, Reason, State, ValueSource},
    error::{Error, Result},
    queue::Arrival,
    store::{CheckpointRow, age_of},
};

/// So long after it settled a proven checkpoint is placed, whatever of its batch is still being read.
const PATIENCE: Duration = Duration::from_secs(60);

impl Intake {
    /// Runs until it is told to stop.
    pub(super) async fn place(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let changed = self.queue.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let began = Instant::now();
            if let Err(error) = self.place_once().await {
                error!(%error, "proven checkpoints could not be placed; it is tried again");
            }
            rest(changed, stop, began, Duration::from_millis(10), Duration::from_secs(2)).await;
        }
    }

    async fn place_once(&self) -> Result<()> {
        let rows = self.store.open_checkpoints().await?;
        let awaited: HashSet<(&str, &str)> = rows.iter().filter(|row| is_awaited(row)).map(batch_of).collect();
        let mut proven: Vec<(&CheckpointRow, &Pinned)> =
            rows.iter().filter_map(|row| Some((row, row.proven()?))).collect();
        proven.sort_by_cached_key(|(row, pinned)| {
            let mtime = row.identity.map_or(0, |identity| identity.mtime_ns);
            (
                row.batch.clone(),
                pinned.epoch,
                pinned.global_step.map(|s| s.0),
                training_order(Path::new(&row.path), mtime),
            )
        });
        for (row, pinned) in proven {
            let patient = age_of(&row.changed_at) < self.config.settle + PATIENCE;
            if patient && awaited.contains(&batch_of(row)) {
                continue;
            }
            self.place_one(row, pinned).await?;
        }
        Ok(())
    }

    async fn place_one(&self, row: &CheckpointRow, pinned: &Pinned) -> Result<()> {
        let told = told(pinned);
        let facts = row.posted.0.clone();
        if let Some(text) = facts.contradiction(&told) {
            if row.posted_identity.is_none_or(|posted| Some(posted) == row.identity) {
                let message = format!("`{}`: {text} in the file", row.path);
                return self.end(row, Change::Refused, Reason::ContradictsPost, message).await;
            }
            // It was posted about content that is gone: the next look places it without.
            let mut tx = self.store.write().await?;
            let forgotten = self.store.forget_posted(&mut tx, row.id).await;
            tx.end(forgotten).await?;
            self.queue.tell_change();
            return Ok(());
        }
        let Some(arrival) = arrival(row, pinned, facts) else {
            let message = format!(
                "`{}` tells no epoch, neither inside nor in its name; hint: POST it to `/checkpoints` with `epoch`",
                row.path
            );
            return self.end(row, Change::Refused, Reason::NoEpoch, message).await;
        };
        match self.queue.place(row, pinned, &arrival).await {
            Err(Error::Conflict(told)) => self.end(row, Change::Refused, Reason::ContradictsPost, told.message).await,
            placed => placed,
        }
    }
}

/// Files of one scan in one run.
fn batch_of(row: &CheckpointRow) -> (&str, &str) {
    (&row.batch, row.run.as_str())
}

/// Still to be read for the first time; what failed once holds up nobody.
fn is_awaited(row: &CheckpointRow) -> bool {
    row.state == State::Settling && row.proven().is_none() && row.pin_tries.unwrap_or(0) == 0
}

/// What the content says of its place.
pub(super) fn told(pinned: &Pinned) -> Facts {
    Facts {
        epoch: pinned.epoch.map(|epoch| epoch.0),
        global_step: pinned.global_step.map(|step| step.0),
        ..Facts::default()
    }
}

/// Where a checkpoint belongs: what the file says, else what was posted, else what its name says. `None`: no epoch.
fn arrival(row: &CheckpointRow, pinned: &Pinned, facts: Facts) -> Option<Arrival> {
    let name = Path::new(&row.path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let from_name = || Epoch::from_file_name(&name).map(|epoch| (epoch, ValueSource::Name));
    let posted = facts.epoch.map(|epoch| (epoch, ValueSource::Posted));
    let step = pinned.global_step.or(facts.global_step.map(|step| (step, ValueSource::Posted)));
    Some(Arrival {
        run: facts.run.unwrap_or_else(|| row.run.clone()),
        attempt: facts.attempt,
        epoch: pinned.epoch.or(posted).or_else(from_name)?,
        global_step: step.map(|(step, source)| (i64::try_from(step).unwrap_or(i64::MAX), source)),
    })
}
