//! Disk space: what the folder of state takes, what may go, and runs that go with their files.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sqlx::{FromRow, Row, SqliteConnection, sqlite::SqliteRow, types::Json};
use tracing::info;

use super::{Folder, ResultKey, Store};
use crate::{
    domain::{Basis, Digest, HeadName, Metric, RunId},
    error::{Error, Result},
};

/// A pin of unknown weights is left alone for so long: it may be on its way to its row.
const PIN_GRACE: Duration = Duration::from_secs(3600);
/// Pictures of so many chips of each computation stay, the first of the data set.
const FIXED_CHIPS: i64 = 5;

/// Bytes on disk by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub database: u64,
    pub pins: u64,
    pub pictures: u64,
    pub caches: u64,
    /// Reports on their way.
    pub other: u64,
    /// The largest single pin: another may be as large.
    pub largest_pin: u64,
}

impl Usage {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.database + self.pins + self.pictures + self.caches + self.other
    }

    /// What caches may take beside all the rest and another pin.
    pub fn room_for_caches(&self, max_bytes: u64) -> u64 {
        max_bytes.saturating_sub(self.total() - self.caches + self.largest_pin)
    }

    /// So many bytes too much for another pin to fit.
    pub fn over(&self, max_bytes: u64) -> u64 {
        (self.total() + self.largest_pin).saturating_sub(max_bytes)
    }
}

/// What must fit, and which pins stay whatever comes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_bytes: u64,
    pub keep_last: u32,
    pub keep_best: u32,
}

impl Store {
    /// Bytes on disk by kind.
    pub async fn usage(&self) -> Usage {
        let folder = self.folder().clone();
        tokio::task::spawn_blocking(move || measure(&folder)).await.unwrap_or_default()
    }

    /// Drops pins that nothing needs; and when another pin would be too much, caches first, then pictures. What is left
    /// may still be too much: never does a pin go that is still to be probed.
    pub async fn make_room(&self, limits: Limits) -> Result<Usage> {
        self.drop_spare_pins(limits).await?;
        let mut usage = self.usage().await;
        if usage.over(limits.max_bytes) == 0 {
            return Ok(usage);
        }
        let mut caches = files_below(&self.folder().caches());
        // What begins with a dot is being written: it is renamed when it is whole.
        caches.retain(|(path, _)| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
        let pictures = self.spare_pictures().await?;
        for (kind, files) in [("cache", caches), ("picture", pictures)] {
            let mut over = usage.over(limits.max_bytes);
            let (mut count, mut bytes) = (0, 0);
            for (path, size) in files {
                if over == 0 {
                    break;
                }
                remove_path(&path)?;
                over = over.saturating_sub(size);
                (count, bytes) = (count + 1, bytes + size);
            }
            if count > 0 {
                info!(kind, count, bytes, "removed for space");
                usage = self.usage().await;
            }
        }
        Ok(usage)
    }

    async fn drop_spare_pins(&self, limits: Limits) -> Result<()> {
        let weights = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()?.parse::<Digest>().ok());
        let pins: Vec<(PathBuf, Digest)> = files_below(&self.folder().pins())
            .into_iter()
            .filter_map(|(path, _)| weights(&path).map(|weights| (path, weights)))
            .collect();
        let needed = self.needed_weights(&pins, limits).await?;
        for (path, weights) in pins {
            if !needed.contains(&weights) && (older_than(&path, PIN_GRACE) || self.is_known(weights).await?) {
                remove_path(&path)?;
            }
        }
        Ok(())
    }

    /// Of the weights that are pinned those that stay: still to be probed or placed, the newest of each run, and those
    /// that are kept.
    async fn needed_weights(&self, pins: &[(PathBuf, Digest)], limits: Limits) -> Result<HashSet<Digest>> {
        let pinned: Vec<Digest> = pins.iter().map(|pin| pin.1).collect();
        let rows: Vec<Digest> = sqlx::query_scalar(include_str!("needed_weights.sql"))
            .bind(Json(pinned))
            .bind(limits.keep_last.max(1))
            .bind(limits.keep_best)
            .fetch_all(self.pool())
            .await?;
        Ok(rows.into_iter().collect())
    }

    async fn is_known(&self, weights: Digest) -> Result<bool> {
        let sql = "select exists (select 1 from points where weights_digest = ?1)";
        Ok(sqlx::query_scalar(sql).bind(weights).fetch_one(self.pool()).await?)
    }

    /// Pictures that may go, the oldest head's first: all but those of the newest and the best score of each line that a
    /// run shows, and, of the others, of the first chips of the data set.
    async fn spare_pictures(&self) -> Result<Vec<(PathBuf, u64)>> {
        let rows: Vec<(KeyRow, HeadName, Digest)> = {
            let rows = sqlx::query(include_str!("spare_pictures.sql")).bind(Metric::Iou).fetch_all(self.pool()).await?;
            let read = |row: &SqliteRow| Ok((KeyRow::from_row(row)?, row.try_get("head")?, row.try_get("digest")?));
            rows.iter().map(read).collect::<sqlx::Result<_>>()?
        };
        let mut spare = Vec::new();
        for (key, head, digest) in rows {
            let fixed = self.fixed_pictures(key.dataset).await?;
            let files = files_below(&self.folder().predictions(&key.into(), head, &digest));
            spare.extend(files.into_iter().filter(|(path, _)| !fixed.iter().any(|name| path.ends_with(name))));
        }
        Ok(spare)
    }

