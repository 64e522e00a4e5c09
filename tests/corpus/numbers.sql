-- Numbers and casts.
-- construct: DECIMAL
select id, price + 1, price - cost, price * 2.5, price / 3, price % 7, -price, abs(price) from sales where id < 60 order by id;
select id, round(price, 1), round(price, -2), ceil(price), floor(price), trunc(price), sign(price), round(cost) from sales where id < 60 order by id;
select id, price * qty, price * price, cost + 0.00001, cost * 3, cast(price as decimal(18, 6)), cast(cost as decimal(38, 8)) from sales where id < 60 order by id;
select sum(price * 1.10), avg(price * qty), min(price - cost), max(cost / 3), sum(cost) * 2 from sales where qty < 100;
select 1.10 + 2.205, 0.1 * 3, 10.0 / 3, 1.5 % 0.4, 12345678901234567890.5 + 0.5, cast('1e3' as decimal(10, 2)), 99999999.99::decimal(10, 2)::decimal(12, 4) from single;
select count(*) from sales where price * 2 > cost / 1000000000 and price between 100.005 and 90000;
select id, greatest(price, 500), least(price, cost, 10.5), coalesce(price, 0), nullif(price, 0.00), case when price > 100 then price else qty end from sales where id < 60 order by id;
select id, wide, wide / 7 > 0 p, wide = wide::varchar::decimal(38, 0) s, wide % 10 = 0 from kinds order by id;
-- construct: integers of every width
select id, qty::int + 1, qty // 3, qty % 5, qty::tinyint is null, id << 3, id >> 1, id & 6, id | 9, xor(id, 5), ~id from sales where id < 60 and qty between -100 and 100 order by id;
select id, id::hugeint * 1000000000000000000000 h, big::hugeint * 3 b, sum(big::hugeint) over (order by id) s from sales where id < 30 order by id;
select sum(id::hugeint * 100000000000000000000), min(big::hugeint - 9223372036854775808), max(-big::hugeint) from sales;
select 170141183460469231731687303715884105727::hugeint % 1000 a, (-170141183460469231731687303715884105728)::hugeint + 170141183460469231731687303715884105727 b, 18446744073709551615 c from single;
select id, factorial((id % 10)::int), gcd(id, 12), lcm(id, 8), bit_count(id), even(ratio), abs(-id) from sales where id < 30 and abs(ratio) < 1000 order by id;
select tiny, tiny::smallint * 2, tiny::utinyint is null n, abs(tiny::int) from kinds where tiny >= 0 order by all;
select 255::utinyint, 65535::usmallint, 4294967295::uinteger, (-128)::tinyint, 0x1F, 0b101, 1_000_000, 1e2, .5 from single;
select divide(7, 2), 7 // 2, -7 // 2, 7 % -3, -7 % 3, 7 / 2 from single;
select product, (product * 2654435761) % 97 m, product::bigint * product * product p from sales where id < 60 order by id;
-- construct: FLOAT and DOUBLE
select id, ratio + 1, ratio * 2, ratio / 3, -ratio, abs(ratio), isnan(ratio), isinf(ratio), isfinite(ratio), signbit(ratio) from sales where id < 100 order by id;
select id, sqrt(abs(score)), cbrt(score), exp(score), ln(abs(score) + 1), log2(abs(score) + 1), log10(abs(score) + 1), log(3, abs(score) + 2), pow(score, 2), power(2, score) from sales where id < 60 order by id;
select id, sin(score), cos(score), tan(score), asin(score / 2), acos(score / 2), atan(score), atan2(score, 2), cot(score + 10), sinh(score), degrees(score), radians(score), pi() from sales where id < 60 order by id;
select id, round(ratio, 1), round(ratio), ceil(ratio), floor(ratio), trunc(ratio), sign(ratio), round_even(score, 0) from sales where id < 60 and abs(ratio) < 1000 order by id;
select 'nan'::double > 'inf'::double, 'nan'::double = 'nan'::double, 'inf'::float - 'inf'::double, 1e308 * 10 = 'inf'::double, -0.0 = 0.0, 0.1 + 0.2 = 0.3, 0.1::double + 0.2 = 0.3 from single;
select count(*) filter (where ratio > 1e100), count(*) filter (where ratio < -1e100), count(*) filter (where ratio = ratio), count(*) filter (where ratio <> ratio), count(*) filter (where ratio between -1 and 1) from sales;
select score, count(*), sum(score), avg(score), min(score), max(score), stddev(score) from sales group by score order by score;
select id, score::double, score * 3, score + qty, score + price, ratio > score from sales where id < 60 order by id;
select id, gamma(abs(score) + 1), lgamma(abs(score) + 1), nextafter(score, 10::float), fdiv(id, 3), fmod(id, 2.5) from sales where id < 40 order by id;
-- construct: CAST and TRY_CAST
select id, qty::varchar, price::varchar, ratio::varchar, score::varchar, big::varchar, flag::varchar, cost::varchar from sales where id < 60 order by id;
select id, try_cast(note as int), try_cast(qty as tinyint), try_cast(price as smallint), try_cast(ratio as int), try_cast(big as bigint), try_cast(cost as bigint) from sales where id < 100 order by id;
select id, price::int, ratio::bigint, score::int, price::double, price::float, qty::decimal(8, 2), id::float, flag::int, qty::bool from sales where id < 60 and abs(ratio) < 1000 order by id;
select '12'::int, '1.5'::decimal(4, 2), ' 7 '::int, 'true'::bool, 'f'::bool, '1e2'::double, 'NaN'::float, '0x10'::int, '12:30'::time, '[1, 2]'::int[], '{"a": 1}'::json from single;
select try_cast('x' as int), try_cast('300' as utinyint), try_cast('1.999' as int), try_cast('2024-13-01' as date), try_cast('' as double), try_cast(null as int), try_cast('inf' as decimal(5, 2)) from single;
select id, ('a' || id)::blob, encode(note)::varchar = note, id::varchar::int = id, day::varchar::date = day, day::timestamp from sales where id < 40 order by id;
select id, nums::varchar, words::varchar, place::varchar, tags::varchar, trips::varchar from kinds order by id;
select id, nums::varchar[], nums::double[], place::struct(city varchar, pos struct(x int, y int)), tags::map(varchar, double) from kinds order by id;
select '00000000-0000-0000-0000-00000000000a'::uuid u, '1 day'::interval i, typeof(1.5), typeof(x) from single;
