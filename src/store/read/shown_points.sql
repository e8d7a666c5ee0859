-- What the API shows of the points of a run (?1) under a line (?2; null: none) in a range of epochs (?3 to ?4): their latest
-- probe job, and their score under that line. `place` 1 is what an epoch shows: the newest attempt's highest step with a
-- score under the line, else its highest step. Every read of what an epoch shows begins with this.
with shown_points as (
    select p.*, r.name as run, j.id as job_id, s.line, s.head_id,
           case when s.head_id is not null then 'done'
                when j.state = 'running' then 'probing'
                when j.state is not null then j.state
                when p.id = (select n.id from points n where n.run_id = p.run_id
                             order by n.attempt desc, n.global_step desc limit 1) then 'held'
                else 'skipped' end as state,
           row_number() over (partition by p.epoch
                              order by s.head_id is not null desc, p.attempt desc, p.global_step desc) as place
    from points p
    join runs r on r.id = p.run_id
    left join jobs j on j.id = (select max(l.id) from jobs l where l.point_id = p.id and l.kind = 'probe')
    left join scores s on s.point_id = p.id and s.line = ?2
    where p.run_id = ?1 and p.epoch between ?3 and ?4
)