    async fn fixed_pictures(&self, dataset: Digest) -> Result<Vec<PathBuf>> {
        let sql = "select path, event from chips where dataset_digest = ?1 order by number limit ?2";
        let rows: Vec<(String, String)> =
            sqlx::query_as(sql).bind(dataset).bind(FIXED_CHIPS).fetch_all(self.pool()).await?;
        let name = |(path, event): (String, String)| {
            let stem = Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Path::new(&event).join(format!("{stem}.prediction.png"))
        };
        Ok(rows.into_iter().map(name).collect())
    }

    /// Removes a run with all that belongs to it alone; returns its files, to be removed once this is committed.
    pub async fn remove_run(&self, db: &mut SqliteConnection, run: RunId) -> Result<Vec<PathBuf>> {
        let sql = "select distinct weights_digest from points p where run_id = ?1 and not exists \
                   (select 1 from points o where o.weights_digest = p.weights_digest and o.run_id <> ?1) \
                   and not exists (select 1 from checkpoints c join jobs j on j.checkpoint_id = c.id \
                   where c.state in ('seen', 'settling') and j.output ->> '$.weights_digest' = p.weights_digest)";
        let weights: Vec<Digest> = sqlx::query_scalar(sql).bind(run).fetch_all(&mut *db).await?;
        let mut files = Vec::new();
        for statement in [
            "delete from events where run_id = ?1",
            "delete from jobs where checkpoint_id in (select id from checkpoints where run_id = ?1) \
             or point_id in (select id from points where run_id = ?1)",
            "delete from checkpoints where run_id = ?1",
            "delete from points where run_id = ?1",
            "delete from runs where id = ?1",
        ] {
            sqlx::query(statement).bind(run).execute(&mut *db).await?;
        }
        for weights in weights {
            files.push(self.folder().pin(&weights));
            let sql = "delete from results where weights_digest = ?1 returning weights_digest as weights, \
                       dataset_digest as dataset, assignment, preparation_digest as preparation";
            let keys: Vec<KeyRow> = sqlx::query_as(sql).bind(weights).fetch_all(&mut *db).await?;
            files.extend(keys.into_iter().map(|key| self.folder().pictures_of(&key.into())));
        }
        Ok(files)
    }
}

/// The key of a result as a row has it.
#[derive(FromRow)]
struct KeyRow {
    weights: Digest,
    dataset: Digest,
    assignment: Digest,
    preparation: Digest,
}

impl From<KeyRow> for ResultKey {
    fn from(row: KeyRow) -> Self {
        let KeyRow { weights, dataset, assignment, preparation } = row;
        Self { weights, basis: Basis { dataset, assignment, preparation } }
    }
}

/// All files below a folder with their sizes, the oldest first.
fn files_below(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) => found.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), entry.path(), meta.len())),
                Err(_) => {}
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, path, size)| (path, size)).collect()
}

fn measure(folder: &Folder) -> Usage {
    let mut usage = Usage::default();
    let (pins, caches) = (folder.pins(), folder.caches());
    for (path, size) in files_below(folder.path()) {
        let kind = if path.starts_with(&pins) {
            usage.largest_pin = usage.largest_pin.max(size);
            &mut usage.pins
        } else if path.starts_with(&caches) {
            &mut usage.caches
        } else if path.starts_with(folder.pictures()) || path.starts_with(folder.datasets()) {
            &mut usage.pictures
        } else if path.parent() == Some(folder.path()) {
            &mut usage.database
        } else {
            &mut usage.other
        };
        *kind += size;
    }
    usage
}

fn older_than(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// Removes a file or a folder of ours; one that is not there is fine.
pub fn remove_path(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn caches_go_until_another_pin_fits() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let store = Store::open(&folder).await.unwrap();
        // Nobody knows these weights yet: the copy is on its way to its row.
        let pin = folder.pin(&Digest::of(b"new"));
        fs::write(&pin, [0; 5000]).unwrap();
        for n in 0..10 {
            fs::write(folder.caches().join(n.to_string()), [0; 1000]).unwrap();
        }
        let total = store.usage().await.total();
        let limits = |max_bytes| Limits { max_bytes, keep_last: 2, keep_best: 3 };
        let caches = async |max_bytes| store.make_room(limits(max_bytes)).await.unwrap().caches;
        assert_eq!(caches(total + 5000).await, 10_000);
        assert_eq!(caches(total).await, 5000, "room for a pin as large as the largest");
        assert_eq!(caches(0).await, 0);
        assert!(pin.exists());
    }
}
