"""What statements that write are called, and which of them count rows."""

from __future__ import annotations

from typing import Literal

WriteKind = Literal["CREATE TABLE AS", "CREATE TABLE", "INSERT", "COPY", "CREATE VIEW", "DROP TABLE", "DROP VIEW"]

COUNTED = frozenset(("CREATE TABLE AS", "INSERT", "COPY"))
"""Those that answer with the number of rows they wrote."""

DEFINING = frozenset(("CREATE TABLE", "CREATE VIEW", "DROP TABLE", "DROP VIEW"))
"""Those that write none."""

WRITING = COUNTED | DEFINING
"""All of them."""

COUNT = "Count"
"""The column that has the number, as DuckDB calls it."""
