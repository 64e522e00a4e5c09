-- Set operations.
-- construct: INTERSECT and EXCEPT
select region from sales except select region from regions order by 1;
select region from sales intersect select region from regions order by 1;
select region from regions except select region from sales order by all;
select region, flag from sales where id < 500 intersect select region, flag from sales where id > 300 order by all;
select region, flag from sales except select region, flag from sales where qty > 3 order by all;
select product from products except select product from sales intersect select product from sales where qty > 5 order by 1;
select qty from sales intersect select weight from products order by 1;
select count(*) from (select id, region from sales except select id, region from sales where flag);
select 1 as a except select 2 order by 1;
select region from sales where false intersect select region from sales order by 1;
select string_agg(y) from single union all select region from regions order by 1;
select list(x) l from single union all select [people::int] from regions order by 1;
-- construct: INTERSECT and EXCEPT
select region, qty from sales where flag except select region, qty from sales where not flag order by all;
(select region from sales intersect select region from regions) except select 'north' order by 1;
select id from sales where id < 50 except (select id from sales where id < 20 intersect select product from products) order by 1;
select product from sales intersect select product from products intersect select item_sk from item order by 1;
select null intersect select null;
select ratio from sales where ratio = 0 or isnan(ratio) intersect select 'nan'::double order by 1;
select i_brand, i_class from item except select i_brand, i_class from item join store_sales using (item_sk) where quantity > 97 order by all;
select nums from kinds intersect select nums from kinds where id > 30 order by 1;
select count(*) from (select day from sales except select day from sales where region = 'east');
select x from single except select a from nothing;
select a from nothing except select x from single;
-- construct: INTERSECT ALL and EXCEPT ALL
select qty from sales where id < 60 except all select qty from sales where id between 30 and 50 order by 1;
select qty, flag from sales where id < 100 intersect all select qty, flag from sales where id > 2900 order by all;
select words from kinds except all select words from kinds where id % 2 = 0 order by 1;
(select 1 union all select 1 union all select 2) except all select 1 order by 1;
-- construct: UNION and UNION ALL
select region, qty from sales where id < 30 union select region, qty from sales where id between 20 and 50 order by all;
select id, region from sales where id < 3 union all by name select region, id from sales where id between 5 and 7 order by id;
select id as a from sales where id < 3 union by name select region as b from regions order by all;
select qty from sales where id < 5 union all select price from sales where id < 5 order by 1;
select 1 union all select 2.5 union all select '3' order by 1;
select count(*) from (select region from sales union all select region from regions union select 'x');
(select id from sales order by id limit 3) union all (select id from sales order by id desc limit 3) order by 1;
select * from (select region, count(*) n from sales group by 1 union all select 'all', count(*) from sales) order by 2 desc, 1;
select null union select null union all select 1 order by 1;
select 'a' k, sum(quantity) q from store_sales union all select 'b', sum(quantity) from web_sales union all select 'c', null order by k;
select nums from kinds where id < 10 union select [1, 2] order by 1;
select day from sales where id < 20 union select sold_at from sales where id < 20 order by 1;
with u as (select 's' c, item_sk, quantity from store_sales union all select 'w', item_sk, quantity from web_sales) select c, item_sk, sum(quantity) q from u group by 1, 2 having sum(quantity) > 1600 order by all;
select id from sales where id < 10 union all (select id from sales where id < 5 except select id from sales where id < 3) order by 1;
select * from (values (1), (2)) union all select * from range(3) order by 1;
