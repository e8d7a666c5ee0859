//! A database with everything in it that an answer can be about.

use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};

pub const DATASET: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
pub const PROTOCOL: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";
pub const RUN: &str = "exp/a 1";
const TIME: &str = "2026-11-24T03:00:00Z";

/// Weights digest of a point.
pub fn weights(point: i64) -> String {
    format!("{point:064x}")
}

async fn run(pool: &SqlitePool, sql: &'static str, values: &[&str]) {
    let mut query = sqlx::query(sql);
    for value in values {
        query = query.bind(*value);
    }
    query.execute(pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A point of the run with its checkpoint, both numbered `id`.
async fn point(pool: &SqlitePool, id: i64, attempt: i64, epoch: i64, step: i64) {
    let sql = "insert into points (id, attempt_id, global_step, step_source, epoch, epoch_source, weights_digest,
               context, created_at) values (?, ?, ?, 'file', ?, 'file', ?, '{\"train_loss\":0.5}', ?)";
    let query = sqlx::query(sql).bind(id).bind(attempt).bind(step).bind(epoch).bind(weights(id)).bind(TIME);
    query.execute(pool).await.unwrap();
    let sql = "insert into checkpoints (id, path, via, state, run, format, weights_digest, point_id, created_at,
               changed_at, encoder, about, size) values (?1, ?2, 'scan', 'whole', ?3, 'lightning', ?4, ?5, ?6, ?6, '{\"dim\":32}', '{}', 9)";
    let path = format!("/ckpt/{RUN}/mae_epoch-{epoch:02}.ckpt");
    let query = sqlx::query(sql).bind(id).bind(path).bind(RUN).bind(weights(id)).bind(id).bind(TIME);
    query.execute(pool).await.unwrap();
}

async fn request(pool: &SqlitePool, point: i64, state: &str, reason: Option<&str>, due: Option<&str>) {
    let sql = "insert into requests (point_id, protocol_digest, dataset_digest, state, reason, due_reason, created_at,
               result_id, finished_at, progress) values (?1, ?2, ?3, ?4, ?5, ?6, ?7,
               case ?4 when 'done' then ?1 end, case ?4 when 'done' then ?7 end,
               case ?4 when 'probing' then '{\"stage\":\"fit\",\"done\":3,\"total\":9}' end)";
    let query = sqlx::query(sql).bind(point).bind(PROTOCOL).bind(DATASET).bind(state).bind(reason).bind(due);
    query.bind(TIME).execute(pool).await.unwrap();
}

/// A result numbered as its point: two seeds, one fold, two fit epochs, one chip.
async fn result(pool: &SqlitePool, id: i64, iou: f64) {
    let sql = "insert into results (id, weights_digest, protocol_digest, dataset_digest, device, device_reason,
               encoder, seconds, versions, mean_batch_iou, chips_encoded, n_seeds, n_events, n_chips, file, created_at)
               values (?1, ?2, ?3, ?4, 'cpu', 'asked for', '{\"dim\":32}', '{\"load\":0.1}', '{\"candle\":\"0.11\"}',
               0.4, 6, 2, 2, 3, ?5, ?6)";
    let file = format!("/elsewhere/key-{id}.json");
    let query = sqlx::query(sql).bind(id).bind(weights(id)).bind(PROTOCOL).bind(DATASET).bind(file).bind(TIME);
    query.execute(pool).await.unwrap();
    for (metric, mean) in [("iou", iou), ("dice", iou * 1.2), ("f1", iou * 1.2), ("recall", 0.7), ("loss", 1.0 - iou)] {
        let sql = "insert into summaries values (?, ?, ?, 0.05, 2, ?, ?, 'seed_minmax')";
        let query = sqlx::query(sql).bind(id).bind(metric).bind(mean).bind(mean - 0.06).bind(mean + 0.05);
        query.execute(pool).await.unwrap();
    }
    sqlx::query("insert into summaries values (?, 'precision', null, null, 0, null, null, 'seed_minmax')")
        .bind(id)
        .execute(pool)
        .await
        .unwrap();
    for seed in [0, 1] {
        let fit = id * 10 + seed;
        let sql = "insert into fits values (?, ?, 'conv', ?, 0, ?, 0.6, 0.6, null, 0.7, 0.5, 6, 2, 4, 8, 3, 0.4)";
        sqlx::query(sql).bind(fit).bind(id).bind(seed).bind(iou).execute(pool).await.unwrap();
        for (epoch, side) in [(1, "train"), (1, "val"), (2, "train"), (2, "val")] {
            let sql = "insert into curve_points values (?, ?, ?, 0.3, 0.4, 0.4, null, 0.5, 0.6)";
            sqlx::query(sql).bind(fit).bind(epoch).bind(side).execute(pool).await.unwrap();
        }
        let sql = "insert into chip_scores values (?, 'spain/s1.tif', 3, 1, 2, 4, 1)";
        sqlx::query(sql).bind(fit).execute(pool).await.unwrap();
    }
}

