-- Subqueries.
-- construct: lambdas
select [x + id for x in [1, 2, 3] if x % 2 = 1], list_transform([1,2], lambda x, i: x * 10 - i + id), list_reduce([1, 2, id], lambda a, b: a - b) from sales where id < 5 order by 1;
select list_transform([[1, id], [2]], lambda x: list_transform(x, lambda y: y + len(x) + id)) from sales where id < 3 order by 1;
-- construct: subqueries in expressions, ANY and ALL
select id, (select name from products p where p.product = s.product) n from sales s where id < 60 order by id;
select count(*) from sales where (region, product) in (select region, product from sales where id < 40);
select id, (region, qty) in (select region, qty from sales where id between 5 and 15) m from sales where id < 40 order by id;
select id, qty > any (select weight from products where product < 9) m, qty > all (select weight from products where product < 9) n from sales where id < 40 order by id;
select id, qty <> all (select qty from sales t where t.id between 30 and 35) n from sales where id < 40 order by id;
-- construct: lambdas
select list_filter([5, 6, 7], lambda x, i: x - i > id + 3), list_reduce([1, 2, 9], lambda a, b, i: a * i - b) from sales where id < 4 order by 1;
select list_reduce([1, 2, id], lambda x, y: x * 10 + y - id, 7) from sales where id < 5 order by 1;
select list_reduce([1, 2, id], lambda x, y, i: x * 10 + y - i + qty, 7) from sales where id < 15 order by 1;
-- construct: tuples, VALUES and wide integers
select histogram(flag), (1, id % 2) k from sales where flag is not null group by k order by k;
select row(id, region) r from sales where id < 9 order by id;
select sum(id)::uhugeint u, 5::uhugeint from sales;
select * from (values (1, 'a'), (2, null)) v(a, b) order by 1;
-- construct: lambdas
select list_transform([1, 2], lambda x: list_reduce([x, id], lambda a, b: a * x - b, 3)) from sales where id < 6 order by 1;
-- construct: tuples, VALUES and wide integers
with t(a, b) as (select a::int, b::int from (values ('1', '4'), ('5', '3'), ('2', '*'), ('7', '*')) v(a, b) where position('*' in b) = 0) select a, b from t where a < b;
select a, sum(b), typeof(max(c)) from (values (1, 2.5, 'x'), (1, 3, null), (null, null, 'y')) v(a, b, c) group by a order by a nulls last;
select r.region, v.k from regions r join (values ('north', 1), ('south', 2)) v(region, k) using (region) order by 1;
