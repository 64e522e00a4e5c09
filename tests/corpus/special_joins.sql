-- Joins without kernels.
-- construct: FULL JOIN
select s.id, p.product from sales s full join products p on s.product = p.product order by all limit 50;
select count(*), count(s.id), count(p.name), sum(p.weight) from sales s full join products p on s.product = p.product and s.qty > 2;
select count(*) from products p full join regions r on p.weight > r.people;
-- construct: ASOF and POSITIONAL JOIN
select p.product, s.id from products p asof left join sales s on p.product = s.product and p.launched >= s.day order by all;
select count(*), sum(s.id) from (select * from products where launched is not null) p asof join (select * from sales where day is not null) s on p.launched >= s.day;
select p.product, r.country from products p positional join regions r order by all;
