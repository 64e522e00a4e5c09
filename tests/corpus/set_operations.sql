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
