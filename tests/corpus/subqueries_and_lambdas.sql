-- Subqueries.
-- construct: lambdas
select [x + id for x in [1, 2, 3] if x % 2 = 1], list_transform([1,2], lambda x, i: x * 10 - i + id), list_reduce([1, 2, id], lambda a, b: a - b) from sales where id < 5 order by 1;
select list_transform([[1, id], [2]], lambda x: list_transform(x, lambda y: y + len(x) + id)) from sales where id < 3 order by 1;
-- construct: subqueries in expressions, ANY and ALL
select id, (select name from products p where p.product = s.product) n from sales s where id < 60 order by id;
select count(*) from sales where (region, product) in (select region, product from sales where id < 40);
select id, (region, qty) in (select region, qty from sales where id between 5 and 15) m from sales where id < 40 order by id;
select id, qty > any (select weight from products where product < 9) m, qty > all (select weight from products where product < 9) n from sales where id < 40 order by id;
select id, qty <> all (select qty from sales t where t.id between 30 and 35) n from sales where id < 40 order by id;
-- construct: lambdas
select list_filter([5, 6, 7], lambda x, i: x - i > id + 3), list_reduce([1, 2, 9], lambda a, b, i: a * i - b) from sales where id < 4 order by 1;
select list_reduce([1, 2, id], lambda x, y: x * 10 + y - id, 7) from sales where id < 5 order by 1;
select list_reduce([1, 2, id], lambda x, y, i: x * 10 + y - i + qty, 7) from sales where id < 15 order by 1;
-- construct: tuples, VALUES and wide integers
select histogram(flag), (1, id % 2) k from sales where flag is not null group by k order by k;
select row(id, region) r from sales where id < 9 order by id;
select sum(id)::uhugeint u, 5::uhugeint from sales;
select * from (values (1, 'a'), (2, null)) v(a, b) order by 1;
-- construct: lambdas
select list_transform([1, 2], lambda x: list_reduce([x, id], lambda a, b: a * x - b, 3)) from sales where id < 6 order by 1;
-- construct: tuples, VALUES and wide integers
with t(a, b) as (select a::int, b::int from (values ('1', '4'), ('5', '3'), ('2', '*'), ('7', '*')) v(a, b) where position('*' in b) = 0) select a, b from t where a < b;
select a, sum(b), typeof(max(c)) from (values (1, 2.5, 'x'), (1, 3, null), (null, null, 'y')) v(a, b, c) group by a order by a nulls last;
select r.region, v.k from regions r join (values ('north', 1), ('south', 2)) v(region, k) using (region) order by 1;
-- construct: scalar subqueries
select id, (select max(price) from sales) - price as below from sales where id < 40 order by id;
select (select count(*) from sales), (select count(*) from products), (select max(country) from regions);
select region, sum(qty) / (select sum(qty) from sales) as share from sales group by region order by 1;
select region, count(*) c from sales group by region having count(*) > (select avg(n) from (select count(*) n from sales group by region)) order by 1;
select id from sales order by (select product from products where product = sales.product) nulls last, id limit 20;
select id, case when qty > (select avg(qty) from sales t where t.region = s.region) then 'above' else 'below' end k from sales s where id < 60 order by id;
select id, (select name from products p where p.product = s.product and p.category = 'food') n, (select country from regions r where r.region = s.region) c from sales s where id < 60 order by id;
select id, (select a from nothing) n, coalesce((select a from nothing), 0) from sales where id < 5 order by id;
select p.product, (select sum(qty) from sales s where s.product = p.product and s.region = (select min(region) from regions)) q from products p where p.product < 30 order by 1;
select (select (select max(x) from single) + count(*) from products) v;
select id, (select count(*) from sales t where t.product = s.product and t.id <= s.id) n from sales s where id < 100 order by id;
select c.c_state, (select max(quantity) from store_sales s where s.customer_sk = c.customer_sk) q, (select min(d_date) from date_dim d join web_sales w using (date_sk) where w.customer_sk = c.customer_sk) d from customer c order by customer_sk;
select store_sk, (select s_name from store where store.store_sk = ss.store_sk) s, count(*) from store_sales ss group by 1, 2 order by all;
select (select list(region order by region) from regions) l, (select {'n': count(*)} from sales) s;
select id, (select price > 100 from sales t where t.id = s.id) b, (select t.day from sales t where t.id = s.id + 1) d from sales s where id < 30 order by id;
-- construct: IN and NOT IN
select count(*) from sales where (product, region) in (select product, 'north' from products where weight > 20);
select count(*) from sales where (product, qty) not in (select product, 2 from products where product is not null);
select id from sales where id in (select id from sales where qty = 5 except select id from sales where flag) order by id;
select id from sales where qty in (select qty from sales group by qty having count(*) > 300) and id < 100 order by id;
select id from sales where region in (select region from regions where people > 1000) or qty in (select min(qty) from sales) order by id limit 100;
select id, region in ('north', null) a, region not in ('north', null) b, qty in (1, 2, 3) c from sales where id < 60 order by id;
select id from sales s where product in (select product from products p where p.weight > s.qty and p.category = 'tools') order by id;
select id from sales s where product not in (select product from products p where p.product is not null and p.product > s.qty) order by id limit 60;
select id from sales where price in (select max(price) from sales group by region) order by id;
select id in (select product from products) and qty in (select qty from sales where id < 3) m, count(*) from sales group by 1 order by 1;
select id from sales where null in (select product from products) order by id;
select id from sales where id < 20 and 5 not in (select a from nothing) order by id;
select count(*) from kinds where nums in (select nums from kinds where id < 20);
select count(*) from store_sales where item_sk in (select item_sk from item where i_category = 'Books') and customer_sk in (select customer_sk from customer where c_state = 'TN') and date_sk not in (select date_sk from date_dim where d_year = 2000);
-- construct: EXISTS and NOT EXISTS
select id from sales s where exists (select 1 from products p where p.product = s.product and p.category = 'food') or exists (select 1 from regions r where r.region = s.region and r.people > 10000) order by id limit 100;
select id from sales s where not exists (select 1 from products p where p.product = s.product and p.weight < s.qty) and id < 200 order by id;
select p.product from products p where exists (select 1 from sales s where s.product = p.product and exists (select 1 from regions r where r.region = s.region and r.country = 'JP')) order by 1;
select id, exists (select 1 from sales t where t.id = s.id + 1 and t.region = s.region) e from sales s where id < 50 order by id;
select region from regions r where not exists (select * from sales s where s.region = r.region and not exists (select 1 from products p where p.product = s.product)) order by 1;
select count(*) from sales s where exists (select 1 from sales t where t.region = s.region having count(*) > 400);
select count(*) filter (where exists (select 1 from products p where p.product = s.product)) from sales s;
select case when exists (select 1 from nothing) then 'some' else 'none' end, case when exists (select 1 from single) then 'some' else 'none' end;
select count(*) from sales s where exists (select 1 from products p where p.product = s.product limit 1);
select count(*) from sales s where exists (select 1 from products p where p.product = s.product union all select 1 from regions r where r.region = s.region);
select s.store_sk from store s where exists (select 1 from store_sales f where f.store_sk = s.store_sk and f.quantity > 98) and (s_state = 'GA' or exists (select 1 from store_returns r join store_sales g using (ticket, item_sk) where g.store_sk = s.store_sk)) order by 1;
-- construct: subqueries in expressions, ANY and ALL
select id from sales where qty >= all (select qty from sales where qty is not null) order by id limit 10;
select id from sales where qty = any (select people from regions) order by id;
select id from sales s where price > all (select price from sales t where t.region = s.region and t.id <> s.id and t.price is not null) order by id;
select id, id < some (select product from products) m from sales where id between 190 and 210 order by id;
select id from sales where qty > all (select a from nothing) and id < 10 order by id;
select id from sales where not (qty = any (select 2 union all select 3)) and id < 60 order by id;
-- construct: correlated subqueries, LATERAL
select p.product, t.n, t.m from products p, lateral (select count(*) n, max(s.price) m from sales s where s.product = p.product) t where p.product < 30 order by 1;
select s.store_sk, t.item_sk, t.q from store s, lateral (select item_sk, sum(quantity) q from store_sales f where f.store_sk = s.store_sk group by item_sk order by q desc nulls last, item_sk limit 3) t order by 1, 3 desc, 2;
select r.region, x from regions r, lateral (select unnest([1, r.people]) x) t order by all;
select k.id, w from kinds k, lateral (select unnest(k.words) w) t order by all;
select k.id, t.n, t.i from kinds k cross join lateral (select unnest(nums) n, generate_subscripts(nums, 1) i) t where k.id < 20 order by all;
select c.customer_sk, l.d from customer c left join lateral (select max(d_date) d from store_sales s join date_dim using (date_sk) where s.customer_sk = c.customer_sk and s.quantity > 80) l on true order by 1;
select id from sales s where id < 100 and 2 < (select count(*) from sales t where t.product = s.product and t.region = s.region) order by id;
-- construct: subqueries and CTEs in FROM
select * from (select * from (select * from (select id, region from sales where id < 5))) order by id;
with a as (select 1 x), b as (select x + 1 x from a), c as (select x + 1 x from b) select * from a, b, c;
with s as (select region, sum(qty) q from sales group by region) select * from s where q > (select avg(q) from s) order by 1;
with s as not materialized (select id, qty from sales where id < 50) select a.id, b.qty from s a join s b on a.id = b.id + 1 order by 1;
with recursive_looking as (select 1 x) select * from recursive_looking;
with a as (with b as (select id from sales where id < 4) select id * 2 d from b) select d, (with c as (select max(d) m from a) select m from c) m from a order by 1;
with x(a, b) as (select region, count(*) from sales group by region) select a, b from x where b > 200 order by 1;
with sales as (select 1 as id) select * from sales;
with p as (select product, category from products), s as (select product, count(*) n from sales group by 1) select category, sum(n) from p left join s using (product) group by 1 having sum(n) > 10 order by 1;
from (from sales where id < 3) select id order by id;
select t.* exclude (note, big) from sales t where id < 4 order by id;
select * replace (id * 2 as id) from (select id, region from sales where id < 4) order by id;
select columns('^(id|q)') from sales where id < 5 order by id;
select min(columns(['id', 'qty'])), max(columns(['id', 'qty'])) from sales;
