-- Of the pinned weights ?1 (a JSON list) those that stay: of probes that are queued or running, of proven checkpoints that
-- are not placed yet, of the newest ?2 points of each run, and of its best ?3 by IoU. What was kept once is ranked among
-- what is kept, so that this looks at a few points however many there are.
with pinned as (
    select p.id, p.run_id, p.attempt, p.global_step, p.weights_digest,
           (select max(s.value) from jobs j join summaries s on s.result_id = j.result_id and s.metric = 'iou'
            where j.point_id = p.id and j.state = 'done') as iou
    from json_each(?1) w join points p on p.weights_digest = w.value
),
ranked as (
    select weights_digest,
           row_number() over (partition by run_id order by attempt desc, global_step desc) as newness,
           row_number() over (partition by run_id order by iou desc nulls last) as rank
    from pinned
)
select weights_digest from ranked where newness <= ?2 or rank <= ?3
union
select p.weights_digest from jobs j join points p on p.id = j.point_id
where j.kind = 'probe' and j.state in ('queued', 'running')
union
select json_extract(j.output, '$.weights_digest') from checkpoints c join jobs j on j.checkpoint_id = c.id
where c.state in ('seen', 'settling') and j.output is not null;
