"""Statements parsed as another of the same shape are what they would be, parsed themselves."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sabot_sql.errors import ParseError, PlanError
from sabot_sql.planner.parse import Statement, parse
from sabot_sql.planner.policy import check
from sabot_sql.planner.shape import CONSTANT
from tests.corpus.queries import load


def like(sql: str, other: str) -> bool:
    """Whether `sql` is taken for one of the shape of `other`."""
    parse(other)
    return parse(sql).like is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("select a1 from sh1 where b = 1 and c = 'x'", "select a1 from sh1 where b = 22 and c = 'it is'"),
        ("select -5 as sh2", "select -77 as sh2"),
        ("select a as sh3 from t where b in (1, 2) limit 5", "select a as sh3 from t where b in (7, 8) limit 9"),
        ("select a::decimal(10, 2) as sh13 from t", "select a::decimal(12, 2) as sh13 from t"),
        ("from sh4 where d >= date '1994-01-01' and n < 3", "from sh4 where d >= date '1994-01-01' and n < 9"),
    ],
)  # fmt: skip
def test_other_constants_make_the_same_shape(first: str, second: str) -> None:
    assert like(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("select 1 as sh10", "select 1.5 as sh10"),
        ("select 1 as sh11", "select 12345678901 as sh11"),
        ("select 'a' as sh12", "select 'it''s' as sh12"),
        ("select * from sh14 where d >= date '1994-01-01'", "select * from sh14 where d >= date '1995-01-01'"),
        ("select 1 as sh15 -- 5", "select 1 as sh15 -- 6"),
        ("select repeat('x', 5) as sh16", "select repeat('x', 1500000) as sh16"),
        ("select * from range(5) as sh17", "select * from range(50) as sh17"),
        ("select e'a' as sh18", "select e'b' as sh18"),
        ("select a1 as sh19", "select a2 as sh19"),
        ("select * from 'sh20.csv'", "select * from 'other.csv'"),
        ("select é, 1 as sh21 from t", "select é, 2 as sh21 from t"),
        ("select $sh22, 5", "select $sh22, 6"),
    ],
)
def test_what_is_no_plain_constant_is_parsed_itself(first: str, second: str) -> None:
    assert not like(second, first)


def test_a_tree_from_a_shape_is_the_statements_own() -> None:
    parse("select a as sh30 from t where b = 1")
    found = parse("select a as sh30 from t where b = 4711")
    assert found.like is not None
    assert "4711" in str(found.nodes)
    assert found.tree is not None
    assert "4711" in found.tree.sql()


def test_an_unknown_table_is_pointed_at_where_it_stands() -> None:
    def resolve(parts: tuple[str, ...]) -> None:
        raise PlanError(f"table {parts[0]} does not exist", code="UNDEFINED_TABLE")

    parse("select 1, x from nosuch31")
    found = parse("select 1000, x from nosuch31")
    assert found.like is not None
    with pytest.raises(PlanError) as caught:
        check(found, resolve)
    assert caught.value.position is not None
    assert caught.value.position.column == 21


def without(node: Any, *keys: str) -> Any:
    """A tree without what stands under `keys`."""
    if isinstance(node, dict):
        return {k: without(v, *keys) for k, v in node.items() if k not in keys}
    return [without(one, *keys) for one in node] if isinstance(node, list | tuple) else node


def comparable(statement: Statement, *keys: str) -> object:
    """What a statement says, without places, which count in its own text."""
    nodes = without(statement.nodes, "query_location", "query_location_length", *keys)
    return statement.kind, statement.tables, statement.parameters, nodes


def test_corpus_queries_with_other_constants_have_their_own_trees() -> None:
    rng = random.Random(5)
    taken = 0
    for query in load():
        parse(query.sql)
        changed = CONSTANT.sub(lambda m: f"'{rng.choice('abc')}'" if m[0][0] == "'" else str(rng.randrange(10**6)), query.sql)
        try:
            found = parse(changed)
        except (PlanError, ParseError):
            continue
        if found.like is None:
            continue
        taken += 1
        whole = found.itself
        assert comparable(found) == comparable(whole), changed
        assert [r.parts for r in found.references] == [r.parts for r in whole.references]
        assert comparable(found.like, "text") == comparable(whole, "text"), changed
    assert taken > 50
