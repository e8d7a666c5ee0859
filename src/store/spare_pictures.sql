-- Computations whose pictures may go, the oldest first: all but the newest and the best of each run (?1: the metric).
with ranked as (
    select p.result_id,
           row_number() over (partition by p.run_id order by p.attempt desc, p.global_step desc) as newness,
           row_number() over (partition by p.run_id order by s.value desc nulls last) as rank
    from shown_points p join summaries s on s.result_id = p.result_id and s.metric = ?1
)
select x.weights_digest, x.protocol_digest, x.dataset_digest from results x
where x.id not in (select result_id from ranked where newness = 1 or rank = 1)
order by x.id;
