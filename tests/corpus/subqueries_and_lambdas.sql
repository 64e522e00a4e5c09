select count(*) from (select id from sales limit 10%);
select [x + id for x in [1, 2, 3] if x % 2 = 1], list_transform([1,2], lambda x, i: x * 10 - i + id), list_reduce([1, 2, id], lambda a, b: a - b) from sales where id < 5 order by 1;
select list_transform([[1, id], [2]], lambda x: list_transform(x, lambda y: y + len(x) + id)) from sales where id < 3 order by 1;
select id, (select name from products p where p.product = s.product) n from sales s where id < 60 order by id;
select count(*) from sales where (region, product) in (select region, product from sales where id < 40);
select id, (region, qty) in (select region, qty from sales where id between 5 and 15) m from sales where id < 40 order by id;
select id, qty > any (select weight from products where product < 9) m, qty > all (select weight from products where product < 9) n from sales where id < 40 order by id;
select id, qty <> all (select qty from sales t where t.id between 30 and 35) n from sales where id < 40 order by id;
select list_filter([5, 6, 7], lambda x, i: x - i > id + 3), list_reduce([1, 2, 9], lambda a, b, i: a * i - b) from sales where id < 4 order by 1;