/// Fills a fresh database. The run has 2 attempts and 10 points: done at epochs 0 and 4, and at epoch 5 in both
/// attempts; skipped at 1 and 2, failed at 3, then one probing, one queued, one held.
pub async fn fill(file: &std::path::Path) {
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(file)).await.unwrap();
    let p = &pool;
    let runs = "insert into runs (id, name, created_at, active_at) values
                (1, 'old', ?1, '2026-01-01T00:00:00Z'), (2, ?2, ?1, ?1)";
    run(p, runs, &[TIME, RUN]).await;
    run(p, "insert into attempts values (1, 2, 0, ?1), (2, 2, 1, ?1), (3, 1, 0, ?1)", &[TIME]).await;
    run(p, "insert into protocols values (?, '{\"revision\":1}')", &[PROTOCOL]).await;
    run(p, "insert into datasets values (?, '/data', '{\"chips\":3}', ?)", &[DATASET, TIME]).await;
    for (number, path) in ["peru/twin.tif", "spain/s1.tif", "spain/twin.tif"].into_iter().enumerate() {
        let event = path.split('/').next().unwrap();
        let record = serde_json::json!({"path": path, "event": event, "split": "0", "side": 64, "epsg": 32630,
            "bbox": [1.0, 2.0, 3.0, 4.0], "lat": 40.0, "lon": -3.0, "date": "2019-09-17", "source_url": "s1",
            "latlon": [0.1, 0.2], "timestep": [1.0, 2.0, 3.0], "water": 5, "land": 6, "ignored": 7, "nonfinite": 0});
        let sql = "insert into chips values (?, ?, ?, ?, ?)";
        let query = sqlx::query(sql).bind(DATASET).bind(number as i64).bind(path).bind(event);
        query.bind(record.to_string()).execute(p).await.unwrap();
    }
    for (id, attempt, epoch, iou) in [(1, 1, 0, 0.4), (5, 1, 4, 0.5), (6, 1, 5, 0.55), (7, 2, 5, 0.6)] {
        result(p, id, iou).await;
        point(p, id, attempt, epoch, epoch * 10 + 9 - attempt).await;
        request(p, id, "done", None, Some("every_n")).await;
    }
    for (id, epoch, state, reason) in
        [(2, 1, "skipped", None), (3, 2, "skipped", None), (4, 3, "failed", Some("out-of-memory"))]
    {
        point(p, id, 1, epoch, epoch * 10 + 8).await;
        request(p, id, state, reason, reason.and(Some("every_n"))).await;
    }
    for (id, epoch, state) in [(8, 6, "probing"), (9, 7, "queued"), (10, 8, "held")] {
        point(p, id, 2, epoch, epoch * 10 + 7).await;
        request(p, id, state, None, (state != "held").then_some("every_n")).await;
    }
    let sql = "insert into checkpoints (id, path, via, state, reason, message, run, posted, created_at, changed_at)
        values
        (20, '/ckpt/torn.ckpt', 'scan', 'rejected', 'truncated', '`torn.ckpt` ends early', ?2, '{}', ?1, ?1),
        (21, '/ckpt/late.ckpt', 'post', 'settling', null, null, 'old', '{\"epoch\":3,\"global_step\":30}', ?1, ?1),
        (22, '/ckpt/new/e.ckpt', 'post', 'seen', null, null, 'unproven', '{}', '2025-01-01T00:00:00Z',
        ?1)";
    run(p, sql, &[TIME, RUN]).await;
    pool.close().await;
}
