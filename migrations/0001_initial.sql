-- The schema. Times are RFC 3339 in UTC, digests 64 hexadecimal digits, JSON is text.

-- One training run.
create table runs (
    id          integer primary key,
    name        text not null unique,
    created_at  text not null,
    active_at   text not null,             -- its last checkpoint seen
    finished_at text,                      -- its end was told
    checkpoints integer not null default 0, -- counted by the triggers below, as the next two
    points      integer not null default 0,
    scored      integer not null default 0
) strict;

-- One sighting of one content of a path.
create table checkpoints (
    id              integer primary key autoincrement, -- never used again: runs are removed, too
    run_id          integer not null references runs (id),
    path            text not null,         -- absolute, after symlinks
    via             text not null check (via in ('scan', 'post')),
    state           text not null check (state in ('seen', 'settling', 'whole', 'rejected', 'vanished')),
    -- what the API shows: `state`, or, once whole, the state of its point's latest probe job, if there is one
    shown           text not null check (shown in
        ('seen', 'settling', 'whole', 'rejected', 'vanished', 'queued', 'probing', 'done', 'failed', 'cancelled')),
    reason          text,
    message         text,                  -- what, where, what to do
    posted          text not null default '{}', -- JSON: run, attempt, epoch, global_step, metadata as posted
    posted_identity text,                  -- the file's identity when it was posted; null: it was not there
    forced          integer not null default 0 check (forced in (0, 1)),
    context         text not null default '{}', -- JSON: scalars of the trainer
    identity        text,                  -- device:inode:size:mtime_ns:ctime_ns; null while it is not there
    bytes           integer,
    changed_at      text not null,         -- when this identity was first seen; it settles from here
    batch           text not null,         -- when the scan that found it began, or it was posted
    -- what its content says; null until it is whole
    format          text,
    file_digest     text,
    weights_digest  text,
    encoder         text,                  -- JSON: EncoderFacts
    about           text,                  -- JSON: dtype, Lightning's version, plain hyper-parameters
    point_id        integer references points (id),
    created_at      text not null,
    whole_at        text
) strict;
create index checkpoints_by_path on checkpoints (path, id);
create index checkpoints_open on checkpoints (state, run_id) where state in ('seen', 'settling');
create index checkpoints_by_point on checkpoints (point_id);
create index checkpoints_by_run on checkpoints (run_id, id);
create index checkpoints_by_shown on checkpoints (shown, id);
create index checkpoints_by_run_shown on checkpoints (run_id, shown, id);

-- A point of a curve: (run, attempt, global step). Attempts count a run's restarts.
create table points (
    id             integer primary key,
    run_id         integer not null references runs (id),
    attempt        integer not null,       -- counts from 0
    global_step    integer not null,
    step_source    text not null,          -- file, metadata, posted; epoch: none was told, it stands in
    epoch          integer not null,
    epoch_source   text not null,          -- file, metadata, posted, name
    weights_digest text not null,
    due_reason     text,                   -- first, every_n, modulo, last, forced; null: not due
    written_ns     integer not null,       -- when its file was written
    batch          text not null,          -- of its first checkpoint
    context        text not null default '{}',
    created_at     text not null,
    unique (run_id, attempt, global_step)
) strict;
create index points_by_epoch on points (run_id, epoch);
create index points_by_step on points (run_id, global_step, attempt);
create index points_by_weights on points (weights_digest);

-- A job of any kind. Ends are final; asking again makes a new row.
create table jobs (
    id            integer primary key autoincrement, -- never used again: a worker of a removed one may still end
    kind          text not null,           -- scan, pin, probe
    checkpoint_id integer references checkpoints (id), -- of a pin
    point_id      integer references points (id),      -- of a probe
    -- a pin's: the identity of the file; a probe's, once claimed: digests of data set, assignment and preparation
    key           text,
    state         text not null check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
    reason        text,
    message       text,
    tries         integer not null default 0, -- failed tries so far
    restarts      integer not null default 0, -- daemons that went down in a row while it ran
    not_before    text,                    -- a retry waits until then
    output        text,                    -- JSON: what it gave, typed by its kind
    result_id     integer references results (id),
    created_at    text not null,
    started_at    text,
    finished_at   text,
    check (checkpoint_id is null or point_id is null)
) strict;
create index jobs_by_state on jobs (kind, state, id);
create index jobs_by_point on jobs (point_id, id) where point_id is not null;
create index jobs_by_checkpoint on jobs (checkpoint_id, id) where checkpoint_id is not null;
create index jobs_by_result on jobs (result_id) where result_id is not null;

-- What weights give on a data set, computed once per key; points refer to it through their jobs. Its heads are in `heads`.
create table results (
    id                 integer primary key,
    weights_digest     text not null,
    dataset_digest     text not null references datasets (digest),
    assignment         text not null,      -- which chip is on which side
    preparation_digest text not null,
    preparation        text not null,      -- JSON: Preparation
    created_at         text not null,
    unique (weights_digest, dataset_digest, assignment, preparation_digest)
) strict;

