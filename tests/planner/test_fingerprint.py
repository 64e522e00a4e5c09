from __future__ import annotations

import pytest

from sabot_sql.planner.fingerprint import fingerprint, shape_text
from sabot_sql.planner.parse import parse


@pytest.mark.parametrize(
    "other",
    [
        "select A from T where b=2 and c in ('x')",
        "SELECT a\n/* why */ FROM t WHERE b = 1e9 AND c IN ('x', 'y', 'z') -- end",
        "select a from t where b = $lo and c in ('it''s')",
        "select a from t where b = ? and c in (?, ?)",
    ],
)
def test_literals_parameters_spaces_and_case_do_not_matter(other: str) -> None:
    assert fingerprint(parse(other)) == fingerprint(parse("select a from t where b = 1 and c in ('x', 'y')"))


@pytest.mark.parametrize(
    "other", ["select a from t where c = 1", 'select "A" from t where b = 1', "select a from t where b > 1"]
)
def test_names_and_operators_do(other: str) -> None:
    assert fingerprint(parse(other)) != fingerprint(parse("select a from t where b = 1"))


def test_the_shape_holds_no_literal() -> None:
    assert shape_text("select 'secret', 4711 from t where d > date '2026-01-01'") == "select ? from t where d > date ?"
