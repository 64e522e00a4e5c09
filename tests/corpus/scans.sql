-- Scans, filters and projections.
-- construct: columns and filters
select id, region, qty from sales where id < 20 order by id;
select * from single;
select * from nothing;
select count(*) from nothing;
select a, b, c from nothing where a > 1 order by a;
select id from sales where qty = 5 and flag order by id;
select id from sales where qty is null order by id;
select id, note from sales where note is not null and length(note) > 5 order by id desc limit 30;
select id from sales where region in ('north', '東京') order by id;
select id from sales where region not in ('north', '東京') order by id;
select id from sales where product in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144) order by id;
select id from sales where price between 100 and 5000.50 order by id;
select id from sales where price > 999999.99 or qty < 0 order by id;
select id from sales where not (flag or qty > 3) order by id;
select id from sales where flag is distinct from true order by id;
select id from sales where day >= date '2024-06-01' and day < date '2024-07-01' order by id;
select id from sales where sold_at > timestamp '2024-03-01 12:00:00' and sold_at <= timestamp '2024-03-02' order by id;
-- construct: LIKE and regular expressions
select id, note from sales where note like '%a%' order by id;
select id, note from sales where note like 'ab\%%' escape '\' order by id;
select id, note from sales where note ilike 'A%' order by id;
select id, note from sales where note like 'under_score' order by id;
-- construct: columns and filters
select id from sales where ratio > 50 order by id;
select id, ratio from sales where ratio = 'nan'::double order by id;
select id from sales where ratio = 0 order by id;
select id from sales where cost > 0 order by cost, id limit 20;
select id, big from sales where big >= 9223372036854775808 order by big, id limit 50;
-- construct: expressions
select id, qty + 1 as next, qty * 2, -qty from sales where qty < 100 and qty > -100 order by id limit 40;
select id, price * 2, price + cost, price - 0.5 from sales order by id limit 100;
select id, price / 3, qty / 2, qty // 2, qty % 3 from sales where id < 200 order by id;
select id, case when qty > 3 then 'many' when qty > 0 then 'few' else 'none' end as amount from sales order by id limit 60;
select id, case when flag then price else 0 end from sales order by id limit 60;
select id, coalesce(region, 'unknown'), coalesce(qty, -99) from sales order by id limit 60;
select id, nullif(region, 'north') from sales order by id limit 60;
select id, region || '-' || note from sales order by id limit 60;
select id, upper(region), lower(note), substring(note, 2, 3), replace(note, 'a', 'b') from sales order by id limit 60;
select id, length(note), strlen(note), reverse(note), trim(note) from sales order by id limit 60;
select id, year(day), month(day), day(day), dayofweek(day), date_trunc('month', day) from sales order by id limit 60;
select id, extract(hour from sold_at), date_part('minute', sold_at), sold_at::date from sales order by id limit 60;
select id, day + interval 1 month, day + 3, day - date '2024-01-01' from sales order by id limit 60;
select id, cast(price as double), cast(qty as varchar), cast(ratio as float) from sales where isfinite(ratio) and abs(ratio) < 1000 order by id limit 60;
select id, try_cast(note as integer) from sales order by id limit 60;
select id, abs(qty::int), round(ratio, 2), floor(score), ceil(score), sqrt(abs(ratio)) from sales where isfinite(ratio) order by id limit 60;
select id, greatest(qty, 3), least(qty, 3) from sales order by id limit 60;
select id, ratio, -ratio, ratio * 0 from sales order by id limit 100;
-- construct: constants without a table
select 1 as one, 'x' as two, null as three;
select 1 + 1;
select 42 as n, date '2024-02-29' as d, 1.50 as dec, 'naïve' as t, true as b;
-- construct: expressions
select id as "a b", id as "a b", id as "Ünï" from sales order by id limit 3;
-- construct: DISTINCT
select distinct region from sales order by region;
select distinct region, flag from sales order by region nulls first, flag;
select distinct qty % 3 from sales order by 1;
select count(*) from (select distinct product, region from sales);
-- construct: constants without a table
values (1, 'a'), (2, null), (null, 'c');
select * from (values (1, 'a'), (2, 'b')) t(n, s) order by n desc;
-- construct: expressions
from sales select id, qty where id between 10 and 15 order by id;
select id, qty > 3 as many, flag and qty > 3, flag or qty > 3 from sales order by id limit 80;
select id from sales where starts_with(note, 'x') or suffix(note, 'é') order by id;
select id, note from sales where regexp_matches(note, '^[a-z]+$') order by id limit 40;
select id, md5(note), hash(qty) is null from sales order by id limit 10;
select id, score from sales where score between -0.5 and 0.5 order by id limit 40;
select people, country from regions order by people nulls first;
select kind, ms from events where ms > 100 order by ms;
select id, interval 2 day * 3 as span from sales order by id limit 3;
select id from sales where (qty, region) = (2::bigint, upper(region)) or (product, qty) <> (id % 200, qty) order by id;
select id from sales where length(note) >= 1 and length(note) <= 5 order by id limit 60;
