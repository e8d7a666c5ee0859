-- The schema. Times are RFC 3339 in UTC, digests 64 hexadecimal digits, JSON is text.

-- One training run.
create table runs (
    id          integer primary key,
    name        text not null unique,
    created_at  text not null,
    active_at   text not null,             -- its last checkpoint seen
    finished_at text,                      -- its end was told
    line        text,                      -- the line of its newest score
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
    posted          text not null default '{}', -- JSON: run, attempt, epoch, global_step as posted
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
    encoder         text,                  -- JSON: EncoderShape
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
    -- a pin's: the identity of the file; a probe's, once claimed: protocol digest and data set digest
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

-- A computation, done once per weights, protocol and data set; points refer to it through their jobs.
create table results (
    id              integer primary key,
    weights_digest  text not null,
    protocol_digest text not null,
    dataset_digest  text not null references datasets (digest),
    line            text not null,         -- twelve digits over protocol and data set: what tells lines apart
    device          text not null,
    n_seeds         integer not null,
    n_events        integer not null,
    n_chips         integer not null,
    report          text not null,         -- JSON: ProbeReport, with its `schema`
    created_at      text not null,
    unique (weights_digest, protocol_digest, dataset_digest)
) strict;

-- A metric of a result over its seeds.
create table summaries (
    result_id integer not null references results (id) on delete cascade,
    metric    text not null,
    value     real,                        -- mean over seeds
    std       real,
    n         integer not null,
    low       real,
    high      real,
    interval  text not null,
    primary key (result_id, metric)
) strict;

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

-- What the API shows of points: their latest probe job, and their score under the line of the run's newest score.
-- `place` 1 is what an epoch shows: the newest attempt's highest step with a score under that line, else its highest
-- step. Every read goes through here.
create view shown_points as
select p.*, r.name as run, r.line as run_line, j.id as job_id, j.result_id as latest_result_id, s.result_id as result_id,
       case when s.id is not null then 'done'
            when j.state = 'running' then 'probing'
            when j.state is not null then j.state
            when p.id = (select n.id from points n where n.run_id = p.run_id
                         order by n.attempt desc, n.global_step desc limit 1) then 'held'
            else 'skipped' end as state,
       row_number() over (partition by p.run_id, p.epoch
                          order by s.id is not null desc, p.attempt desc, p.global_step desc) as place
from points p
join runs r on r.id = p.run_id
left join jobs j on j.id = (select max(l.id) from jobs l where l.point_id = p.id)
left join jobs s on s.id = (select max(d.id) from jobs d join results x on x.id = d.result_id
                            where d.point_id = p.id and d.state = 'done' and x.line = r.line);

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
