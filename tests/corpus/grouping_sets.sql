-- Grouping sets.
-- construct: ROLLUP, CUBE, GROUPING SETS and GROUPING()
select region, flag, count(*) from sales group by rollup (region, flag) order by all;
select region, flag, grouping(region), grouping(flag, region), sum(qty), count(distinct product) from sales group by cube (region, flag) order by all;
select region, flag, count(*) from sales where false group by grouping sets ((region), (flag), ()) order by all;
select sum(qty), grouping(region) from sales group by grouping sets ((region), (), ()) order by all;
select count(*) from (select 1 from sales group by rollup(region, flag, product));
