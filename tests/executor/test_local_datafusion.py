import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.config import LocalSettings
from sabot_sql.executor.local_datafusion import LocalDataFusion, as_duckdb, unproven
from sabot_sql.executor.local_duckdb import LocalDuckDB
from sabot_sql.planner.parse import parse
from sabot_sql.planner.physical import Session
from sabot_sql.planner.policy import check

DAY = dt.date(2024, 1, 1)
COUNT = 500
REORDERED = ("group", "join", "distinct", "union", "intersect", "except", "in (select", "u where")


def rows(seed: int, count: int) -> pa.Table:
    """NULLs, negative numbers, duplicates and text that is not ASCII."""
    at = [(i * 7919 + seed) % 1009 for i in range(count)]
    return pa.table(
        {
            "id": pa.array([None if n % 50 == 0 else n - 300 for n in at], pa.int64()),
            "small": pa.array([None if n % 9 == 0 else n % 7 - 3 for n in at], pa.int16()),
            "x": pa.array([None if n % 11 == 0 else n / 8 - 20 for n in at], pa.float64()),
            "price": pa.array([None if n % 13 == 0 else Decimal(n * 37 - 9000).scaleb(-2) for n in at], pa.decimal128(12, 2)),
            "name": pa.array([None if n % 10 == 0 else ["Ähre", "b", "", "b'c", "zebra", "Zoo"][n % 6] for n in at]),
            "day": pa.array([None if n % 17 == 0 else DAY + dt.timedelta(days=n % 90) for n in at]),
            "at": pa.array([dt.datetime(2024, 1, 1) + dt.timedelta(seconds=n * 7777) for n in at], pa.timestamp("us")),
            "ok": pa.array([None if n % 6 == 0 else n % 2 == 0 for n in at]),
        }
    )


PROVEN = """
select * from t
select id, name from t where id > 5
select id, name from t where id <= -5 and name is not null
select id from t where small = 3 or small = -3
select id from t where not (small > 1)
select id from t where small <> 1
select id from t where id between -10 and 50
select id from t where small in (1, 2, 3)
select id from t where small not in (1, 2, 3)
select id from t where name = 'Ähre'
select id from t where name like 'z%'
select id from t where name like '%e_r%'
select id from t where name not like 'b%'
select id from t where name >= 'Z'
select id from t where name in ('b', '', 'b''c')
select id from t where price > 10.5
select id from t where price between 1.25 and 100
select id from t where price = -90.00
select id from t where day >= date '2024-02-01'
select id from t where day between date '2024-01-05' and cast('2024-01-09' as date)
select id from t where ok
select id from t where ok is null
select id, x * 2 y, x - 1.5 z, x + small w from t
select id, -x y from t
select name || '!' n from t
select coalesce(name, 'none') n, coalesce(small, 0) s from t
select case when small > 0 then 'pos' when small < 0 then 'neg' else 'zero' end c from t
select case when name is null then 1 end c from t
select count(*) from t
select count(*) n, count(id) i, count(distinct small) d, count(distinct name) e from t
select sum(id) from t
select sum(small), avg(small), min(small), max(small) from t
select sum(price), min(price), max(price) from t
select sum(x), avg(x) from t
select min(name), max(name), min(day), max(day), min("at"), max("at") from t
select small, count(*) n from t group by small
select name, small, sum(id) s from t group by name, small
select name, sum(price) p from t where ok group by name having count(*) > 3
select day, avg(x) a from t group by day
select small, sum(id) s from t group by small order by s desc, small
select name, count(*) n from t group by name order by name
select name, count(*) n from t group by name order by name desc
select name, count(*) n from t group by name order by name nulls first
select name, day, id from t order by name desc nulls last, day, id, price
select distinct small from t
select distinct name, ok from t order by name, ok
select id, name from t order by id desc, name limit 10
select id, small from t order by 1, 2 limit 5 offset 3
select t.id, u.name uname from t join u on t.id = u.id
select t.id, u.price from t left join u on t.id = u.id and u.small > 0
select count(*) n, sum(u.x) s from t, u where t.id = u.id and t.small = 1
select t.name, count(*) n from t join u on t.id = u.id group by t.name order by n desc, t.name
select s.name, s.n from (select name, count(*) n from t group by name) s where s.n > 10
with a as (select id, small from t where small > 0), b as (select small, sum(id) s from a group by small) select * from b
select id from t where small > 2 union all select id from u where small > 2
select cast(small as double) d from t
select sum(case when ok then id else 0 end) s from t
select id from t where id > 100000
select count(*), sum(id), max(name) from t where false
select SUM(ID) Total, Name from T group by NAME
select name, sum(id) s from t group by 1 order by 1
select coalesce(name, '?') n, count(*) c from t group by n order by n
select coalesce(small, 0), count(*) c from t group by coalesce(small, 0)
select name, count(*) filter (where ok) c, sum(id) filter (where small > 0) s from t group by all
select t.id, u.id uid from t full join u on t.id = u.id and t.small = u.small
select t.id, u.id uid from t right join u on t.id = u.id
select t.id from t semi join u on t.id = u.id
select id, name from t anti join u on t.id = u.id and t.day < u.day
select id from t where ok and id in (select id from u where small > 0)
select id from t where name is not distinct from 'b' and ok is distinct from true or ok
select id from t where ok is not true and ok is not distinct from ok and small > 1
select name from t union select name from u
select small, ok from t intersect select small, ok from u
select id from t except select id from u
select length(name) l, left(name, 1) a, right(name, 2) b, substring(name, 2, 2) c, trim(name) d from t
select year(day) y, month(day) m, day("at") d from t
select id, rank() over (partition by name order by day desc) r, dense_rank() over (order by small) d from t
select nullif(small, 1) n, price + price p, price - 1.5 q from t
select id from t where starts_with(name, 'z')
""".strip().splitlines()

