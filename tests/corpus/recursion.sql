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
with recursive r(a, b) as (select 1, true union all select a + 1, a in (select product from products where product <> 2) from r where a < 5) select * from r order by a;
with recursive r(a, b) as (select 1, true union all select a + 1, (a = any([id, 2])) from r join sales s on s.id = a + 1 where a < 5) select * from r order by a;
with recursive r(a, b) as (select 1, 'x' union all select a + 1, (select name from products p where p.product = r.a) from r where a < 5) select * from r order by a;
with recursive r(a, b) as (select 1, 1 union all select r.a + 1, p.product from r full join products p on r.a = p.product where r.a < 4) select * from r order by all;
with recursive chain(id, n) as (select 1::bigint, 1 union all select case when id % 2 = 0 then id // 2 else 3 * id + 1 end, n + 1 from chain where n < 10) select * from chain order by n;
with recursive d(day) as (select date '2024-01-01' union all select (day + interval 1 day)::date from d where day < date '2024-01-10') select d.day, count(s.id) from d left join sales s on s.day = d.day group by 1 order by 1;
with recursive tree(id, parent, path) as (select product, product // 3, [product] from products where product <= 2 union all select p.product, t.id, list_append(t.path, p.product) from tree t join products p on p.product // 3 = t.id and p.product <> t.id where p.product < 60) select id, parent, path from tree order by id;
with recursive r as (select 1 n union all select n + 1 from r where n < 5) select a.n, b.n from r a join r b on a.n = b.n + 1 order by 1;
with recursive r(n, s) as (select 1, 1.0::decimal(10, 2) union all select n + 1, (s * 1.5)::decimal(10, 2) from r where n < 8) select n, s, sum(s) over (order by n) c from r order by n;
with recursive r(n) as (select product from sales where product < 4 union select n * 2 from r where n < 50) select n, count(*) from r group by n order by n;
with recursive r(node, dist) as (select 1, 0 union select e.b, dist + 1 from r join (select product a, (product * 3) % 50 b from products where product < 50) e on e.a = r.node where dist < 6) select node, min(dist) from r group by 1 order by 1;
with recursive r(n) as (select 0 union all select n + 1 from r where n < 3 and not exists (select 1 from nothing)) select * from r order by n;
with recursive r(n) as ((select 1 union all select 2) union all select n + 2 from r where n < 7) select * from r order by n;
with recursive a(n) as (select 1 union all select n + 1 from a where n < 4) select id, (select count(*) from a where a.n < s.id) c from sales s where id < 6 order by id;
with recursive t(a, b) as (select 'x', 1 union all select a || chr(96 + b), b + 1 from t where b < 6) select max(a), count(*) from t;
with recursive r(n) as (select 0 union select n + 1 from r semi join products p on true where n < 3) select * from r order by n;
with recursive r(n) as (select 0 union select n + 1 from r anti join nothing p on true where n < 3) select * from r order by n;
