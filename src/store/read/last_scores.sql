-- The newest score of each head that each run shows, by the training's order, and how far the training is ahead of it; of
-- a run without a score one row without a head.
with shown as (
    select r.id as run_id, r.name as run, l.head, l.line, (select max(epoch) from points where run_id = r.id) as newest
    from runs r
    left join lines l on l.run_id = r.id and l.id = (select o.id from lines o where o.run_id = r.id and o.head = l.head
                                                     order by o.asked desc, o.id desc limit 1)
    where r.points > 0
),
last as (
    select s.*, (select p.id from points p where p.run_id = s.run_id
                 and exists (select 1 from scores c where c.point_id = p.id and c.line = s.line)
                 order by p.attempt desc, p.global_step desc limit 1) as point_id
    from shown s
)
select l.run, l.head, p.epoch, l.newest - coalesce(p.epoch, -1) as lag_epochs, m.value as iou
from last l
left join points p on p.id = l.point_id
left join scores c on c.point_id = l.point_id and c.line = l.line
left join summaries m on m.head_id = c.head_id and m.series = 'main' and m.metric = 'iou'
order by l.run, l.head;
