-- Quick scores (jobs of kind `quick`), scores per event, controls (jobs of kind `control`).

drop trigger point_scored;
create trigger point_scored after update of state on jobs
when new.kind = 'probe' and new.state = 'done'
    and not exists (select 1 from jobs
                    where point_id = new.point_id and kind = 'probe' and state = 'done' and id <> new.id) begin
    update runs set scored = scored + 1 where id = (select run_id from points where id = new.point_id);
end;

-- A metric of a head on one event: what two points are compared by.
create table event_scores (
    head_id integer not null references heads (id) on delete cascade,
    metric  text not null,
    event   text not null,
    seed    text not null,                 -- empty: of a head without seeds
    value   real not null,
    primary key (head_id, metric, event, seed)
) strict, without rowid;

-- What learnt nothing, under the keys of a result but its weights: a number of a draw.
create table controls (
    id                 integer primary key,
    dataset_digest     text not null,
    assignment         text not null,
    preparation_digest text not null,
    architecture       text not null,      -- over family and sizes of the encoder
    control            text not null,
    draw               integer not null,   -- from 0
    head               text,               -- null: of a control without features
    head_digest        text,               -- of its settings
    metric             text not null,
    value              real,
    note               text,
    created_at         text not null
) strict;
create index controls_by_key on controls (dataset_digest, assignment, preparation_digest, architecture);
