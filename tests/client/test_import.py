from __future__ import annotations

import subprocess
import sys

import pytest

import sabot_sql

HEAVY = ("numba", "duckdb", "dbos", "fastapi", "numpy", "pyarrow", "pandas", "sqlglot", "pydantic")


def loaded_after(code: str) -> set[str]:
    check = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light() -> None:
    assert loaded_after("import sabot_sql; sabot_sql.NotSupported; sabot_sql.__version__") == set()


def test_http_connection_loads_no_engine() -> None:
    assert loaded_after("import sabot_sql; sabot_sql.connect('http://127.0.0.1:1')") <= {"pyarrow", "numpy"}


@pytest.mark.parametrize("name", sabot_sql.__all__)
def test_public_name_is_there(name: str) -> None:
    assert getattr(sabot_sql, name) is not None
    assert name in dir(sabot_sql)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'connecting'"):
        sabot_sql.connecting  # noqa: B018
