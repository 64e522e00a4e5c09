-- VALUES and SELECT without FROM.
-- construct: VALUES
values (1, 'a', null), (2, null, 1.5), (null, 'c', 2) order by 1;
select a, b from (values (1, date '2024-01-01'), (2, null)) t(a, b) where a > 1 or b is null order by a;
select v.k, count(*) from sales s join (values ('north', 1), ('south', 2), (null, 3)) v(name, k) on s.region = v.name group by 1 order by 1;
select v.k, s.id from (values ('north', 1), ('x', 2)) v(name, k) left join sales s on s.region = v.name and s.id < 30 order by all;
select * from (values (1), (2), (3)) a(x), (values ('p'), ('q')) b(y) order by all;
select sum(x), max(y) from (values (1, 2.5), (3, 4), (5, null)) t(x, y);
select id from sales where (region, qty) in (values ('north', 1), ('south', 2)) order by id limit 40;
select id from sales where qty in (values (1), (5)) and id < 50 order by id;
with v(a, b) as (values (1, 'x'), (2, 'y')) select a, b, row_number() over (order by b desc) n from v order by a;
select x, count(*) from (values (1), (1), (2), (null), (null)) t(x) group by x order by x;
select * from (values ([1, 2], {'a': 1}), (null, {'a': 2})) t(l, s) order by s;
select * from (values (true, 1::tinyint, 2::hugeint, 1.5::float, '\x61'::blob, interval 1 day, time '10:00')) t;
-- construct: constants without a table
select 1 where false;
select 1 where 1 = 1;
select null, null + 1, 'a' || null;
select 1 as a, 2 as b order by a, b limit 1;
select count(*), sum(1), max('x');
select 'x' as x group by x;
select abs(-5), upper('é'), length('日本'), 7 // 2, 7.0 / 2, 2 ** 10, 5!, 'a' < 'b', not true;
select case 3 when 1 then 'one' when 3 then 'three' end, coalesce(null, 5), if(true, 1, 2), greatest(1, 5, 3);
select [1, 2] || [3], {'a': 1}.a, map {'x': 1}['x'], 1 in (1, 2), 5 between 1 and 9;
select (select 1), exists (select 1), 1 in (select 2), (select 'x' where false);
select * from (select 1 a union all select 2) t, (select 3 b) u order by a;
select distinct 1, 'a';
select 1 having true;