-- A head of a result, fitted once per settings; another is added beside those that are there.
create table heads (
    id         integer primary key,
    result_id  integer not null references results (id) on delete cascade,
    head       text not null,
    digest     text not null,              -- of its settings
    line       text not null,              -- twelve digits over data set, assignment, preparation, head and settings
    settings   text not null,              -- JSON: HeadSettings
    device     text not null,
    n_events   integer not null,
    n_chips    integer not null,
    notes      text not null,              -- JSON: notes of its fits, each once
    null_fits  integer not null,           -- fits without a score
    reason     text,                       -- of the first of them
    message    text,
    report     text not null,              -- JSON: ProbeReport of this head alone, with its `schema`
    created_at text not null,
    unique (result_id, digest)
) strict;

-- A metric of a head over its seeds: what every interval is read off.
create table summaries (
    head_id integer not null references heads (id) on delete cascade,
    series  text not null check (series in ('main')), -- not a control
    metric  text not null,
    value   real,                          -- mean over seeds
    std     real,
    n       integer not null,
    low     real,                          -- smallest and largest
    high    real,
    primary key (head_id, series, metric)
) strict;

-- Which points have a score under which line.
create table scores (
    point_id integer not null references points (id) on delete cascade,
    line     text not null,
    head_id  integer not null references heads (id) on delete cascade,
    primary key (point_id, line)
) strict, without rowid;
create index scores_by_head on scores (head_id);

-- The lines of a run, in the order they began; counted by the trigger below.
create table lines (
    id          integer primary key,
    run_id      integer not null references runs (id) on delete cascade,
    line        text not null,
    head        text not null,
    head_id     integer not null references heads (id) on delete cascade, -- of one of its scores: what it is under
    points      integer not null default 0,
    first_epoch integer not null,
    last_epoch  integer not null,
    asked       integer not null default 0, -- the last probe job that asked for it: a head's newest line is what it shows
    created_at  text not null,
    unique (run_id, line)
) strict;
create index lines_by_head on lines (head_id);

-- A scanned data set.
create table datasets (
    digest     text primary key,
    path       text not null,
    summary    text not null,              -- JSON: DatasetSummary
    created_at text not null
) strict;

-- Its usable chips, in the order of the scan.
create table chips (
    dataset_digest text not null references datasets (digest),
    number         integer not null,
    path           text not null,
    event          text not null,
    record         text not null,          -- JSON: ChipRecord
    primary key (dataset_digest, number),
    unique (dataset_digest, path)
) strict;

-- The journal: one row per change of state of a checkpoint or a job, in the transaction of the change.
create table events (
    id            integer primary key autoincrement, -- never used again
    at            text not null,
    run_id        integer references runs (id),      -- null: of no run, as a scan of the data set
    checkpoint_id integer,                 -- whose state changed, or which is pinned
    job_id        integer,                 -- whose state changed
    point_id      integer,
    kind          text,                    -- of the job
    change        text not null,
    state         text not null,           -- after the change
    reason        text,
    message       text
) strict;
create index events_by_checkpoint on events (checkpoint_id) where checkpoint_id is not null;

create trigger checkpoint_added after insert on checkpoints begin
    update runs set checkpoints = checkpoints + 1, active_at = new.created_at where id = new.run_id;
end;
create trigger checkpoint_removed after delete on checkpoints begin
    update runs set checkpoints = checkpoints - 1 where id = old.run_id;
end;
create trigger checkpoint_moved after update of run_id on checkpoints when new.run_id <> old.run_id begin
    update runs set checkpoints = checkpoints - 1 where id = old.run_id;
    update runs set checkpoints = checkpoints + 1 where id = new.run_id;
    update events set run_id = new.run_id where checkpoint_id = new.id;
end;
create trigger point_added after insert on points begin
    update runs set points = points + 1 where id = new.run_id;
end;
create trigger point_scored after update of state on jobs
when new.kind = 'probe' and new.state = 'done'
    and not exists (select 1 from jobs where point_id = new.point_id and state = 'done' and id <> new.id) begin
    update runs set scored = scored + 1 where id = (select run_id from points where id = new.point_id);
end;
create trigger score_added after insert on scores begin
    insert into lines (run_id, line, head, head_id, points, first_epoch, last_epoch, created_at)
    select p.run_id, new.line, h.head, h.id, 1, p.epoch, p.epoch, h.created_at
    from points p join heads h on h.id = new.head_id where p.id = new.point_id
    on conflict (run_id, line) do update set points = points + 1,
        first_epoch = min(first_epoch, excluded.first_epoch), last_epoch = max(last_epoch, excluded.last_epoch);
end;
