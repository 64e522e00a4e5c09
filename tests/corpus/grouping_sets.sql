-- Grouping sets.
-- construct: ROLLUP, CUBE, GROUPING SETS and GROUPING()
select region, flag, count(*) from sales group by rollup (region, flag) order by all;
select region, flag, grouping(region), grouping(flag, region), sum(qty), count(distinct product) from sales group by cube (region, flag) order by all;
select region, flag, count(*) from sales where false group by grouping sets ((region), (flag), ()) order by all;
select sum(qty), grouping(region) from sales group by grouping sets ((region), (), ()) order by all;
select count(*) from (select 1 from sales group by rollup(region, flag, product));
select count(distinct {'a': 1}) d, count(*) n from sales s join products p using (product) group by rollup (1 is null) order by all;
select region, count(*), sum(price), avg(qty), min(note), count(distinct product) from sales group by rollup (region) order by region nulls first, 2;
select region, flag, qty % 2 m, count(*) from sales group by cube (region, flag, m) order by all;
select region, flag, count(*), grouping_id(region, flag) from sales group by grouping sets ((region, flag), (region), (flag), ()) order by all;
select year(day) y, month(day) m, sum(price), grouping(y) g, grouping(m) h from sales group by rollup (y, m) order by all;
select region, flag, sum(qty) from sales group by region, rollup (flag) order by all;
select region, flag, product % 2 p, count(*) from sales group by grouping sets (rollup (region, flag), cube (p)) order by all;
select region, list(distinct qty order by qty), median(price) from sales where qty < 10 group by rollup (region) order by all;
select case when grouping(region) = 1 then 'total' else coalesce(region, 'unknown') end r, count(*) from sales group by rollup (region) having count(*) > 100 order by 2, 1;
select a, b, count(*), sum(c) from nothing group by cube (a, b) order by all;
select region, count(*) from sales group by grouping sets (region, region, ()) order by all;
select nums, tiny, count(*) from kinds group by cube (nums, tiny) order by all;
select region, sum(n) from (select region, flag, count(*) n from sales group by rollup (region, flag)) group by region order by 1;
select region, qty, count(*) from sales where id < 200 group by all having qty > 1 order by all;
