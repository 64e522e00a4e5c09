-- Recursive CTEs.
-- construct: WITH RECURSIVE
with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) select n from t order by n;
with recursive t(n, s) as (select 1, 'a' union all select n + 1, s || 'b' from t where n < 20) select count(*), max(s) from t;
with recursive r(id, depth) as (select id, 0 from sales where id < 3 union select s.id, r.depth + 1 from r join sales s on s.id = r.id * 2 + 1 where r.depth < 6) select * from r order by all;
with recursive fib(a, b) as (select 0, 1 union all select b, a + b from fib where b < 1000) select sum(a) from fib;
with recursive r(p, n) as (select product, 1 from products where product < 5 union all select r.p, r.n + 1 from r where r.n < (select count(*) from regions)) select p, max(n) from r group by p order by p;
with recursive r(x) as (select 1 union select (x * 7) % 13 from r) select count(*), sum(x) from r;
with recursive r(x, y) as (select 1, 1 union all select max(x) + 1, count(*) from r having max(x) < 4) select * from r order by all;
with recursive a(n) as (select 1 union all select n + 1 from a where n < 3), b(m) as (select n from a union all select m + 10 from b where m < 30) select * from b order by m;
