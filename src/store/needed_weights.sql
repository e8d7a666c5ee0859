-- Of the pinned weights ?1 (a JSON list) those that stay: of probes that are queued or running, of proven checkpoints that
-- are not placed yet, of the newest ?2 points of each run, and of the best ?3 by IoU of each line that a run shows. What
-- was kept once is ranked among what is kept, so that this looks at a few points however many there are.
with pinned as (
    select p.id, p.run_id, p.attempt, p.global_step, p.weights_digest
    from json_each(?1) w join points p on p.weights_digest = w.value
),
newest as (
    select weights_digest, row_number() over (partition by run_id order by attempt desc, global_step desc) as newness
    from pinned
),
best as (
    select p.weights_digest, row_number() over (partition by l.id order by m.value desc nulls last) as rank
    from pinned p
    join scores c on c.point_id = p.id
    join lines l on l.run_id = p.run_id and l.line = c.line
    join summaries m on m.head_id = c.head_id and m.series = 'main' and m.metric = 'iou'
    where l.id = (select o.id from lines o where o.run_id = l.run_id and o.head = l.head
                  order by o.asked desc, o.id desc limit 1)
)
select weights_digest from newest where newness <= ?2
union
select weights_digest from best where rank <= ?3
union
select p.weights_digest from jobs j join points p on p.id = j.point_id
where j.kind in ('quick', 'probe') and j.state in ('queued', 'running')
union
select json_extract(j.output, '$.weights_digest') from checkpoints c join jobs j on j.checkpoint_id = c.id
where c.state in ('seen', 'settling') and j.output is not null;
