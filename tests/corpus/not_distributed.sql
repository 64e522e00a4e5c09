-- What the distributed route does not run yet: it must say so, naming the construct after the colon, and never answer wrongly.
-- construct: refused by name
-- names: collation
select name from products order by name collate nocase limit 5;
-- names: hand over the plan
with recursive r(a, b) using key (a) as (select 1, 1 union select a, b + 1 from r where b < 4) select a, b from r order by 1;
-- names: volatile
select random() < 2, count(*) from (select random() as r, id from sales) group by rollup (r) order by all limit 1;