UNPROVEN = """
select id + 1 from t
select id / 2 from t
select id // 2, id % 2 from t
select price * 2 from t
select price / 3 from t
select avg(price) from t
select id from t where x > 1
select id from t where x = 0.0
select x, count(*) from t group by x
select distinct x from t
select x from t order by x
select min(x) from t
select id from t limit 5
select id from t where day > '2024-02-01'
select id from t where name like 'a\\%'
select id from t where name ilike 'B%'
select id from t where name like name
select substr(name, -2) from t
select upper(name) from t
select name[1] from t
select day + interval 1 month from t
select row_number() over (order by id) from t
select id from t where ok or id in (select id from u)
select id from t where id not in (select id from u)
select id in (select id from u) from t
select id from t where x in (select x from u)
select id from t where exists (select 1 from u)
select (select max(id) from u) from t
select id from t where id not in (1, null)
select any_value(id order by id) from t
select list(id) from t
select median(id) from t
select first(id) from t
select * from t full join u on t.id = u.id
select * from t cross join u
select t.id from t natural join u
select t.id from t join u using (id)
select t.id from t join u on t.x = u.x
select small, sum(id) from t group by rollup (small)
select x, sum(id) from t group by all
select small, sum(x) + small from t group by all
select x, sum(id) from t group by 1
select sum(distinct id) from t
select count(*) filter (where x > 1) from t
select x from t union select x from u
select id from t except all select id from u
select price from t intersect select id from u
select t.id from t tablesample 10%
select id from t qualify row_number() over () = 1
select [id] from t
select {'a': id} from t
select id::varchar from t
select try_cast(name as int) from t
select current_date from t
select 1
from range(3)
pivot t on small using sum(id)
select * exclude (id) from t
with recursive r as (select 1 n union all select n + 1 from r where n < 3) select n from r
select a from csv
select "Big" from capitals
select h from nested
select id x from t order by x + 1
select id + 1 as id from t
select max(id) over () from t
select row_number() over (order by id) from t
select rank() over (order by x) from t
select rank() over (order by id rows unbounded preceding) from t
select substring(name, -2, 1) from t
select left(name, small) from t
select cast('2024-1-5' as date) from t
""".strip().splitlines()


