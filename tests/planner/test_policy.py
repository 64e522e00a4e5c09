import pytest

from sabot_sql.errors import NotSupported, PlanError, QueryError
from sabot_sql.planner.bind_tree import reader
from sabot_sql.planner.parse import parse
from sabot_sql.planner.policy import DENIED_FUNCTIONS, DENIED_PATTERN, TABLE_FUNCTIONS, check
from tests.planner.tables import Tables, table

CATALOG = Tables(
    table("t", {"a": "INTEGER", "b": "VARCHAR", "l": "INTEGER[]"}, 100),
    table("u", {"a": "INTEGER", "c": "DATE"}, 100),
    table("s.v", {"a": "INTEGER"}, 100),
    table("x.parquet", {"a": "INTEGER"}, 100),
)

ALLOWED = """
select 1
select 1;
from t
table t
values (1), (2)
select * from t
select * from T
select * from main.t
select * from memory.main.t
select * from "x.parquet"
select * from s.v
select t.* from t join u using (a) left join s.v on t.a = v.a
select a, count(*) from t group by all having count(*) > 1 order by all limit 3
with x as (select * from t), y as materialized (from x) select * from y union all from x
with recursive x as (select 1 n union all select n + 1 from x where n < 5) select * from x
with t as (select 1) select * from t
select (select max(a) from u), exists(from t), a in (select a from u) from t
select row_number() over (partition by a order by b) from t qualify row_number() over () = 1
select list_transform(l, lambda x: x + 1), [x * 2 for x in l if x > 1] from t
select unnest(l), * exclude (l) from t
select * from range(10)
select * from generate_series(1, 10) with ordinality
select * from unnest([1, 2, 3])
select * from t, lateral (select t.a + 1) z
select * from json_each('{"a": 1}')
select columns('a.*') from t
pivot t on a using count(*)
select * from (pivot t on b using sum(a) group by a) p join u using (a)
describe
pivot t on a in (1, 2) using sum(a)
pivot t on a in (select a from u where b > 1) using sum(a)
with c as (select 1 a) pivot t on a in (from u select a) using sum(a)
unpivot t on a into name n value v
from t unpivot (v for n in (a))
describe t
describe select * from t
summarize t
show tables
show t
from (describe t)
explain select * from t
explain analyze select * from t
select current_date, now(), current_timestamp, today(), current_user, version()
select repeat('x', 100), lpad('a', 10, 'b'), range(10)
select 'DROP TABLE t; --', 'copy', $$attach$$
select "insert" from (select 1 as "insert")
select a as "delete" from t
select regexp_extract(b, '(\\d+)'), strftime(now(), '%Y'), md5(b), hash(a), uuid() from t
select b.upper().length() from t
select * from t tablesample 10%
select sum(a) filter (where a > 1), list(a order by a), quantile_cont(a, 0.5) from t
select case when a > 1 then 'x' end, a::varchar, try_cast(b as int), a between 1 and 2 from t
select {'a': 1}.a, map {'k': 1}['k'], struct_pack(x := 1), [1, 2][1:1]
select $a + $b
select ? from t
select * from information_schema.tables
select column_name from information_schema.columns
select pg_typeof(1), typeof(1), can_cast_implicitly(1, 2::bigint)
select 1 -- copy t to 'x'
/* attach 'x' */ select 1
select * from t asof join u on t.a >= u.a
select * from t positional join u
select count(*) from t group by grouping sets ((a), ()), rollup (b)
select error('x') from t where false
""".strip().splitlines()

WRITES = """
insert into t values (1)
insert into t select * from u
insert or replace into t values (1)
insert into t by name select 1 a
with x as (select 1) insert into t from x
update t set a = 1
with x as (select 1) update t set a = 1
delete from t
delete from t using u where t.a = u.a
truncate t
merge into t using u on t.a = u.a when matched then delete
create table x (a int)
create table x as select * from t
create or replace table t as select 1
create temp table x as select 1
create view v as select 1
create temp view v as select 1
create macro f(x) as x + 1
create function f(x) as table select 1
create sequence q
create type mood as enum ('a')
create schema z
create index i on t (a)
create secret (type s3)
create persistent secret x (type s3)
drop table t
drop view v
drop schema s cascade
drop secret x
alter table t add column z int
alter table t rename to z
comment on table t is 'x'
with x as (insert into t values (1) returning *) select * from x
with x as (update t set a = 2 returning *) select * from x
with x as (delete from t returning *) select * from x
select * from (with x as (insert into t values (1) returning *) select * from x)
with y as (with x as (delete from t returning a) from x) select * from y
select (with x as (insert into t values (1) returning a) select a from x)
select * from t where a in (with x as (update t set a = 1 returning a) from x)
explain insert into t values (1)
explain analyze delete from t
explain analyze with x as (insert into t values (1) returning *) select * from x
create table x as pivot t on a using sum(a)
with x as (insert into t values (1) returning *) pivot x on a using count(*)
describe (with x as (insert into t values (1) returning *) from x)
""".strip().splitlines()

