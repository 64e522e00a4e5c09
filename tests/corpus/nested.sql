-- Nested types.
-- construct: keys and values of nested types
select [region, 'x'] as k, count(*) from sales group by k order by 2, 1;
-- construct: DISTINCT ON
select distinct on (region) region, id from sales order by region, id;
-- construct: INTERSECT ALL and EXCEPT ALL
select region from sales except all select region from regions order by 1;
select region from sales intersect all select region from regions order by 1;
select region, flag from sales where id < 300 intersect all select region, flag from sales where id between 200 and 600 order by all;
-- construct: range, generate_series and UNNEST
select * from range(5) order by 1;
select i, i * 2 from generate_series(1, 10, 3) g(i) order by i;
select count(*) from sales s join range(1, 50) r(i) on s.product = r.i;
select id, unnest([id, id + 1]) u from sales where id < 20 order by all;
select id, unnest([1, 2, 3]) from sales where id < 5 order by all;
-- construct: keys and values of nested types
select {'a': 1, 'b': [1, null]} s, map {'k': 1} m, '\x01ab'::blob b, [[1], []] l from single;
select count(*) from sales s join sales t on [s.id, 1] = [t.id, 1];
select id from sales where id < 100 order by [qty, id], id desc limit 10;
select sum(x) from (select unnest(list(qty order by id)) x, region from sales group by region);
-- construct: range, generate_series and UNNEST
select unnest({'a': id, 'b': region}) from sales where id < 4 order by all;
select * from unnest([3, 1, 2]) t(x) order by x;
-- construct: keys and values of nested types
select distinct [region] from sales order by 1;
select region, count(distinct [qty, product]) from sales group by region order by region;
select max([qty, id]), min({'q': qty}) from sales;
select [x for x in [1,2,3] if x > 1] from single;
select l[:2], l[2:], l[:], l[-3:-:2] from (select [id, id + 1, id + 2] l from sales where id < 9) order by all;
select note[:2], note[2:], note[:-2] from sales where id < 300 order by all;
