-- The first schema. Times are RFC 3339 in UTC, digests 64 hexadecimal digits, JSON is text.

-- One training run.
create table runs (
    id          integer primary key,
    name        text not null unique,
    created_at  text not null,
    active_at   text not null,          -- the last checkpoint seen
    finished_at text
) strict;

-- A start or restart of a run; a point belongs to one.
create table attempts (
    id          integer primary key,
    run_id      integer not null references runs (id),
    number      integer not null,       -- counts from 0
    created_at  text not null,
    unique (run_id, number)
) strict;

-- A file that was seen or announced, in one version of its content.
create table checkpoints (
    id             integer primary key,
    path           text not null,       -- absolute, after symlinks
    via            text not null check (via in ('scan', 'post')),
    state          text not null check (state in ('seen', 'settling', 'whole', 'rejected', 'vanished')),
    reason         text,                -- a class-word
    message        text,                -- what, where, what to do
    run            text not null,       -- as posted, else from the path
    posted         text not null default '{}', -- JSON: run, attempt, epoch, global_step as posted, null where not
    force          integer not null default 0 check (force in (0, 1)),
    context        text not null default '{}', -- JSON: scalars of the trainer
    -- the file's identity; null while it is not there
    device         integer,
    inode          integer,
    size           integer,
    mtime_ns       integer,
    ctime_ns       integer,
    changed_at     text not null,       -- when this identity was first seen; it settles from here
    tries          integer not null default 0, -- pins of this identity that failed and may be tried again
    not_before     text,                -- the next try waits until then
    -- what its content says; null until it is whole
    format         text,
    file_digest    text,
    weights_digest text,
    encoder        text,                -- JSON: EncoderShape
    about          text,                -- JSON: dtype, Lightning's version, plain hyper-parameters
    point_id       integer references points (id),
    created_at     text not null,
    whole_at       text
) strict;
create index checkpoints_by_path on checkpoints (path);
create index checkpoints_by_state on checkpoints (state);
create index checkpoints_by_point on checkpoints (point_id);

-- A point of a curve: (run, attempt, global step).
create table points (
    id             integer primary key,
    attempt_id     integer not null references attempts (id),
    global_step    integer not null,
    step_source    text not null,       -- file, metadata, posted, name
    epoch          integer not null,
    epoch_source   text not null,
    weights_digest text not null,
    context        text not null default '{}',
    created_at     text not null,
    unique (attempt_id, global_step)
) strict;
create index points_by_epoch on points (epoch);

-- The copy of an encoder that we own.
create table pins (
    weights_digest text primary key,
    path           text not null,
    bytes          integer not null,
    created_at     text not null
) strict;

-- What decides a result besides weights and data.
create table protocols (
    digest text primary key,
    body   text not null                -- JSON: Protocol
) strict;

-- A scanned data set.
create table datasets (
    digest     text primary key,
    path       text not null,
    summary    text not null,           -- JSON: DatasetSummary
    created_at text not null
) strict;

-- Its usable chips, in the order of the scan.
create table chips (
    dataset_digest text not null references datasets (digest),
    number         integer not null,
    path           text not null,
    event          text not null,
    record         text not null,       -- JSON: ChipRecord
    primary key (dataset_digest, number),
    unique (dataset_digest, path)
) strict;

-- A point to be probed under a protocol on a data set; asking again makes a new row.
create table requests (
    id              integer primary key,
    point_id        integer not null references points (id),
    protocol_digest text not null references protocols (digest),
    dataset_digest  text not null references datasets (digest),
    state           text not null check (state in
        ('held', 'queued', 'probing', 'done', 'failed', 'skipped', 'superseded', 'cancelled')),
    due_reason      text,               -- first, every_n, modulo, last, forced; null while held
    reason          text,               -- why it ended without a score, or waits
    message         text,
    tries           integer not null default 0, -- failed tries so far
    restarts        integer not null default 0, -- daemon restarts in a row while probing
    progress        text,               -- JSON: Progress of the worker at it
    not_before      text,               -- a retry waits until then
    result_id       integer references results (id),
    same_as         integer references requests (id), -- whose computation this shares
    created_at      text not null,
    started_at      text,
    finished_at     text
) strict;
create index requests_by_point on requests (point_id);
create index requests_by_state on requests (state);

-- A computation, done once per weights, protocol and data set.
create table results (
    id              integer primary key,
    weights_digest  text not null,
    protocol_digest text not null references protocols (digest),
    dataset_digest  text not null references datasets (digest),
    device          text not null,
    device_reason   text not null,
    encoder         text not null,      -- JSON: EncoderShape
    seconds         text not null,      -- JSON: Seconds
    versions        text not null,      -- JSON: Versions
    mean_batch_iou  real,
    chips_encoded   integer not null,
    n_seeds         integer not null,
    n_events        integer not null,
    n_chips         integer not null,
    file            text not null,      -- the report as the worker wrote it
    created_at      text not null,
    unique (weights_digest, protocol_digest, dataset_digest)
) strict;

-- A metric of a result over its seeds.
create table summaries (
    result_id integer not null references results (id),
    metric    text not null check (metric in ('iou', 'dice', 'f1', 'precision', 'recall', 'loss')),
    mean      real,
    std       real,
    n         integer not null,
    low       real,
    high      real,
    interval  text not null,
    primary key (result_id, metric)
) strict;

-- One head fitted with one seed on one fold: its last fit epoch on the validation side.
create table fits (
    id             integer primary key,
    result_id      integer not null references results (id),
    head           text not null,
    seed           integer not null,
    fold           integer not null,
    iou            real,
    dice           real,
    f1             real,
    "precision"    real,
    recall         real,
    loss           real,
    tp             integer not null,
    fp             integer not null,
    fn             integer not null,
    tn             integer not null,
    ignored        integer not null,
    mean_batch_iou real,
    unique (result_id, head, seed, fold)
) strict;

-- Metrics per fit epoch.
create table curve_points (
    fit_id      integer not null references fits (id),
    fit_epoch   integer not null,
    side        text not null check (side in ('train', 'val')),
    iou         real,
    dice        real,
    f1          real,
    "precision" real,
    recall      real,
    loss        real,
    primary key (fit_id, fit_epoch, side)
) strict, without rowid;

-- Counts of one validation chip under one fit.
create table chip_scores (
    fit_id  integer not null references fits (id),
    chip    text not null,
    tp      integer not null,
    fp      integer not null,
    fn      integer not null,
    tn      integer not null,
    ignored integer not null,
    primary key (fit_id, chip)
) strict, without rowid;
