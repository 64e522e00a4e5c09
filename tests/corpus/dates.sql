-- Dates, times and intervals.
-- construct: parts of dates and times
select id, year(day), quarter(day), month(day), week(day), dayofyear(day), weekday(day), isodow(day), yearweek(day), era(day), century(day), decade(day) from sales where id < 50 order by id;
select id, hour(sold_at), minute(sold_at), second(sold_at), millisecond(sold_at), microsecond(sold_at), epoch(sold_at), epoch_ms(sold_at), epoch_us(sold_at) from sales where id < 50 order by id;
select id, extract(isoyear from day), extract(doy from day), extract(epoch from sold_at), date_part('dow', day), date_part(['year', 'month'], day) from sales where id < 50 order by id;
select id, dayname(day), monthname(day), last_day(day), julian(day) from sales where id < 50 order by id;
select id, hour("at"), day("at"), date_trunc('day', "at"), epoch("at"), "at"::date, strftime("at", '%d.%m.%Y %H:%M') from kinds order by id;
select id, hour(clock), minute(clock), epoch(clock), clock + interval 3 hour, clock::varchar from kinds order by id;
select id, date_trunc('year', day), date_trunc('quarter', day), date_trunc('week', sold_at), date_trunc('minute', sold_at), date_trunc('decade', day) from sales where id < 50 order by id;
-- construct: arithmetic with dates and intervals
select id, day + 10, day - 1, day + interval 2 month, day - interval '1 year 3 days', sold_at + interval 90 minute, day - date '2024-02-29' from sales where id < 50 order by id;
select id, date_diff('day', day, date '2024-12-31'), date_diff('month', day, sold_at::date), datesub('week', day, date '2025-06-01'), date_sub('hour', sold_at, timestamp '2024-06-01') from sales where id < 50 order by id;
select id, age(timestamp '2025-01-01', sold_at), sold_at - timestamp '2024-01-01', to_days(qty::int), to_months(id % 5) + to_hours(id) from sales where id < 50 and qty between -5 and 10 order by id;
select id, time_bucket(interval 1 week, day), time_bucket(interval '6 hours', sold_at), time_bucket(interval 2 month, day, date '2024-01-15') from sales where id < 50 order by id;
select id, make_date(2024, 1 + id % 12, 1 + id % 28), make_timestamp(2024, 1, 2, id % 24, 4, 5.5), make_time(id % 24, 5, 6.25), epoch_ms(id * 1000000) from sales where id < 50 order by id;
select interval 1 month + interval 2 day - interval 3 hour i, interval '1' year * 2 j, interval 90 second = interval '1:30' k, extract(hour from interval 100 minute) l from single;
select id, date_add(day, interval 1 day), greatest(day, date '2024-06-01'), least(sold_at, timestamp '2024-03-01') from sales where id < 50 order by id;
select id, "at" + interval 1 day, "at" - interval 1 month, "at" at time zone 'Europe/Zurich', timezone('Asia/Tokyo', "at") from kinds order by id;
select id, ms + interval 1 millisecond, ns + interval 1 microsecond, ms::timestamp_s, ns::date, ms < ns from kinds order by id;
-- construct: texts of dates and back
select id, strftime(day, '%Y/%m/%d %j %a %B'), strftime(sold_at, '%H-%M-%S.%f %p'), sold_at::varchar, day::varchar from sales where id < 50 order by id;
select strptime('29.02.2024', '%d.%m.%Y'), try_strptime('nonsense', '%Y'), '2024-05-06'::date, timestamp '2024-05-06 07:08:09.123456', time '01:02:03' from single;
select id, strptime(strftime(day, '%d|%m|%Y'), '%d|%m|%Y')::date = day s, try_cast(note as date) d, try_cast(day::varchar || ' 10:00' as timestamp) t from sales where id < 50 order by id;
select date '0001-01-01', date '9999-12-31', date 'infinity'::varchar, timestamp '-infinity'::varchar, date '0044-03-15 (BC)'::varchar, isfinite(date 'infinity') from single;
select timestamptz '2024-03-31 01:30:00+01', timestamp_s '2024-01-01 00:00:01', timestamp_ms '2024-01-01 00:00:00.123', timestamp_ns '2024-01-01 00:00:00.123456789' from single;
-- construct: conditions on dates
select count(*) from sales where day between '2024-02-01' and date '2024-02-29' or sold_at < '2024-01-05';
select count(*) from sales where year(day) = 2024 and month(day) in (1, 12) and dayofweek(day) not in (0, 6);
select id from sales where day = sold_at::date or sold_at > day + interval 100 day order by id limit 50;
select id from kinds where "at" >= timestamptz '2024-03-31 00:00:00+00' and clock < time '12:00' order by id;
select id from kinds where ms between timestamp '2024-01-03' and timestamp '2024-01-05' or ns::date = date '2024-01-02' order by id;
select day, count(*) from sales where day in (date '2024-01-01', '2024-03-03', '2024-05-05') or day is null group by day order by day;
select week(day) w, min(day), max(sold_at), max(sold_at) - min(sold_at), count(distinct day) from sales group by w order by w;
select date_trunc('month', sold_at) m, avg(qty) filter (where qty < 100), max(day) from sales group by all order by all;
select d::date d, n from generate_series(date '2024-01-01', date '2024-01-10', interval 1 day) t(d) left join (select day, count(*) n from sales group by day) s on s.day = t.d order by d;
