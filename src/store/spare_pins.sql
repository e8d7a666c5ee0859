-- Pins that no open request needs, and that are neither among the newest ?1 nor the best ?2 points of their run.
with ranked as (
    select p.weights_digest,
           row_number() over (partition by a.run_id order by a.number desc, p.global_step desc) as newness,
           row_number() over (partition by a.run_id order by (
               select s.mean from requests r join summaries s on s.result_id = r.result_id and s.metric = 'iou'
               where r.point_id = p.id and r.state = 'done' order by r.id desc limit 1
           ) desc nulls last) as rank
    from points p join attempts a on a.id = p.attempt_id
)
select weights_digest, path, bytes from pins
where weights_digest not in (select weights_digest from ranked where newness <= ?1 or rank <= ?2)
  and weights_digest not in (
      select p.weights_digest from requests r join points p on p.id = r.point_id
      where r.state in ('held', 'queued', 'probing'))
order by created_at;