DENIED = """
copy t to 'x.csv'
copy t to '/data/w.csv'
copy (select * from t) to 'x.parquet' (format parquet)
copy t from 'x.csv'
copy t to stdout
copy from database a to b
with x as (copy t to 'x.csv') select * from x
attach 'x.db'
attach '/data/x.db' as y (read_only)
attach ':memory:' as z
attach 'https://example.com/x.db'
detach x
use x
install httpfs
force install httpfs
load httpfs
load '/tmp/x.duckdb_extension'
update extensions
set threads = 1
set memory_limit = '1TB'
set enable_external_access = true
set variable x = 1
set session timezone = 'UTC'
reset threads
pragma threads = 1
pragma database_list
pragma table_info('t')
pragma version
pragma enable_profiling
call pragma_version()
call range(3)
checkpoint
vacuum
analyze
begin
commit
rollback
prepare p as select 1
execute p
export database 'x'
import database 'x'
explain copy t to 'x'
explain analyze copy t to 'x'
select * from '/etc/passwd'
select * from 'x.csv'
select * from 'data/*.parquet'
select * from "/etc/passwd"
select * from 'https://example.com/x.parquet'
select * from 's3://bucket/x.parquet'
select * from 'x.db'
select * from '../x.json'
select * from 'file:///etc/passwd'
select * from '~/x.csv'
from '/proc/self/environ'
table '/etc/passwd'
summarize '/etc/passwd'
describe 'x.csv'
pivot 'x.csv' on a
select * from main.'/etc/passwd'
select * from read_csv('/etc/passwd')
select * from read_csv_auto('/etc/passwd')
select * from read_parquet('x.parquet')
select * from parquet_scan('x.parquet')
select * from parquet_metadata('x.parquet')
select * from parquet_schema('x.parquet')
select * from parquet_file_metadata('x')
select * from parquet_kv_metadata('x')
select * from parquet_bloom_probe('x', 'a', 1)
select * from read_json('x.json')
select * from read_json_auto('x.json')
select * from read_ndjson('x.json')
select * from read_json_objects('x.json')
select * from read_text('/etc/passwd')
select * from read_blob('/etc/passwd')
select * from read_duckdb('x.db')
select * from glob('/etc/*')
select * from sniff_csv('/etc/passwd')
select * from duckdb_settings()
select * from duckdb_secrets()
select * from duckdb_extensions()
select * from duckdb_databases()
select * from duckdb_functions()
select * from duckdb_views()
select * from duckdb_tables()
select * from duckdb_logs()
select * from duckdb_temporary_files()
select * from duckdb_memory()
select * from duckdb_variables()
select * from pragma_database_size()
select * from pragma_table_info('t')
select * from pragma_user_agent()
select * from which_secret('s3://x', 's3')
select * from query('select 1')
select * from query_table('t')
select * from query_table(['t', 'u'])
select * from checkpoint()
select * from arrow_scan(1, 2, 3)
select * from pandas_scan(1)
select * from python_map_function(1)
select * from seq_scan('t')
select * from json_execute_serialized_sql('{}')
select * from test_vector_types(null::int)
select * from force_checkpoint()
select * from metadata_info()
select * from enable_logging()
select * from iceberg_scan('x')
select * from delta_scan('x')
select * from sqlite_scan('x', 'y')
select * from postgres_scan('x', 'y', 'z')
select * from st_read('x')
select * from read_xlsx('x')
select * from histogram('/etc/passwd', a)
select * from storage_info('t')
select * from user_agent()
select * from truncate_duckdb_logs()
select * from t, read_csv('x')
select * from t join lateral read_text('/etc/passwd') on true
select (select content from read_text('/etc/passwd'))
select * from t where exists (from read_csv('x'))
with x as (from glob('*')) select * from x
select count(*) from t union all select size from read_blob('x')
select * from (from (from read_csv('x')))
pivot read_csv('x') on a
pivot (from read_csv('x')) on a using count(*)
select * from t order by (select count(*) from glob('*'))
select * from t limit (select count(*) from glob('*'))
select getenv('HOME')
select current_setting('threads')
select getvariable('x')
select nextval('q')
select currval('q')
select write_log('x')
select sleep_ms(1000)
select pg_sleep(10)
select json_serialize_plan('select 1')
select pg_get_viewdef(1)
select system.main.getenv('HOME')
select 'HOME'.getenv()
select list_transform(['HOME'], lambda x: getenv(x))
select [getenv(x) for x in ['HOME']]
select case when true then getenv('HOME') end
select sum(a) filter (where getenv('HOME') is not null) from t
select a from t group by getenv('HOME'), a
select a from t order by current_setting('threads')
select row_number() over (order by getenv('HOME')) from t
select * from t where b = current_setting('home_directory')
select inet_server_addr()
select __internal_compress_string_ubigint('x')
select to_aggregate_state(1)
show variables
from (show databases)
select * from (describe (from read_csv('x')))
pivot t on a in (select a from read_csv('x')) using count(*)
pivot t on a in ((select getenv('HOME'))) using count(*)
explain select * from read_csv('/etc/passwd')
explain select getenv('HOME')
""".strip().splitlines()

