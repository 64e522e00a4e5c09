"""DuckDB's errors for the executor; they are read in `planner.duckdb_errors`, which the binder needs too."""

from __future__ import annotations

from sabot_sql.planner.duckdb_errors import translate

__all__ = ["translate"]
