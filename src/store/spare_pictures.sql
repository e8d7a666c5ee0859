-- Heads whose pictures may go, the oldest first: all but those of the newest and the best score (?1: the metric) of each
-- line that a run shows.
with ranked as (
    select c.head_id,
           row_number() over (partition by l.id order by p.attempt desc, p.global_step desc) as newness,
           row_number() over (partition by l.id order by m.value desc nulls last) as rank
    from lines l
    join points p on p.run_id = l.run_id
    join scores c on c.point_id = p.id and c.line = l.line
    join summaries m on m.head_id = c.head_id and m.series = 'main' and m.metric = ?1
    where l.id = (select o.id from lines o where o.run_id = l.run_id and o.head = l.head
                  order by o.asked desc, o.id desc limit 1)
)
select x.weights_digest as weights, x.dataset_digest as dataset, x.assignment, x.preparation_digest as preparation,
       h.head, h.digest
from heads h join results x on x.id = h.result_id
where h.id not in (select head_id from ranked where newness = 1 or rank = 1)
order by h.id;
