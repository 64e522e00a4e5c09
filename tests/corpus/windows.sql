-- Windows.
-- construct: ranking functions
select id, row_number() over (partition by region order by id) as n from sales order by id limit 20;
select region, rank() over (order by sum(qty) desc) r, sum(qty) from sales group by region order by all;
select row_number() over () rn, id from sales limit 5;
select id, rank() over (order by qty) r, dense_rank() over (order by qty) d, percent_rank() over (order by qty) p, cume_dist() over (order by qty) c from sales where id < 200 order by id;
select id, ntile(7) over (order by id desc) n, ntile(3) over (partition by region order by id) m from sales where id < 150 order by id;
select id, row_number() over (partition by flag, region order by price desc nulls last, id) n from sales order by id limit 100;
select id, rank() over (partition by region order by ratio desc nulls last) r from sales where id < 300 order by id;
select id, rank() over (order by region nulls first, qty desc) r from sales where id < 100 order by id;
select id, dense_rank() over (order by day, region) r from sales where id < 200 order by id;
select id, row_number(order by price desc, id) over (partition by region order by id) n from sales where id < 60 order by id;
-- construct: neighbouring rows
select id, sum(qty) over (partition by region order by id rows between 2 preceding and current row) s, lag(qty, 2, 0) over (order by id) from sales where id < 500 order by id;
select first_value(id) over w, last_value(id) over w, nth_value(id, 2) over w, ntile(4) over w, cume_dist() over w from sales where id < 100 window w as (partition by region order by id range between unbounded preceding and unbounded following) order by all;
select id, lag(id) over (order by id) a, lead(id, 3) over (order by id) b, lead(id, 2, -1) over (order by id) c from sales where id < 80 order by id;
select id, lag(region, 1, 'none') over (partition by flag order by id) a, lead(price) over (partition by flag order by id) b from sales where id < 200 order by id;
select id, lag(qty ignore nulls) over (order by id) a, lead(qty, 2 ignore nulls) over (order by id) b from sales where id < 200 order by id;
select id, first_value(region ignore nulls) over (order by id rows between 3 preceding and current row) f, last_value(qty ignore nulls) over (order by id) l from sales where id < 200 order by id;
select id, first_value(id) over (partition by region order by price nulls last, id) f, last_value(id) over (partition by region order by id) l from sales where id < 150 order by id;
select id, nth_value(qty, 3) over (partition by region order by id rows between unbounded preceding and unbounded following) n from sales where id < 150 order by id;
select id, day - lag(day) over (order by id) gap, price - lag(price) over (order by id) change from sales where id < 100 order by id;
select id, lag(note) over (order by id), lead(big) over (order by id), lag(cost) over (order by id), lag(flag) over (order by id) from sales where id < 60 order by id;
select id, lag(id, qty::bigint % 3) over (order by id) from sales where id < 100 and qty > 0 order by id;
-- construct: frames of rows
select id, sum(qty) over (order by id rows between 2 preceding and 2 following) s, avg(qty) over (order by id rows 3 preceding) a from sales where id < 200 order by id;
select id, count(*) over (order by id rows between unbounded preceding and 1 preceding) c, sum(price) over (order by id rows between current row and unbounded following) p from sales where id < 100 order by id;
select id, min(price) over w mi, max(price) over w ma, count(price) over w n from sales where id < 200 window w as (partition by region order by id rows between 1 preceding and 3 following) order by id;
select id, sum(qty) over (order by id rows between 5 following and 9 following) s, max(id) over (order by id rows between 9 preceding and 5 preceding) m from sales where id < 60 order by id;
select id, avg(score) over (partition by product % 5 order by id rows between 10 preceding and current row) a from sales where id < 300 order by id;
select id, string_agg(region, ',') over (order by id rows between 1 preceding and 1 following) s from sales where id < 60 order by id;
select id, sum(qty) over (order by id rows between product % 3 preceding and current row) s from sales where id < 100 and product is not null order by id;
-- construct: frames of values
select id, count(*) over (order by qty range between qty preceding and id following) c from sales where id < 100 and qty >= 0 order by id;
select id, count(*) over (order by ratio desc range between 1.5 preceding and 2.5 following) c from sales where id < 200 order by id;
select id, count(*) over (order by day desc range between interval 1 month preceding and interval 10 days preceding) c from sales where id < 200 order by id;
select id, count(*) over (order by clock range between interval 1 hour preceding and interval 2 hours following) c from kinds order by id;
select id, count(*) over (order by "at" range between interval 1 day preceding and current row) c from kinds order by id;
select id, first_value(id) over (order by id range between 10 preceding and 5 preceding) c from sales where id < 100 order by id;
select id, count(*) over (order by day range between 3 preceding and 3 following) c from sales where id < 200 order by id;
select id, count(*) over (order by tiny range between 3 preceding and 3 following) c from kinds where tiny between 0 and 100 order by id;
select id, count(*) over (order by id range between id % 4 preceding and id % 3 following) c from sales where id < 100 order by id;
select id, sum(qty) over (order by id range between 3 preceding and 3 following) s from sales where id < 100 and id % 3 <> 0 order by id;
select id, count(*) over (order by day range between interval 7 days preceding and current row) c from sales where id < 300 order by id;
select id, count(*) over (order by sold_at range between interval 2 hours preceding and interval 2 hours following) c from sales where id < 300 order by id;
select id, sum(id) over (order by qty range between current row and unbounded following) s from sales where id < 100 order by id;
select id, count(*) over (order by price range between 1000 preceding and 1000 following) c from sales where id < 200 order by id;
select id, sum(qty) over (order by id desc range between 5 preceding and 1 preceding) s from sales where id < 60 order by id;
select id, count(*) over (partition by region order by product range between unbounded preceding and 10 following) c from sales where id < 200 order by id;
-- construct: frames of groups of peers
select id, sum(id) over (order by qty groups between 1 preceding and current row) s from sales where id < 100 order by id;
select id, count(*) over (partition by flag order by qty groups between 1 preceding and 1 following) s from sales where id < 100 order by id;
select id, min(id) over (order by qty groups between unbounded preceding and 1 preceding) m from sales where id < 100 order by id;
-- construct: EXCLUDE
select max(qty) over (order by id groups between 1 preceding and 1 following exclude current row) m, id from sales where id < 50 order by id;
select id, sum(id) over (order by id rows between 2 preceding and 2 following exclude current row) s from sales where id < 50 order by id;
select id, count(*) over (order by qty rows between unbounded preceding and unbounded following exclude group) s from sales where id < 50 order by id;
select id, count(*) over (order by qty rows between unbounded preceding and unbounded following exclude ties) s from sales where id < 50 order by id;
select id, sum(id) over (order by qty range between unbounded preceding and unbounded following exclude no others) s from sales where id < 50 order by id;
-- construct: aggregates over windows
select sum(qty) filter (where flag) over (partition by product), count(*) over (partition by flag, region) from sales order by all limit 50;
select count(*) from (select avg(qty) over () a, id from sales) where id > a;
select id, sum(qty) over (partition by region) s, avg(price) over (partition by region) a, count(*) over (partition by flag) c, min(note) over (partition by flag) m from sales where id < 200 order by id;
select id, count(distinct region) over (partition by flag) c, sum(distinct qty) over () s from sales where id < 200 order by id;
select id, median(qty) over (partition by region) m, stddev(price) over (partition by region) s, quantile_cont(price, 0.9) over (partition by flag) q from sales where id < 200 order by id;
select id, list(qty) over (partition by region order by id rows between 2 preceding and current row) l from sales where id < 60 order by id;
select id, bool_and(flag) over (partition by region) a, bool_or(flag) over (partition by product % 7) o, bit_or(id) over (partition by flag order by id) b from sales where id < 60 order by id;
select id, arg_max(id, price) over (partition by region) m, arg_min(region, id) over (order by id rows 3 preceding) n from sales where id < 100 and price is not null order by id;
select id, sum(qty) filter (where flag) over (partition by region order by id) s, count(*) filter (where qty > 2) over (order by id) c from sales where id < 200 order by id;
select id, product(1 + score / 100) over (order by id rows 2 preceding) p, entropy(region) over (partition by flag) e from sales where id < 60 order by id;
select id, sum(cost) over (order by id) s, sum(big) over (order by id) b from sales where id < 60 order by id;
select id, string_agg(region, '|' order by id desc) over (partition by flag) s from sales where id < 30 order by id;
-- construct: several windows, named windows and QUALIFY
select * from (select id, region, row_number() over (partition by region order by qty desc, id) rn from sales) where rn <= 3 order by all;
select id from sales qualify row_number() over (partition by region, flag order by id desc) = 1 order by id;
select id, rank() over a r, sum(qty) over (a rows between 1 preceding and current row) s from sales where id < 100 window a as (partition by region order by id) order by id;
select id, rank() over a r, dense_rank() over b d from sales where id < 100 window a as (partition by region order by id), b as (partition by flag order by qty) order by id;
select id, row_number() over (order by id) a, row_number() over (order by id desc) b, row_number() over (partition by region order by id) c, row_number() over (partition by flag order by id) d from sales where id < 100 order by id;
select region, id from sales qualify rank() over (partition by region order by price desc nulls last) <= 2 order by all;
select region, count(*) c from sales group by region qualify row_number() over (order by count(*) desc, region) <= 3 order by c desc;
select id, n from (select id, row_number() over (partition by region order by id) n from sales) where n % 50 = 0 order by id;
select region, sum(qty) s from sales group by region qualify sum(qty) > avg(sum(qty)) over () order by 1;
select id, sum(n) over (order by id) from (select id, row_number() over (partition by region order by id) n from sales where id < 60) order by id;
select * from (select id, row_number() over (order by id) n, region from sales where flag) a join (select product, row_number() over (order by product nulls last) n from products) b using (n) where n <= 25 order by n;
select count(*), max(n) from (select row_number() over (partition by a order by b) n from nothing);
select x, rank() over (order by y) from single;
select id, sum(count(*)) over (order by id) from sales where id < 20 group by id order by id;
select case when row_number() over (order by id) % 2 = 0 then 'even' else 'odd' end k, id from sales where id < 30 order by id;
select distinct region, count(*) over (partition by region) c from sales order by all;
select id, rank() over (order by (select count(*) from products p where p.product = s.product), id) r from sales s where id < 50 order by id;
select id, fill(qty::double) over (order by id) f from sales where id < 100 order by id;