class Both:
    """The same statement on DuckDB and on DataFusion."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.duckdb = LocalDuckDB(LocalSettings(threads=1), catalog.locations)
        self.datafusion = LocalDataFusion()

    def tables(self, sql: str):
        return check(parse(sql), self.catalog.resolve)

    def answers(self, sql: str):
        want = self.duckdb.execute(sql, None, self.tables(sql), Session())
        return want, self.datafusion.execute(parse(sql), self.tables(sql), want.schema)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "t").mkdir()
    pq.write_table(rows(1, COUNT), folder / "t" / "a.parquet", row_group_size=100)
    pq.write_table(rows(2, COUNT), folder / "t" / "b.parquet")
    pq.write_table(rows(3, COUNT), folder / "u.parquet")
    (folder / "csv.csv").write_text("a,b\n1,\n2,x\n")
    pq.write_table(pa.table({"Big": [1]}), folder / "capitals.parquet")
    pq.write_table(pa.table({"h": [[1]]}), folder / "nested.parquet")
    with Catalog(str(folder)) as catalog:
        found = Both(catalog)
        yield found
        found.duckdb.close()


def canonical(table: pa.Table, ordered: bool):
    """Rows with floats cut to nine digits; sorted where the statement gives no order."""
    found = [tuple(f"{v:.9g}" if isinstance(v, float) else repr(v) for v in row.values()) for row in table.to_pylist()]
    return found if ordered else sorted(found)


@pytest.mark.parametrize("sql", PROVEN)
def test_proven_statement_gives_duckdbs_answer(both, sql):
    want, got = both.answers(sql)
    assert got.reason == ""
    assert got.table.schema == want.schema
    ordered = " over " not in sql and ("order by" in sql or not any(word in sql for word in REORDERED))
    assert canonical(got.table, ordered) == canonical(want, ordered)


@pytest.mark.parametrize("sql", UNPROVEN)
def test_unproven_statement_is_not_sent(both, sql):
    statement = parse(sql)
    assert unproven(statement.tree, both.tables(sql))
    got = both.datafusion.execute(statement, both.tables(sql), pa.schema([]))
    assert got.table is None
    assert got.reason.startswith("DataFusion is not proven for ")


def test_error_of_datafusion_sends_the_statement_to_duckdb(both, tmp_path):
    broken = tmp_path / "broken.parquet"
    pq.write_table(rows(5, 10), broken)
    with Catalog({"broken": str(broken)}) as catalog:
        statement = parse("select id from broken")
        tables = check(statement, catalog.resolve)
        broken.write_bytes(b"PAR1")
        got = both.datafusion.execute(statement, tables, pa.schema([("id", pa.int64())]))
    assert (got.table, got.reason.split(":")[0]) == (None, "DataFusion failed")


def test_at_least_forty_statements_are_proven():
    assert len(PROVEN) >= 40


def test_reason_names_the_construct(both):
    assert unproven(parse("select upper(name) from t").tree, both.tables("from t")) == "function upper"
    assert unproven(parse("select a from csv").tree, both.tables("from csv")) == "csv files"


def test_statement_with_parameters_is_not_sent(both):
    got = both.datafusion.execute(parse("select id from t where id = $a"), both.tables("from t"), pa.schema([]))
    assert "parameters" in got.reason


def test_arrow_tables_are_read_too():
    with Catalog({"m": rows(4, 100)}) as catalog:
        found = Both(catalog)
        want, got = found.answers("select small, count(*) n from m group by small order by small")
        assert got.table.to_pylist() == want.to_pylist()
        found.duckdb.close()


def test_sum_beyond_64_bits_does_not_wrap():
    with Catalog({"m": pa.table({"a": [2**62] * 8})}) as catalog:
        found = Both(catalog)
        want, got = found.answers("select sum(a) s from m")
        assert got.table is None or got.table.equals(want)
        assert want.to_pylist() == [{"s": Decimal(2**65)}]
        found.duckdb.close()


def test_types_that_arrow_cannot_turn_into_duckdbs_send_the_statement_to_duckdb():
    found = pa.table({"m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))})
    for kind in (pa.list_(pa.int64()), pa.int64()):
        assert as_duckdb(found, pa.schema([("m", kind)])).reason.startswith("DataFusion's types do not fit")
