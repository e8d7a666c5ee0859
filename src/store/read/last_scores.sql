-- The newest score of each run under its line, by the training's order, and how far the training is ahead of it.
with last as (
    select r.id, r.name,
           (select p.id from points p where p.run_id = r.id and exists
               (select 1 from jobs j join results x on x.id = j.result_id
                where j.point_id = p.id and j.state = 'done' and x.line = r.line)
            order by p.attempt desc, p.global_step desc limit 1) as point_id,
           (select max(epoch) from points where run_id = r.id) as newest
    from runs r where r.points > 0
)
select l.name as run, p.epoch, l.newest - coalesce(p.epoch, -1) as lag_epochs,
       (select s.value from jobs j join summaries s on s.result_id = j.result_id and s.metric = 'iou'
        where j.point_id = p.id and j.state = 'done' order by j.id desc limit 1) as iou
from last l left join points p on p.id = l.point_id;
