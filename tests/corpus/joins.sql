-- Joins.
-- construct: inner joins
select s.id, p.name from sales s join products p on s.product = p.product order by s.id limit 100;
select count(*) from sales s join products p using (product);
select category, sum(price), count(*) from sales join products using (product) group by category order by category;
select r.country, count(*), sum(s.qty) from sales s join regions r on s.region = r.region group by r.country order by r.country;
select r.country, p.category, count(*) from sales s join regions r on s.region = r.region join products p on s.product = p.product group by all order by all;
-- construct: left and right joins
select count(*) from sales s left join products p using (product);
select s.id, s.product, p.name from sales s left join products p on s.product = p.product where s.id < 150 order by s.id;
select s.id, p.name from sales s left join products p on s.product = p.product and p.category = 'food' order by s.id limit 100;
select s.id from sales s left join products p on s.product = p.product where p.product is null order by s.id;
select p.product, s.id from sales s right join products p on s.product = p.product order by p.product, s.id limit 100;
select s.id, p.name from sales s left join products p on s.product = p.product and s.qty > p.weight where s.id < 100 order by s.id;
select s.id, p.name from products p right join sales s on s.product = p.product and p.category = 'tools' where s.id < 100 order by s.id;
select s.id, r.country, p.name from sales s left join regions r using (region) left join products p using (product) where s.id < 100 order by s.id;
select s.id, r.country from sales s left join regions r on s.region = r.region and s.flag where s.id < 60 order by s.id;
select s.id, r.country from sales s left join regions r on s.qty < 0 where s.id < 30 order by all;
select p.product, count(s.id) n, sum(s.qty) from products p left join sales s on s.product = p.product and s.flag group by p.product order by p.product nulls last, n limit 60;
select * from (select product, count(*) n from sales group by product) a left join (select product, max(weight) w from products group by product) b using (product) order by product nulls last limit 50;
select a.id, b.id from sales a left join sales b on b.id = a.id + 2990 where a.id < 20 order by a.id;
select c.customer_sk, c.c_first, s.n from customer c left join (select customer_sk, count(*) n from store_sales where quantity > 95 group by 1) s using (customer_sk) order by 1;
select coalesce(p.category, 'none') c, count(*) from sales s left join products p on p.product = s.product left join regions r on r.region = s.region where r.country is null or p.category is not null group by 1 order by 1;
select r.region, n.a from regions r left join nothing n on n.b = r.region order by 1;
select n.a, s.x from nothing n right join single s on n.a = s.x;
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
select count(*) from kinds a join kinds b on a."at" = b."at";
select count(*) from kinds a join kinds b on a.clock = b.clock and a.raw = b.raw;
select count(*) from kinds a join kinds b on a.nums = b.nums;
select count(*) from kinds a join kinds b on a.place = b.place and a.tiny = b.tiny;
select count(*) from kinds a join kinds b on a.wide = b.wide;
select count(*) from kinds a join kinds b on a.ms = b.ms and a.ns = b.ns;
select count(*) from kinds a join sales b on a.tiny = b.qty;
select count(*) from sales a join sales b on a.qty = b.price;
select count(*) from sales a join products b on a.product = b.weight::int and a.flag;
select count(*) from sales a join sales b on upper(a.region) = upper(b.region) and a.id % 100 = b.id % 100 where a.id < 500;
select count(*) from sales a join sales b on a.day = b.sold_at::date and a.id < b.id;
select count(*) from (select -0.0::double z) a join (select 0.0::double z) b using (z);
select count(*) from (select 'nan'::double z) a join (select 'nan'::float z) b on a.z = b.z;
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
select count(*) from sales s join nothing n on s.product = n.a and s.region = n.b join products p on p.product = n.a and p.name = n.b;
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
-- construct: FULL JOIN
select coalesce(s.region, r.region) k, s.n, r.people from (select region, count(*) n from sales group by 1) s full join regions r on s.region = r.region order by all;
select * from (select item_sk, count(*) a from store_sales where quantity > 90 group by 1) x full join (select item_sk, count(*) b from web_sales where quantity > 90 group by 1) y using (item_sk) order by 1;
select a.x, b.x from single a full join (select x + 1 as x from single) b using (x) order by all;
select s.x, n.a from single s full join nothing n on s.x = n.a;
select a.region, b.region, c.region from regions a full join (select distinct region from sales) b on a.region = b.region full join (select 'east' as region) c on c.region = b.region order by all;
select count(*), count(a.id), count(b.id) from (select * from sales where id < 300) a full join (select * from sales where id between 200 and 500) b on a.id = b.id and a.region = b.region;
select a.id, b.id from (select id, nums from kinds) a full join (select id, nums from kinds where id < 30) b on a.nums = b.nums and a.id > b.id order by all;
select s.id, p.product from sales s full join products p on s.product = p.product order by all limit 50;
select count(*), count(s.id), count(p.name), sum(p.weight) from sales s full join products p on s.product = p.product and s.qty > 2;
select count(*) from products p full join regions r on p.weight > r.people;
select r.country from regions r cross join (select e.user from events e cross join single full join products p on e.user = p.product) t order by all limit 20;
select count(coalesce(p.name, 'none')), count(upper(r.region)) from products p full join regions r on p.name = r.region and length(p.category || r.region) > 2;
-- construct: SEMI and ANTI JOIN
select count(*) from sales s semi join (select product from products where category = 'food') p using (product);
select count(*) from sales s anti join products p on s.product = p.product and p.weight > s.qty;
select r.region from regions r anti join sales s on r.region = s.region order by 1;
select r.region from regions r semi join sales s on r.people < s.qty order by 1;
select k.id from kinds k semi join (select nums from kinds where id > 40) o on k.nums = o.nums order by 1;
select id from sales s where id < 300 and exists (select 1 from sales t where t.product = s.product and t.id < s.id and t.region is distinct from s.region) order by 1;
-- construct: ASOF and POSITIONAL JOIN
select s.id, d.d_date from (select id, day from sales where id < 100) s asof join (select d_date + 9131 as d_date from date_dim where d_moy % 3 = 0) d on s.day >= d.d_date order by all;
select s.id, t.id from (select * from sales where id < 100) s asof left join (select * from sales where id >= 100) t on s.region = t.region and s.sold_at > t.sold_at order by all;
select s.id, t.id from (select id, price from sales where id < 60 and price is not null) s asof join (select id, price from sales where id > 2900 and price is not null) t on s.price <= t.price order by all;
select s.product, p.product from (select product from products where product < 6 order by product) s positional join (select product from products where product > 190 order by product) p order by all;
select p.product, s.id from products p asof left join sales s on p.product = s.product and p.launched >= s.day order by all;
select count(*), sum(s.id) from (select * from products where launched is not null) p asof join (select * from sales where day is not null) s on p.launched >= s.day;
select p.product, r.country from products p positional join regions r order by all;
select n.a, r.people from nothing n asof right join regions r on n.b = r.region and n.a >= r.people order by all;
select n.a, r.people from nothing n asof full join regions r on n.b = r.region and n.a >= r.people order by all;
select count(*), count(s.id), sum(s.id - p.product) from sales s asof right join products p on s.product = p.product and s.id >= p.product;
select count(*), count(s.id), count(p.product), sum(s.id - p.weight) from sales s asof full join products p on s.product = p.product and s.day >= p.launched;
select count(*), count(p.product) from sales s asof full join products p on s.day >= p.launched where s.id < 100;
select count(*) from products positional join regions;
-- construct: NATURAL, USING and several keys
select count(*) from store_sales natural join store_returns;
select * from store natural join (select 1 as store_sk, 'x' as extra) order by 1;
select count(*) from store_sales s join store_returns r using (ticket, item_sk);
select s_name, i_category, count(*) from store_sales join store using (store_sk) join item using (item_sk) where s_state = 'GA' group by 1, 2 order by all;
select count(*) from web_sales w join store_sales s on w.ticket = s.ticket and w.item_sk = s.item_sk or w.date_sk = s.date_sk and w.customer_sk = s.customer_sk;
select a.ticket, b.ticket from store_sales a join web_sales b on a.date_sk = b.date_sk and a.quantity between b.quantity and b.quantity + 5 order by all;
select count(*) from store_sales a, store_sales b, store_sales c where a.ticket = b.ticket and b.ticket = c.ticket and a.item_sk < b.item_sk and b.item_sk < c.item_sk;
select d.d_year, count(*) from date_dim d join store_sales s on s.date_sk = d.date_sk and d.d_day_name in ('Sunday', 'Saturday') group by 1 order by 1;
-- construct: ranges and inequalities
select d.d_date, count(*) from date_dim d join (select sold_at::date - 9131 dd from sales) s on s.dd between d.d_date and d.d_date + 6 where d.d_date < '1999-02-01' group by 1 order by 1;
select a.store_sk, b.store_sk from store a join store b on a.s_state = b.s_state and a.store_sk <> b.store_sk order by all;
select count(*) from item a join item b on a.i_current_price < b.i_current_price and a.i_category <> b.i_category;
select r.region, p.product from regions r join products p on r.people between p.weight and p.weight + 10 order by all;
select a.id, b.id from sales a join sales b on abs(a.id - b.id) = 1 where a.id < 20 and b.id < 20 order by all;
select count(*) from products a join products b on a.name like b.name || '%' and a.product <= 20;
select s.id, o."say ""hi""" from sales s join odd o on s.id = o."say ""hi""" or s.qty = o."select" and s.id < 10 order by all;
