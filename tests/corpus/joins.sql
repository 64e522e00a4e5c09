-- Joins.
-- construct: inner joins
select s.id, p.name from sales s join products p on s.product = p.product order by s.id limit 100;
select count(*) from sales s join products p using (product);
-- construct: left and right joins
select count(*) from sales s left join products p using (product);
select s.id, s.product, p.name from sales s left join products p on s.product = p.product where s.id < 150 order by s.id;
select s.id, p.name from sales s left join products p on s.product = p.product and p.category = 'food' order by s.id limit 100;
select s.id from sales s left join products p on s.product = p.product where p.product is null order by s.id;
select p.product, s.id from sales s right join products p on s.product = p.product order by p.product, s.id limit 100;
-- construct: inner joins
select category, sum(price), count(*) from sales join products using (product) group by category order by category;
select r.country, count(*), sum(s.qty) from sales s join regions r on s.region = r.region group by r.country order by r.country;
select r.country, p.category, count(*) from sales s join regions r on s.region = r.region join products p on s.product = p.product group by all order by all;
-- construct: IN, EXISTS, semi and anti joins
select s.id from sales s where s.product in (select product from products where category = 'tools') order by s.id;
select s.id from sales s where exists (select 1 from products p where p.product = s.product and p.weight > 25) order by s.id;
select s.id from sales s where not exists (select 1 from products p where p.product = s.product) order by s.id;
select s.id from sales s where s.product not in (select product from products where product is not null) order by s.id;
select s.id from sales s where s.product not in (select product from products) order by s.id;
select s.id from sales s semi join products p on s.product = p.product order by s.id limit 50;
select s.id from sales s anti join products p on s.product = p.product order by s.id;
-- construct: keys of all types, residual conditions
select a.id, b.id from sales a join sales b on a.id = b.id and a.qty < b.qty::int + 1 order by a.id limit 50;
select a.id, b.id from sales a join sales b on a.product = b.product and a.id < b.id where a.id < 60 and b.id < 400 order by 1, 2;
select count(*) from sales a join sales b on a.region = b.region and a.qty = b.qty where a.id < 400 and b.id < 400;
select a.id, b.id from sales a join sales b on a.region is not distinct from b.region and a.qty is not distinct from b.qty where a.id < 40 and b.id < 40 order by 1, 2;
select count(*) from sales a join sales b on a.price = b.price;
select count(*) from sales a join sales b on a.cost = b.cost;
select count(*) from sales a join sales b on a.ratio = b.ratio where a.id < 300 and b.id < 300;
select count(*) from sales a join sales b on a.day = b.day and a.flag = b.flag;
select count(*) from sales a join sales b on a.note = b.note where a.id < 300 and b.id < 300;
-- construct: cross joins and joins without an equality
select p.name, r.country from products p, regions r where p.product < 5 order by 1, 2;
select count(*) from products cross join regions;
select s.id, r.country from sales s, regions r where s.region = r.region and s.id < 80 order by s.id;
select s.id, r.region from sales s join regions r on s.qty > r.people where s.id < 60 order by 1, 2;
-- construct: empty inputs
select n.a, s.x from nothing n join single s on n.a = s.x;
select s.x, n.b from single s left join nothing n on n.a = s.x;
select s.x from single s where s.x not in (select a from nothing);
select s.x from single s where exists (select 1 from nothing);
select s.x from single s where s.x in (select x from single);
-- construct: subqueries in conditions and expressions
select id from sales where qty > (select avg(qty) from sales) order by id limit 50;
select id, qty > (select max(qty) from sales where id < 10) as more from sales order by id limit 50;
select id, product in (select product from products where weight > 10) as known from sales order by id limit 100;
select id, product not in (select product from products) as absent from sales order by id limit 100;
select p.product, (select count(*) from sales s where s.product = p.product) as sold from products p order by p.product nulls last, sold limit 60;
select p.name, (select max(price) from sales s where s.product = p.product) as dearest from products p order by p.name limit 60;
-- construct: joins of aggregates and of joins
with best as (select product, sum(price) s from sales group by product) select p.name, b.s from best b join products p using (product) order by b.s desc nulls last, p.name limit 10;
with t as (select region, sum(qty) q from sales group by region) select a.region, a.q, b.q from t a join t b on a.region = b.region order by a.region;
select category, region, count(distinct s.product) from sales s join products p on s.product = p.product group by all order by all;
select sum(s.price * p.weight) from sales s join products p on s.product = p.product where p.weight < 20;
select s.region, sum(case when p.category like 't%' then s.price else 0 end) / sum(s.price) as share from sales s join products p on s.product = p.product group by s.region order by 1;
select upper(p.category), max(length(s.note)) from sales s join products p on p.product = s.product group by 1 order by 1;
select s.id from sales s join products p on s.product = p.product where (p.category = 'food' and s.qty > 2) or (p.category = 'books' and s.qty < 2) order by s.id limit 100;
select * from single a join single b using (x);
select a.x, b.x, c.x from single a, single b, single c where a.x = b.x and b.x = c.x;
select count(*) from sales s join products p on s.product + 1 = p.product;
select count(*) from sales s join products p on s.product = p.product join regions r on r.region = s.region and r.people > p.weight;
select day, name from sales join products on launched + 1500 = day order by 1, 2 limit 20;
select p.name from single s cross join products p where p.product < 10 order by 1;
select (select count(*) from products p where s.flag) as n, count(*) from sales s group by 1 order by 1;
select s.id from sales s join products p on s.product = p.product where s.qty = 0 or p.product % s.qty = 1 order by s.id;
