-- What the distributed route does not run yet: it must say so, naming the construct after the colon, and never answer wrongly.
-- names: GROUPING SETS
select region, flag, count(*) from sales group by rollup (region, flag) order by all;
-- names: FULL OUTER
select s.id, p.product from sales s full join products p on s.product = p.product order by all limit 50;
-- names: recursive
with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) select n from t order by n;
-- names: VALUES
select p.product, t.k from products p, lateral (values (p.product + 1)) t(k) order by all;
