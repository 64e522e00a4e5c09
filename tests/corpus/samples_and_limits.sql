-- SAMPLE, and limits that are no constants. What a sample holds is not fixed; how much of it there is, is.
-- construct: SAMPLE
select count(*) from (select * from range(100) using sample 10 rows);
select count(*) from (select * from sales using sample 10 rows);
select count(*) between 150 and 450 from (select * from sales using sample 10% (bernoulli));
select count(*) from (select * from sales using sample 0%);
select count(*) from (select * from sales using sample 100%);
select id from sales tablesample bernoulli(1%) repeatable (5) order by id;
select count(*), count(distinct id) from sales tablesample reservoir(5%);
select count(*), min(product) >= 1 from (select * from sales where product is not null using sample reservoir(7 rows) repeatable (3));
select count(*) from sales using sample 20 rows;
select count(*) from (select * from sales tablesample reservoir(30 rows) repeatable (7)) where id >= 0;
select count(*) from (select * from sales using sample 5000 rows);
select count(*) from (select s.id from sales s tablesample reservoir(10 rows), regions r);
select count(*) <= 3000 from sales tablesample system(50%);
-- construct: LIMIT in percent and by expressions
select count(*) from (select * from sales limit 10%);
select count(*) from (select id, region from sales where product < 50 limit 10% offset 3);
with recursive r as (select 1 x union all select x + 1 from (select * from r limit 50%) where x < 5) select * from r order by x;
select id from sales order by id limit (select 3);
select id from sales order by id limit 1 + 2 offset (select count(*) from products);
select id, region from sales order by 1, 2 limit (select 1)%;
select id from sales order by id limit (select max(a) from nothing) offset 2990;
select count(*) from (select id from sales limit (select 5) offset (select 2995));
select count(*) from (select id from sales limit 50% offset 10);
select id from sales order by id limit (select count(*) from regions);
select id from sales order by id limit 5 offset (select max(people) % 7 from regions);
select id from sales order by id desc limit greatest(2, 3);
