-- The queued request of the lowest step that may start at ?1, and the result that is already known for its key.
select r.id, r.tries, r.protocol_digest, r.dataset_digest, p.weights_digest, p.epoch, p.global_step, u.name as run,
       (select c.path from checkpoints c where c.point_id = p.id order by c.id limit 1) as path,
       (select k.id from results k where k.weights_digest = p.weights_digest
          and k.protocol_digest = r.protocol_digest and k.dataset_digest = r.dataset_digest) as result_id
from requests r
join points p on p.id = r.point_id
join attempts a on a.id = p.attempt_id
join runs u on u.id = a.run_id
where r.state = 'queued'
  and (r.not_before is null or r.not_before <= ?1)
  and not exists (
      select 1 from requests r2 join points p2 on p2.id = r2.point_id
      where r2.state = 'probing' and p2.weights_digest = p.weights_digest
        and r2.protocol_digest = r.protocol_digest and r2.dataset_digest = r.dataset_digest)
order by p.global_step, r.id
limit 1;
