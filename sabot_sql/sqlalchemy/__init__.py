"""The SQLAlchemy dialect: `create_engine("sabot://host:8600")`, `create_engine("sabot:///folder")`, and DuckDB's own types."""

from __future__ import annotations

from sabot_sql.sqlalchemy.column_types import (
    HUGEINT,
    INTERVAL,
    TINYINT,
    UBIGINT,
    UHUGEINT,
    UINTEGER,
    USMALLINT,
    UTINYINT,
    NamedType,
)

__all__ = [
    "HUGEINT", "INTERVAL", "TINYINT", "UBIGINT", "UHUGEINT", "UINTEGER", "USMALLINT", "UTINYINT", "NamedType",
]  # fmt: skip