UNDEFINED = """
select * from nothing
select * from duckdb_settings
select * from duckdb_views
select * from duckdb_tables
select * from pg_catalog.pg_tables
select * from sqlite_master
select * from pragma_database_list
select * from information_schema.character_sets
select * from system.main.duckdb_settings
select * from (with duckdb_views as (select 1) from duckdb_views) a, duckdb_views b
with duckdb_views as (select * from duckdb_views) select * from duckdb_views
with a as (select * from duckdb_settings), duckdb_settings as (select 1) from a
with a as (select * from b), b as (select 1) from a
select * from a.b.c.d
select * from nosuch.t
""".strip().splitlines()


def refused(sql: str) -> QueryError:
    with pytest.raises(QueryError) as caught:
        check(parse(sql), CATALOG.resolve)
    return caught.value


@pytest.mark.parametrize("sql", ALLOWED)
def test_queries_over_the_catalog_are_allowed(sql):
    check(parse(sql), CATALOG.resolve)


@pytest.mark.parametrize("sql", WRITES)
def test_writes_are_read_only(sql):
    assert refused(sql).problem.code == "READ_ONLY"


@pytest.mark.parametrize("sql", DENIED)
def test_files_settings_and_commands_are_not_permitted(sql):
    assert refused(sql).problem.code == "PERMISSION_DENIED"


@pytest.mark.parametrize("sql", UNDEFINED)
def test_names_outside_the_catalog_are_no_tables(sql):
    assert refused(sql).problem.code == "UNDEFINED_TABLE"


@pytest.mark.parametrize(
    "sql",
    [
        "explain attach 'x'",
        "select 1; drop table t",
        "with recursive x as (delete from t returning a), y as (select 1 n union all select n + 1 from y) from x, y",
        "with x as (create table y (a int)) from x",
        "with x as (merge into t using u on t.a = u.a when matched then delete returning *) from x",
        "select 1 into x",
        "select * from t for update",
        "grant all on t to x",
    ],
)
def test_what_duckdb_does_not_even_parse_is_refused(sql):
    assert refused(sql)


def test_the_lists_are_long_enough():
    assert len(ALLOWED) >= 40
    assert len(WRITES) + len(DENIED) + len(UNDEFINED) >= 120


def test_check_gives_the_tables():
    assert [t.name for t in check(parse("select * from main.t, u, u v"), CATALOG.resolve)] == ["t", "u"]


def test_unknown_table_is_pointed_at_with_the_nearest_name():
    error = refused("select 1\nfrom u,\n  tt")
    assert (error.position.line, error.position.column, error.position.length) == (3, 3, 2)
    assert error.hint == 'did you mean "t"?'


def test_refused_function_is_named_and_pointed_at():
    error = refused("select a,\n getenv('HOME') from t")
    assert "getenv" in error.detail
    assert (error.position.line, error.position.column) == (2, 2)


