-- Plans that several places read: CTEs, correlated subqueries, VALUES of another table's columns.
-- construct: CTEs read several times
with c as (select region, sum(qty) q from sales group by region) select a.region, a.q, b.q from c a join c b on a.q < b.q order by all;
with c as (select region, product, sum(qty) q, count(*) n, max(day) d from sales group by all) select a.region, sum(a.q), max(b.d) from c a join c b on a.product = b.product and a.region <> b.region group by a.region order by all;
with r as (select id, random() x from sales) select count(*) from r a join r b using (id) where a.x = b.x;
with a as (select region, count(*) n from sales group by region), b as (select n, count(*) m from a group by n) select a.region, b.m, (select count(*) from b) from a join b using (n) order by all;
with c as (select product, avg(price) p from sales group by product) select count(*), sum(p) from c where p > (select avg(p) from c);
with c as (select product, avg(price) p from sales group by product) select count(*) from c union all select count(*) from c union all select count(distinct p) from c order by 1;
with c as (select distinct region from sales) select count(*) from c, c d, c e;
with c as materialized (select * from sales where qty > 5) select (select count(*) from c), (select max(price) from c), (select min(id) from c where region = 'north');
with recursive t as (select product, count(*) n from sales group by product), r(p, k) as (select product, 0 from t where product < 3 union all select t.product, k + 1 from t join r on t.product = r.p + 1 where k < 5) select * from r order by all;
with recursive r(p, k) as (select 1, 0 union all (with c as (select p + 1 as p, k + 1 as k from r) select a.p, a.k from c a join c b using (p) where a.k < 5)) select * from r order by all;
-- construct: correlated subqueries, LATERAL
select * from products p where weight > (select avg(q.weight) from products q where q.category = p.category and q.product < p.product) order by product;
select product, (select count(*) from sales s where s.product < p.product and s.qty > p.product % 7) from products p order by product;
select product from products p where exists (select 1 from sales s where s.product > p.product or s.qty = p.product) order by 1;
select product, (select sum(s.qty) from sales s where s.product = p.product and s.day > p.launched) from products p order by 1;
select p.product, x.id from products p, lateral (select id from sales s where s.product = p.product order by id limit 2) x order by all;
select p.product, x.n from products p left join lateral (select count(*) n from sales s where s.product < p.product) x on true order by all;
select product, (select string_agg(region, ',' order by id) from sales s where s.product = p.product and s.id < p.product * 10) from products p order by 1;
select p.product, t.k from products p, lateral (values (p.product + 1), (p.product * 2)) t(k) order by all;
select p.product, t.k from products p, lateral (select unnest([p.product, 5]) k) t order by all;
with s as (select id from sales using sample 10 rows) select count(*) from s a join s b using (id);
with l as (select id from sales limit 10) select count(*) from l a join l b using (id);
