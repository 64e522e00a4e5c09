-- What the distributed route does not run yet: it must say so, naming the construct after the colon, and never answer wrongly.
-- names: recursive
with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) select n from t order by n;
-- names: VALUES
select p.product, t.k from products p, lateral (values (p.product + 1)) t(k) order by all;
