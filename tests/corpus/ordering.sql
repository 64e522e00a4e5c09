-- Order, limits and unions.
-- construct: ORDER BY
select id, region from sales order by region, id limit 50;
select id, region from sales order by region desc nulls first, id desc limit 50;
select id, ratio from sales order by ratio, id limit 200;
select id, ratio from sales order by ratio desc, id limit 200;
select id, ratio from sales order by ratio nulls first, id limit 200 offset 100;
select id, price from sales order by price desc, id limit 10 offset 2990;
select id, cost from sales order by cost desc nulls last, id limit 40;
select id, day, sold_at from sales order by day, sold_at desc, id limit 100;
select id, flag, qty from sales order by flag, qty desc, id limit 100;
select id, note from sales order by note, id limit 300;
select id, big from sales order by big desc, id limit 100;
select id, score from sales order by score, id;
select id from sales order by length(note), note, id limit 60;
select id, qty::int * -1 as neg from sales order by neg, id limit 60;
-- construct: LIMIT and OFFSET
select region, count(*) c from sales group by region order by c desc, region limit 3;
select id from sales order by id limit 0;
select id from sales order by id offset 2990;
select id from sales limit 5;
select id from sales limit 5 offset 1400;
select id, region from sales where qty = 5 limit 7;
select count(*) from (select id from sales limit 100);
select * from nothing order by a limit 5;
-- construct: UNION and UNION ALL
select id from sales where id < 5 union all select product from products where product < 5 order by 1;
select id from sales union all select id from sales order by 1 limit 20;
select region from sales union select region from regions order by 1;
select count(*) from (select id from sales union all select product from products);
select region, sum(qty) from (select region, qty from sales where flag union all select region, qty from sales where not flag) group by region order by region;
select 'a' as k, count(*) from sales union all select 'b', count(*) from products order by k;
select 1 as n union all select 2 union all select 2 order by n;
select 1 as n union select 2 union select 2 order by n;
select x from single union all select a from nothing;
select max(id) from sales union all select min(id) from sales order by 1;
-- construct: top-n inside a query
select id from (select id from sales order by id desc limit 10) order by id;
select sum(price) from (select price from sales order by price desc nulls last limit 10);
select id, name from sales join products using (product) order by name desc, id limit 25;
select note, count(*) from sales group by note order by 2 desc, 1 limit 5 offset 2;
select distinct region from sales order by region desc nulls last limit 3;
select id from sales where id in (select id from sales order by price desc nulls last, id limit 12) order by id;
-- construct: ORDER BY
select id, region from sales order by region nulls first, id limit 40 offset 200;
select id, region from sales order by region desc nulls last, id limit 40;
select id, day from sales order by day desc nulls first, id limit 60;
select id, ratio from sales order by ratio desc nulls last, id limit 60;
select region, qty, id from sales order by 1 nulls last, 2 desc nulls first, 3 limit 100;
select region r, count(*) from sales group by r order by count(*) * -1, r;
select id, price from sales order by price + cost desc nulls last, id limit 20;
select id, flag from sales order by not flag nulls last, id desc limit 60;
select id, note from sales order by lower(note), length(note) desc, id limit 50;
select id, nums from kinds order by nums, id;
select id, place from kinds order by place desc nulls last, id;
select id, words from kinds order by words nulls first, id desc;
select id, raw from kinds order by raw desc, id;
select id, "at", clock from kinds order by clock, "at" desc, id;
select id, wide from kinds order by wide desc nulls last, id;
select id, ns from kinds order by ns nulls first, ms, id;
select region, flag, qty from sales where id < 50 order by all desc;
select region, flag, qty, id from sales where id < 50 order by all nulls first;
select id from sales order by case when region = 'north' then 0 when region = 'south' then 1 else 2 end, id limit 40;
select id, qty % 3 m from sales where qty is not null order by m, -id limit 40;
select id from sales where id < 30 order by random() * 0, id;
select count(*) from (select id from sales order by region);
-- construct: LIMIT and OFFSET
select id from sales order by id limit 3 offset 2998;
select id from sales order by id desc offset 2995;
select region, count(*) c from sales group by region order by c limit 2 offset 1;
select * from (select id from sales order by id limit 10) order by id desc limit 3;
select count(*) from (select * from sales limit 0);
select id from sales order by id limit 5 offset 5000;
select id from sales where id < 3 order by id limit 9223372036854775807;
select region from sales group by region order by region limit null;
select sum(id) from (select id from sales order by id desc limit 100 offset 50);
select distinct qty from sales order by qty desc limit 4;
select id from (select id from sales order by id limit 20 offset 10) where id % 2 = 0 order by id;
(select id from sales order by id limit 2) union all (select product from products order by product limit 2) order by 1 limit 3;
-- construct: top-n inside a query
select r.region, (select id from sales s where s.region = r.region order by price desc nulls last, id limit 1) best from regions r order by 1;
select a.id, b.id from (select id, region from sales order by price desc nulls last, id limit 20) a join (select id, region from sales order by cost desc nulls last, id limit 20) b using (region) order by all;
select product, n from (select product, count(*) n from sales group by product order by n desc, product limit 7) join products using (product) order by n desc, product;
