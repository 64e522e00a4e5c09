-- PIVOT, UNPIVOT and other rewrites of a statement.
-- construct: PIVOT
pivot sales on qty in (1, 2, 3) using count(*) group by region order by region;
pivot (select region, qty, price from sales) on qty in (1, 5) using sum(price) as s, count(*) as n group by region order by region;
select * from sales pivot (count(*) for region in ('north', 'south') group by flag) order by flag;
select * from (pivot (select item_sk % 3 k, store_sk, quantity from store_sales) on store_sk in (1, 2, 3) using sum(quantity), max(quantity)) order by k;
select region, north_n from (pivot (select region, 'north_n' as k, qty from sales) on k in ('north_n') using count(qty) group by region) order by 1;
-- construct: PIVOT whose columns come from the data
-- names: columns come from the data
pivot (select region, flag, qty from sales where id < 500) on flag using sum(qty) group by region order by region;
-- names: columns come from the data
pivot (select d_year, d_qoy, sales_price from store_sales join date_dim using (date_sk)) on d_qoy using sum(sales_price) group by d_year order by d_year;
-- names: columns come from the data
with t as (select region, flag from sales where region is not null) pivot t on region using count(*) order by flag;
-- names: columns come from the data
pivot (select s_state, s_county, store_sk from store) on s_state, s_county using list(store_sk order by store_sk);
-- names: columns come from the data
pivot (select s_state, s_county from store) on s_state || s_county using count(*);
-- names: columns come from the data
pivot (select region, flag, qty from sales where id < 500) on flag in (select flag from sales where flag) using sum(qty) group by region order by region;
-- names: columns come from the data
from (pivot (select region, flag, qty from sales where id < 500) on qty in ((select qty from sales where qty < 4 order by qty desc limit 2)), flag using count(*)) order by all;
-- construct: UNPIVOT
unpivot (select id, qty, product from sales where id < 30) on qty, product into name kind value v order by all;
unpivot (select id, qty::int q, product p, id % 7 r from sales where id < 20) on columns(* exclude (id)) into name n value v order by all;
select * from (select id, qty, product from sales where id < 20) unpivot (v for k in (qty, product)) order by all;
select * from (select id, qty, product from sales where id < 20) unpivot include nulls (v for k in (qty, product)) order by all;
select k, count(*), sum(v) from (unpivot (select qty::bigint q, product::bigint p, id from sales) on q, p into name k value v) group by k order by k;
unpivot (select store_sk, s_name, s_state, s_county, store_sk::varchar s2 from store) on (s_name, s_state), (s_county, s2) into name k value a, b order by all;
-- construct: DESCRIBE, SUMMARIZE and TABLE
select column_name, column_type from (describe select region, sum(qty), list(id) from sales group by region) order by 1;
select column_name, column_type from (show select region, sum(qty) as total from sales group by region) order by 1;
select column_name, column_type, min, max, count from (summarize select id, region, flag from sales) order by 1;
table regions order by region;
from regions order by region limit 2;