def test_file_in_from_says_to_register_it():
    error = refused("select * from 'x.csv'")
    assert "x.csv" in error.detail
    assert "register" in error.hint


def test_time_travel_is_not_supported():
    with pytest.raises(NotSupported, match="AT"):
        check(parse("select * from t at (version => 1)"), CATALOG.resolve)


def test_each_refusal_is_a_new_error():
    assert refused("select getenv('x')") is not refused("select getenv('x')")


def test_every_table_function_of_duckdb_is_refused_or_listed():
    rows = (
        reader()
        ._con.sql("select distinct function_name from duckdb_functions() where function_type in ('table', 'table_macro')")
        .fetchall()
    )
    listed = {name for (name,) in rows} & TABLE_FUNCTIONS
    assert listed <= {
        "range",
        "generate_series",
        "unnest",
        "repeat",
        "repeat_row",
        "json_each",
        "json_tree",
        "test_all_types",
        "pg_timezone_names",
        "icu_calendar_names",
    }
    for name in sorted({name for (name,) in rows} - TABLE_FUNCTIONS):
        assert refused(f"select * from {name}()").problem.code == "PERMISSION_DENIED"


def test_the_scalar_functions_of_duckdb_that_are_refused_are_these():
    rows = (
        reader()
        ._con.sql(
            "select distinct function_name from duckdb_functions() where function_type in ('scalar', 'aggregate', 'macro')"
        )
        .fetchall()
    )
    found = {name for (name,) in rows if name in DENIED_FUNCTIONS or DENIED_PATTERN.match(name)}
    outside = {name for name in found if not name.startswith("__internal")}
    assert outside == set(
        """current_setting currval get_block_size getvariable index_key inet_client_addr inet_client_port inet_server_addr
        inet_server_port json_serialize_plan nextval pg_get_constraintdef pg_get_expr pg_get_viewdef pg_sleep sleep_ms
        to_aggregate_state variant_bytes_to_variant variant_to_parquet_variant write_log""".split()
    )


def test_cte_in_pivot_is_looked_into():
    assert isinstance(refused("with x as (from read_csv('f')) pivot x on a using count(*)"), PlanError)


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("install httpfs", "INSTALL"),
        ("/* once */ force install httpfs", "INSTALL"),
        ("load httpfs", "LOAD"),
        ("checkpoint", "CHECKPOINT"),
        ("truncate t", "TRUNCATE"),
        ("with x as (select 1) insert into t from x", "INSERT"),
        ("merge into t using u on t.a = u.a when matched then delete", "MERGE INTO"),
    ],
)
def test_refused_statement_is_called_by_its_own_verb(sql, verb):
    with pytest.raises(PlanError, match=f"^{verb} (statements are not permitted|is refused)"):
        check(parse(sql), CATALOG.resolve)


HIDDEN = """
with u as (select 'q' a) pivot (select 1 k) on k in (select a from u) using count(*)
with "/etc/passwd" as (select 'q' a) pivot (select 1 k) on k in (select a from "/etc/passwd") using count(*)
with duckdb_views as (select 'q' sql) pivot (select 1 k) on k in (select sql from duckdb_views) using count(*)
with recursive u as (select 'q' a union all select a from u) pivot (select 1 k) on k in ((from u)) using count(*)
with u as (select 'q' a), y as (pivot (from u) on a using count(*)) from y
with u as (select 'q' a), y as materialized (select * from (pivot u on a using count(*))) from y
with u as (select 'q' a) select * from (with z as (select 1) from (pivot u on a using count(*)))
""".strip().splitlines()


@pytest.mark.parametrize("sql", HIDDEN)
def test_a_query_of_with_does_not_stand_for_what_a_pivot_reads_in_its_place(sql):
    with pytest.raises(NotSupported, match="would not see the query"):
        parse(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "with u as (select 'q' a) pivot u on a using count(*)",
        "with u as (select 'q' a), v as (from u) select * from t join (pivot (from v) on a using count(*)) on true",
        "with a as (with u as (select 'q' a) pivot u on a using count(*)) from a",
        "pivot t on a in (with u as (select 1 a) from u) using count(*)",
    ],
)
def test_a_query_of_with_that_a_pivot_sees_may_be_read(sql):
    parse(sql)


def test_show_means_the_table():
    assert parse("with t as (select 1 z) from (show t)").references[0].parts == ("t",)
