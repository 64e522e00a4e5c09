-- NULL.
-- construct: three-valued logic
select id, flag and null a, flag or null o, not flag n, flag is null i, flag is not true t, flag is not false f, flag is unknown u from sales where id < 60 order by id;
select count(*) filter (where qty = null), count(*) filter (where qty <> 1), count(*) filter (where not (qty = 1)), count(*) filter (where qty is distinct from 1), count(*) filter (where qty is not distinct from null) from sales;
select count(*) from sales where (qty > 1 or flag) and not (region = 'north' and flag);
select count(*) from sales where (qty > 1 and flag) is null;
select count(*) from sales where case when flag then qty > 1 end;
select id from sales where qty not between 1 and 3 and (qty in (5, null)) is null order by id limit 40;
select id from sales where region = region and qty >= qty and id < 50 order by id;
select null and false, null or true, null = null, null <> 1, null is null, null in (1, null), 1 in (2, null), 1 not in (2, null), not null from single;
-- construct: functions of NULL
-- names: of a value that is only NULL
select unnest(null);
-- names: of a value that is only NULL
select id, n[1:2] from sales, (select null) t(n) where id < 3;
-- names: of a value that is only NULL
select typeof(n), count(*) from sales left join (select null as n) on true group by all;
select n || 'a', n + 1, n is null, coalesce(n, id), concat(region, null) from (select *, null as n from sales) where id < 5 order by id;
select id, coalesce(qty, product, -1), coalesce(region, note, 'none'), ifnull(flag, false), nullif(qty, 2), nullif(region, note) from sales where id < 60 order by id;
select id, qty + null, region || null, concat(region, null), greatest(qty, null), least(null, region), if(flag, 1, null) from sales where id < 60 order by id;
select sum(nullif(qty, 5)), count(nullif(qty, 5)), avg(case when flag then qty end), max(coalesce(qty, 0)), min(nullif(region, '')) from sales;
select region, sum(case when qty is null then 1 end), count(qty), count(*), sum(null::int), max(null::varchar) from sales group by region order by region nulls first;
select id from sales where coalesce(flag, qty > 2, region = 'east') order by id limit 60;
select qty is null q, region is null r, flag is null f, count(*) from sales group by all order by all;
select nullif(1, 1), coalesce(null, null), coalesce(null, 'x'), null::int + 1, null::varchar || 'x', typeof(null), null::date from single;
select a.id, b.id from sales a join sales b on a.qty is not distinct from b.qty and a.flag is not distinct from b.flag where a.id < 20 and b.id < 20 and a.id < b.id order by all;
select count(*) from sales a left join products p on a.product = p.product where p.name is null and a.product is not null;
select max(a), count(a), sum(c), list(b), string_agg(b, ','), bool_and(a > 1), stddev(a), first(b) from nothing;
