-- Text.
-- construct: functions of text
select id, concat(region, '/', note), concat_ws(', ', region, note, qty), region || coalesce(note, '?') from sales where id < 60 order by id;
select id, substring(note from 2 for 3), substr(note, -3), left(note, -2), right(note, 2), note[2], note[1:3], note[-2:] from sales where id < 60 order by id;
select id, lpad(region, 8, '*'), rpad(region, 3, '.'), repeat(left(region, 1), 3), reverse(note) from sales where id < 60 order by id;
select id, trim('  ' || note || ' '), ltrim(note, 'an'), rtrim(note, 'é%'), trim(both 'x' from note) from sales where id < 60 order by id;
select id, length(note), strlen(note), bit_length(note), octet_length(encode(note)), length_grapheme(note) from sales where id < 60 order by id;
select id, position('a' in note), instr(note, 'e'), strpos(region, 'o'), contains(note, 'é'), starts_with(note, 'n'), ends_with(note, 'd') from sales where id < 60 order by id;
select id, replace(note, 'a', 'AA'), translate(note, 'abc', 'xyz'), overlay_me from (select id, note, upper(region) overlay_me from sales) where id < 60 order by id;
select id, split_part(note, ' ', 1), split(note, ' '), string_split_regex(note, '[ _%]'), array_to_string(split(note, 'a'), '-') from sales where id < 60 order by id;
select id, ascii(note), chr(65 + (id % 26)::int), unicode(region), ord(note), hex(note), md5(note), sha256(note) from sales where id < 40 order by id;
select id, to_base64(encode(note)), from_base64(to_base64(encode(region))), decode(encode(note)), hex(encode(region)), unhex('6162') from sales where id < 40 order by id;
select id, levenshtein(region, 'north'), damerau_levenshtein(region, 'south'), hamming(left(md5(region), 4), 'aaaa'), jaccard(region || 'x', 'nort'), jaro_winkler_similarity(region, 'east') from sales where id < 40 and region is not null order by id;
select id, upper(region), lower(upper(region)), ucase(note), lcase(note), strip_accents(note), nfc_normalize(note) from sales where id < 60 order by id;
select id, format('{}-{:>5}|{:05d}', region, note, id), printf('%s %d %5.2f %x', region, id, ratio, id) from sales where id < 40 and isfinite(ratio) and abs(ratio) < 1000 order by id;
select bar(id, 0, 20, 10), formatreadablesize(id * 1000000), format_bytes(id * 1000), to_hex(id) from sales where id < 20 order by id;
select id, url_encode(note), url_decode('a%20b'), parse_filename('a/b/c.txt'), parse_path('a/b/c')[1] from sales where id < 20 order by id;
select greatest(region, note), least(region, note), max(region), min(note) from sales where id < 50 group by all order by all;
select region, string_agg(distinct note, '|' order by note) from sales group by region order by region;
select left(region, 1) l, count(*), min(length(note)), max(note) from sales group by 1 order by 1;
-- construct: LIKE and regular expressions
select count(*) filter (where note like '%a%'), count(*) filter (where note like '_'), count(*) filter (where note like ''), count(*) filter (where note not like '%'), count(*) filter (where note ilike '%A%'), count(*) filter (where note not ilike 'n%') from sales;
select id, note from sales where note like '100\%%' escape '\' or note like 'under!_%' escape '!' order by id limit 40;
select id, note from sales where note glob '*[a-c]*' order by id limit 40;
select id, note from sales where note similar to '(a|na).*' or note ~ '^x+$' or region !~ 'o' order by id limit 60;
select id, regexp_extract(note, '([a-z]+)_([a-z]+)', 2), regexp_extract(note, '(\w)(\w)', ['p', 'q']), regexp_replace(note, '[aeiou]', '*', 'g') from sales where id < 60 order by id;
select id, regexp_extract_all(note, '[a-z]'), regexp_split_to_array(note, '\s'), regexp_full_match(note, '[a-z%]+'), regexp_matches(note, 'CAF', 'i') from sales where id < 60 order by id;
select id from sales where region like note || '%' order by id limit 60;
select id from sales where note like '%' || left(region, 1) || '%' order by id limit 60;
select id, regexp_escape(note), like_escape(note, 'a$%', '$') from sales where id < 40 order by id;
select id, note from sales where note like '%a%' order by id;
select id, note from sales where note like 'ab\%%' escape '\' order by id;
select id, note from sales where note ilike 'A%' order by id;
select id, note from sales where note like 'under_score' order by id;
-- construct: comparisons of text
select count(*) filter (where region < 'south'), count(*) filter (where region >= 'Z'), count(*) filter (where region between 'a' and 'o'), count(*) filter (where note > '日'), count(*) filter (where region = 'ZÜRICH') from sales;
select id from sales where region > note order by id limit 50;
select id from sales where region || '' = 'Zürich' and note <> '' order by id limit 50;
select note, note = trim(note) t, note < 'a' l, note in ('a', 'A', '日本語') i from sales where id < 60 order by all;
