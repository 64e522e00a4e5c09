import threading
import time

import pytest

from sabot_sql.config import Settings
from sabot_sql.errors import ParseError, QueryError
from sabot_sql.planner.parse import parse


def code(sql: str, dialect: str = "duckdb") -> str:
    with pytest.raises(QueryError) as caught:
        parse(sql, dialect)
    return caught.value.problem.code


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("select 1", "SELECT"),
        ("from t", "SELECT"),
        ("table t", "SELECT"),
        ("values (1), (2)", "SELECT"),
        ("(select 1)", "SELECT"),
        ("with a as (select 1) from a", "SELECT"),
        ("pivot t on a using sum(b)", "SELECT"),
        ("unpivot t on a, b into name n value v", "SELECT"),
        ("describe t", "DESCRIBE"),
        ("desc select 1", "DESCRIBE"),
        ("show tables", "SHOW"),
        ("summarize t", "SUMMARIZE"),
        ("explain select 1", "EXPLAIN"),
        ("insert into t values (1)", "INSERT"),
        ("copy t to 'x'", "COPY"),
        ("set threads = 1", "SET"),
        ("create table x as pivot t on a", "CREATE"),
    ],
)
def test_kind_is_told(sql, kind):
    assert parse(sql).kind == kind


def test_a_show_inside_a_query_is_a_select():
    assert parse("from (describe t)").kind == "SELECT"


@pytest.mark.parametrize("sql", ["", "  ", ";", "-- nothing", "/* nothing */", "-- a\n;; ;"])
def test_empty_statement_is_refused(sql):
    assert code(sql) == "EMPTY_STATEMENT"


@pytest.mark.parametrize(
    "sql", ["select 1;", "select 1;;", "select 1; -- done", ";select 1", "select 1 /* ; */ ;\n", "select ';'"]
)
def test_trailing_semicolon_and_comment_are_one_statement(sql):
    found = parse(sql)
    assert found.kind == "SELECT"
    assert not found.sql.endswith(";")


def test_second_statement_is_refused_where_it_begins():
    with pytest.raises(ParseError) as caught:
        parse("select 1;\n  delete from t")
    assert caught.value.problem.code == "MULTIPLE_STATEMENTS"
    assert (caught.value.position.line, caught.value.position.column) == (2, 3)


def test_two_statements_in_another_dialect_are_refused():
    assert code("select 1; select 2", "mysql") == "MULTIPLE_STATEMENTS"


def test_syntax_error_shows_the_caret_under_the_word():
    with pytest.raises(ParseError) as caught:
        parse("select a\nfrom t\nwher a = 1")
    assert str(caught.value).splitlines() == ['syntax error at or near "a" (line 3, column 6)', "  wher a = 1", "       ^"]


def test_position_counts_characters_not_bytes():
    with pytest.raises(ParseError) as caught:
        parse("select 'ééé' fro m")
    assert caught.value.position.column == 18


def test_syntax_error_of_another_dialect_has_its_position():
    with pytest.raises(ParseError) as caught:
        parse("select * fro t", "mysql")
    assert (caught.value.position.line, caught.value.position.column) == (1, 14)


def test_unknown_dialect_is_named():
    with pytest.raises(QueryError, match='no dialect "klingon"'):
        parse("select 1", "klingon")


@pytest.mark.parametrize("dialect", ["mysql", "postgres", "spark"])
def test_explain_stays_explain_in_another_dialect(dialect):
    found = parse("EXPLAIN /* why */ ANALYZE SELECT CONCAT_WS('-', a, b) FROM t", dialect)
    assert (found.kind, found.analyze, found.tables) == ("EXPLAIN", True, (("t",),))
    assert parse("EXPLAIN t", "mysql").kind == "DESCRIBE"


def test_another_dialect_is_transpiled():
    assert parse("select ifnull(a, 1) from t limit 3, 4", "mysql").sql == "SELECT COALESCE(a, 1) FROM t LIMIT 4 OFFSET 3"


def test_nul_and_lone_surrogates_are_syntax_errors():
    assert code("select '\0'") == "SYNTAX_ERROR"
    assert code("select '\ud800'") == "SYNTAX_ERROR"


