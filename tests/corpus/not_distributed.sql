-- What the distributed route does not run yet: it must say so, naming the construct after the colon, and never answer wrongly.
-- construct: INTERSECT and EXCEPT with a collation
-- names: with a collation
select region collate nocase r from sales intersect select 'NORTH';
-- names: with a collation
select r from (select region collate nocase r from sales where id < 9 except all select 'NORTH') order by lower(r);
-- construct: WITH RECURSIVE ... USING KEY
-- names: hand over the plan
with recursive r(a, b) using key (a) as (select 1, 1 union select a, b + 1 from r where b < 4) select a, b from r order by 1;
-- construct: volatile functions that would be worked out twice
-- names: volatile
select random() < 2, count(*) from (select random() as r, id from sales) group by rollup (r) order by all limit 1;
-- names: volatile
select id from sales where random() between -1 and 1 and id < 5 order by id;
-- names: volatile
with recursive r(n) as (select random() * 0 union all select n + 1 + random() * 0 from r where n < 2) select * from r order by 1;
-- names: volatile
select list_transform([1, 2], lambda x: x + random() * 0) from single;
-- construct: EXPORT_STATE
-- names: EXPORT_STATE
select finalize(s) from (select sum(x) export_state as s from single);
-- construct: columns and constants of UNION, VARIANT, GEOMETRY, BIT, BIGNUM, TIMETZ, ENUM
-- names: of type MAP
select map {} a, x from single;
-- names: type UNION
select union_value(num := x) u from single;
-- names: type VARIANT
select x::variant v from single;
-- names: type BIT
select bitstring_agg(x, 0, 10)::varchar from single;
-- names: type VARIANT
select v::int from (select x::variant v from single) order by v;
-- names: type BIGNUM
select x::bignum b from single;
-- names: type TIME WITH TIME ZONE
select id, clock::timetz t from kinds order by id;
-- names: type TIME WITH TIME ZONE
select '10:00:00+01'::timetz t, x from single;
-- names: type GEOMETRY
select 'POINT(1 2)'::geometry g, x from single;
-- names: type ENUM
select id, (['low', 'mid', 'high'])[1 + id % 3]::enum('low', 'mid', 'high') e from sales where id < 20 order by e, id;
-- names: type ENUM
select 'a'::enum('a', 'b') e, x from single;
-- construct: TRY()
-- names: operator try
select try(x // 0) t, try(y::int) u from single;
-- construct: WITH ORDINALITY of a constant
-- names: WITH ORDINALITY of a table function of constants
select * from unnest(['a', 'b']) with ordinality t(x, n) order by n;
-- construct: functions that read the names of their arguments
-- names: names of its arguments
select struct_insert({'a': x}, b := y) s from single;
-- names: names of its arguments
select alias(x) a from single;
