"""The list of functions is DuckDB's, without what a reader may not call."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

import sabot_sql.shell
from sabot_sql.planner import policy
from sabot_sql.shell.functions import functions

LIST = Path(sabot_sql.shell.__file__).parent / "functions.tsv"
QUERY = """
    SELECT function_name, replace(function_type, 'table_macro', 'table'), count(*) AS forms,
        min_by((parameters, parameter_types, coalesce(return_type, ''), coalesce(description, '')),
            (len(parameters), parameter_types::VARCHAR, return_type))
    FROM duckdb_functions() WHERE schema_name IN ('main', 'pg_catalog') AND function_type <> 'pragma'
    GROUP BY ALL ORDER BY ALL"""


def listed() -> str:
    lines = []
    with duckdb.connect() as con:
        for name, kind, forms, (parameters, types, result, text) in con.execute(QUERY).fetchall():
            if not re.fullmatch(r"[a-z]\w*", name) or name in policy.DENIED_FUNCTIONS or policy.DENIED_PATTERN.match(name):
                continue
            if kind == "table" and name not in policy.TABLE_FUNCTIONS:
                continue
            arguments = ", ".join(f"{p} {t}" if t else str(p) for p, t in zip(parameters, types or [None] * len(parameters)))
            description = " ".join(text.split())
            lines.append("\t".join((name, kind, arguments, result, str(forms), description)))
    return "\n".join(lines) + "\n"


def test_list_is_that_of_duckdb(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--goldens"):
        LIST.write_text(listed(), encoding="utf-8")
    assert LIST.read_text(encoding="utf-8") == listed()


def test_functions_have_their_kinds() -> None:
    kinds = {f.name: f.kind for f in functions()}
    assert (kinds["sum"], kinds["upper"], kinds["range"]) == ("aggregate", "scalar", "table")
    assert not {"read_parquet", "duckdb_functions", "nextval"} & set(kinds)
    assert len(kinds) > 500