def test_long_statement_is_refused_before_it_is_parsed():
    with pytest.raises(QueryError) as caught:
        parse("select '" + "x" * 300_000 + "'", limits=Settings())
    assert caught.value.problem.code == "STATEMENT_TOO_LARGE"


DEEP = {
    "parentheses": "select " + "(" * 10_000 + "1" + ")" * 10_000,
    "not": "select " + "not " * 10_000 + "true",
    "case": "select " + "case when true then " * 3_000 + "1" + " end" * 3_000,
    "subqueries": "select * from " + "(select * from " * 3_000 + "t" + ")" * 3_000,
    "joins": "select * from t" + " join t using (a)" * 5_000,
    "lists": "select " + "[" * 10_000 + "1" + "]" * 10_000,
    "sum": "select 1" + "+1" * 50_000,
    "exists": "select " + "exists(select " * 4_000 + "1" + ")" * 4_000,
    "types": "select 1::int" + "[]" * 50_000,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_nesting_is_refused_quickly(name):
    start = time.perf_counter()
    assert code(DEEP[name]) == "STATEMENT_TOO_COMPLEX"
    assert time.perf_counter() - start < 3  # alone 0.05 to 0.3 s; the machine is shared


def test_deep_nesting_is_refused_in_a_thread_with_a_small_stack():
    found = []
    threading.stack_size(512 << 10)
    try:
        thread = threading.Thread(target=lambda: found.append(code(DEEP["parentheses"])))
        thread.start()
    finally:
        threading.stack_size(0)
    thread.join()
    assert found == ["STATEMENT_TOO_COMPLEX"]


def test_long_in_list_is_parsed():
    assert parse("select * from t where a in (" + ",".join(map(str, range(10_000))) + ")").tables == (("t",),)


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select * from t", [("t",)]),
        ("select * from a.b.c", [("a", "b", "c")]),
        ("select * from t, t x join u on true", [("t",), ("u",)]),
        ("with t as (select * from t) select * from t", [("t",)]),
        ("with a as (select * from b), b as (from c) select * from a, b", [("b",), ("c",)]),
        ("with recursive a as (select 1 x union all select x + 1 from a where x < 3) from a", []),
        ("select (select max(x) from u) from t where exists (from v)", [("u",), ("t",), ("v",)]),
        ("select * from (with t as (select 1) from t) a, t b", [("t",)]),
        ("summarize t", [("t",)]),
        ("show t", [("t",)]),
        ("explain select * from t", [("t",)]),
        ("pivot t on a using sum(b)", [("t",)]),
        ("select * from range(3)", []),
        ("select * from '/etc/passwd'", [("/etc/passwd",)]),
        ('select * from "T t"', [("T t",)]),
    ],
)
def test_tables_are_named_without_ctes(sql, tables):
    assert sorted(parse(sql).tables) == sorted(tables)


def test_parameters_are_in_order():
    assert parse("select $b, $a, $b from t where x = $c").parameters == ("b", "a", "c")
    assert parse("select ?, ?").parameters == ("1", "2")
    assert parse("select $2, $1").parameters == ("2", "1")


@pytest.mark.parametrize(
    ("sql", "analyze"),
    [
        ("explain select * from t", False),
        ("explain analyze select * from t", True),
        ("/* a */ EXPLAIN -- b\n ANALYZE select * from t", True),
        ("explain (format json) select * from t", False),
        ("explain (analyze, format json) select * from t", True),
        ("explain (select * from t)", False),
    ],
)
def test_explain_holds_the_inner_statement_at_its_offset(sql, analyze):
    found = parse(sql)
    assert (found.kind, found.explain, found.analyze, found.inner.kind) == ("EXPLAIN", True, analyze, "SELECT")
    assert found.inner.references[0].offset == sql.index("from t") + 5


def test_explain_of_a_write_holds_a_write():
    assert parse("explain insert into t values (1)").inner.kind == "INSERT"


def test_sqlglot_gives_a_tree_of_a_query_only():
    assert parse("select a from t").tree is not None
    assert parse("insert into t values (1)").tree is None


def test_a_tree_that_names_other_tables_is_not_kept():
    assert parse("from t tablesample 10%").references


def test_same_text_gives_the_same_statement():
    assert parse("select 4711") is parse("select 4711")
