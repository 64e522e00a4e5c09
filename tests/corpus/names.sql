-- Names: quotes, case, letters outside ASCII, keywords, duplicates.
-- construct: names that need quotes
select "select", "a b", "say ""hi""", "Größe", "日付", "1st", "a.b", "*" from odd order by "1st";
select * from odd order by "1st";
select o."select" + o."say ""hi""" as "sum of ""both""", o."a.b" from odd o where o."*" < -3 order by o."1st";
select "select" as "group", count(*) as "order by", sum("Größe") as "Größe" from odd group by "select" order by "group";
select "A B", "SAY ""HI""" from odd order by "1ST";
select a."select", b."a b" from odd a join odd b on a."1st" = b."1st" and a."日付" = b."日付" where a."*" > -6 order by a."1st", b."a b";
select "日付", row_number() over (partition by "select" order by "1st") as "№" from odd order by "1st", "№";
select odd."a.b", "odd"."*" from "odd" where "odd"."a b" in ('t1', 't2') order by "odd"."1st";
select "say ""hi""" % 2 as "?", max("日付") as "{0}", min("a.b") as "{{x}}" from odd group by 1 order by 1;
select "a b" || '{0}' as x, '{' || "a.b" || '}' as y from odd order by "1st";
with "with" as (select "select" as "from" from odd) select "from", count(*) from "with" group by "from" order by 1;
select "*" + 1 as "*", "1st" // 2 as "1st" from odd order by "*";
select {'select': "select", 'a b': "a b", 'Ö': 1} as s from odd order by "1st";
-- construct: case, duplicates and aliases
select ID, Region, QTY from SALES where Id < 5 order by iD;
select id as ID, id as Id, id as id from sales where id < 3 order by 1;
select a.*, b.* from single a, single b;
select region, region, count(*), count(*) from sales group by region order by 1;
select 1 as " ", 2 as "  ", 3 as "	" from single;
select id x, x + 1 y, y * 2 z from sales where id < 4 order by x;
select id as k from sales where k < 4 order by k;
select region as r, count(*) as c from sales group by r having c > 200 order by r;
select s.id, s.id as "s.id", "s".id as id_1 from sales as "s" where s.id < 3 order by 1;
select count(*), sum(qty), sum(qty), max(qty + 1) from sales where qty < 100;
select x, y, x y, y x from single;
select 'it''s', 'a"b', E'tab\there', $$dollar ' quoted$$, '日本', 'back\slash' from single;
select x as 'quoted alias' from single;
select main.single.x, memory.main.single.y from memory.main.single;
