"""Small real files, and DuckDB to say what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.catalog.sources import scan_sql
from sabot_sql.catalog.table import Table


class Oracle:
    """DuckDB by itself."""

    def __init__(self) -> None:
        self.connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})

    def write(self, path: Path, sql: str, options: str = "") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = str(path).replace("'", "''")
        self.connection.execute(f"COPY ({sql}) TO '{target}' {options}").fetchall()
        return path

    def columns(self, relation: str) -> list[tuple[str, str]]:
        return [(name, text) for name, text, *_ in self.connection.sql(f"DESCRIBE SELECT * FROM {relation}").fetchall()]

    def rows(self, relation: str) -> list[str]:
        """Each row as text, in order (time zones and NaN compare as text)."""
        sql = f'SELECT CAST("|row" AS VARCHAR) FROM (SELECT * FROM {relation}) AS "|row"'
        return [text for (text,) in self.connection.sql(sql).fetchall()]

    def rows_of(self, table: Table, files: list[int] | None = None) -> list[str]:
        """The rows of `table` through its own scan expression, its columns in order."""
        names = ", ".join('"' + field.name.replace('"', '""') + '"' for field in table.schema)
        return self.rows(f"(SELECT {names} FROM {scan_sql(table.scan, files)})")


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    found = Oracle()
    yield found
    found.connection.close()


@pytest.fixture
def open_catalog(request: pytest.FixtureRequest) -> Any:
    """Opens catalogs that are closed when the test is over."""

    def opened(data: Any = None, **options: Any) -> Catalog:
        catalog = Catalog(data, **options)
        request.addfinalizer(catalog.close)
        return catalog

    return opened


def columns_of(table: Table) -> list[tuple[str, str]]:
    """Names and types of a table's columns."""
    return [(field.name, str(field.type)) for field in table.schema]
