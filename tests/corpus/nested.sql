-- Nested types.
-- construct: keys and values of nested types
select [region, 'x'] as k, count(*) from sales group by k order by 2, 1;
select {'a': 1, 'b': [1, null]} s, map {'k': 1} m, '\x01ab'::blob b, [[1], []] l from single;
select count(*) from sales s join sales t on [s.id, 1] = [t.id, 1];
select id from sales where id < 100 order by [qty, id], id desc limit 10;
select sum(x) from (select unnest(list(qty order by id)) x, region from sales group by region);
select distinct [region] from sales order by 1;
select region, count(distinct [qty, product]) from sales group by region order by region;
select max([qty, id]), min({'q': qty}) from sales;
select [x for x in [1,2,3] if x > 1] from single;
select l[:2], l[2:], l[:], l[-3:-:2] from (select [id, id + 1, id + 2] l from sales where id < 9) order by all;
select note[:2], note[2:], note[:-2] from sales where id < 300 order by all;
-- construct: range, generate_series and UNNEST
select * from range(5) order by 1;
select i, i * 2 from generate_series(1, 10, 3) g(i) order by i;
select count(*) from sales s join range(1, 50) r(i) on s.product = r.i;
select id, unnest([id, id + 1]) u from sales where id < 20 order by all;
select id, unnest([1, 2, 3]) from sales where id < 5 order by all;
select unnest({'a': id, 'b': region}) from sales where id < 4 order by all;
select * from unnest([3, 1, 2]) t(x) order by x;
select id, unnest(nums) n from kinds order by all;
select id, unnest(words) w, unnest(nums) n from kinds where id < 20 order by all;
select id, unnest(trips) from kinds order by all;
select w, count(*) from (select unnest(words) w from kinds) group by w order by w;
select t.to, sum(t.km) from (select unnest(trips) t from kinds) group by 1 order by 1;
select k, sum(v) from (select unnest(map_keys(tags)) k, unnest(map_values(tags)) v from kinds) group by k order by k;
select i, count(id) from range(0, 10) r(i) left join kinds on list_contains(nums, i::int) group by i order by i;
select unnest([{'a': 1, 'b': 'x'}, {'a': 2, 'b': null}], recursive := true) from single;
select unnest([[1, 2], [3]], recursive := true) x order by x;
select a.i, b.i from range(3) a(i), range(4) b(i) where b.i < a.i order by all;
select x from generate_series(10, 1, -3) t(x) order by x;
select * from range(date '2024-01-01', date '2024-03-01', interval 1 month) order by 1;
select sum(range), count(*) from range(100000);
select r.range as n, s.id from range(5) r left join sales s on s.id = r.range * 1000 order by n;
select unnest(generate_series(1, 3)) a, unnest(['x', 'y']) b order by all;
select id, len(list(n)) from (select id, unnest(nums) n from kinds) group by id having count(*) > 2 order by id;
-- construct: lists
select id, len(nums), nums[1], nums[-1], nums[2:3], list_contains(nums, 3), list_position(nums, 3), list_sum(nums), list_max(nums), list_avg(nums) from kinds order by id;
select id, list_sort(nums), list_reverse_sort(nums), list_reverse(nums), list_concat(nums, [9]), list_append(nums, 1), list_prepend(0, nums), nums || [7] from kinds order by id;
select id, list_sort(list_distinct(nums)), list_unique(nums), flatten([nums, nums]), list_slice(nums, 1, 2), list_has_any(nums, [1, 2]), list_has_all(nums, [1]) from kinds order by id;
select id, list_aggregate(nums, 'sum'), list_aggregate(nums, 'string_agg', '-'), list_filter(nums, lambda x: x > 3), [x * 2 for x in nums if x is not null] from kinds order by id;
select id, list_zip(nums, words), list_intersect(nums, [1, 2, 3]) is null, array_to_string(words, '+'), list_any_value(nums), list_resize(nums, 3) from kinds order by id;
select id, generate_series(1, id % 4) g, range(id % 3) r, list_value(id, id * 2) v, repeat([1], 2) t, list_grade_up(nums) u from kinds where id < 20 order by id;
select id, nums = [1, 2] e, nums < [3] l, nums is null n, nums in ([], [1]) i from kinds order by id;
select [1, 2, null], [[1], [2, 3]], [['a', null], null], [{'a': 1}, {'a': null}], [1, 2]::int[2] from single;
select array_value(1.0, 2.0), array_distance([1, 2]::float[2], [3, 4]::float[2]), array_cosine_similarity([1, 0]::double[2], [1, 1]::double[2]), [1, 2, 3]::int[3] = [1, 2, 3]::int[3] from single;
-- construct: structs, maps and JSON
select id, place.city, place.pos.x, place['city'], struct_extract(place, 'pos'), (place).pos.y from kinds order by id;
select id, tags['a'], tags['ü'], map_keys(tags), map_values(tags), cardinality(tags), map_contains(tags, 'b'), element_at(tags, 'a') from kinds order by id;
select id, trips[1].to, trips[1].km, len(trips), list_transform(trips, lambda t: t.km), map_entries(tags) from kinds order by id;
select place.city c, count(*), sum(place.pos.x), max(place.pos.y), count(place.pos) from kinds group by c order by c;
select id from kinds where place.pos.x > 5 and tags['a'] is not null or trips[1].to = '東京' order by id;
select id, {'id': id, 'n': nums, 'p': place} s, struct_pack(a := id, b := tiny) t, row(id, tiny) r, map {'k': id, 'l': tiny} m from kinds where id < 20 order by id;
select id, map([1, 2], [id, tiny]) m, map_from_entries([('a', id)]) e, map_concat(tags, map {'z': 1}) c, map_extract(tags, 'a') x from kinds where id < 30 order by id;
select id, struct_keys(place), struct_values({'a': id, 'b': 2}), place is null, {'a': id} = {'a': 5} e, {'a': id, 'b': 1} < {'a': 5, 'b': 0} l from kinds where id < 20 order by id;
select '{"a": [1, {"b": "x"}]}'::json -> 'a', '{"a": [1, 2]}'::json ->> '$.a[1]', json_extract_string('{"k": "v"}', '$.k'), json_array_length('[1, 2, 3]'), json_valid('{'), json_type('{"a": 1}', '$.a'), to_json([1, 2]) from single;
select id, to_json(place), json_object('id', id, 'n', nums), to_json(tags), json_array(id, tiny) from kinds where id < 20 order by id;
select user, json_extract('{"0": "zero", "1": "one", "2": "two"}', '$."' || user || '"') n, count(*) from events group by 1, 2 order by 1;
select id, "to" from (select id, unnest(trips, recursive := true) from kinds) order by all;
select place.* from kinds where id < 10 order by all;
-- construct: lambdas
select [x + id for x in [1, 2, 3] if x % 2 = 1], list_transform([1,2], lambda x, i: x * 10 - i + id), list_reduce([1, 2, id], lambda a, b: a - b) from sales where id < 5 order by 1;
select list_transform([[1, id], [2]], lambda x: list_transform(x, lambda y: y + len(x) + id)) from sales where id < 3 order by 1;
select list_filter([5, 6, 7], lambda x, i: x - i > id + 3), list_reduce([1, 2, 9], lambda a, b, i: a * i - b) from sales where id < 4 order by 1;
select list_reduce([1, 2, id], lambda x, y: x * 10 + y - id, 7) from sales where id < 5 order by 1;
select list_reduce([1, 2, id], lambda x, y, i: x * 10 + y - i + qty, 7) from sales where id < 15 order by 1;
select list_transform([1, 2], lambda x: list_reduce([x, id], lambda a, b: a * x - b, 3)) from sales where id < 6 order by 1;
select count(*) from unnest(list_transform(['a', 'b'], lambda s, i: s || i)) t(x) where x > 'a1';
