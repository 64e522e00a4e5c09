"""What other libraries call the methods of connections and results, for whoever tries those names here."""

from __future__ import annotations

from typing import NoReturn

CONNECTION = {
    **dict.fromkeys(("execute", "sql", "query", "read_sql"), "execute_sql(sql, params)"),
    **dict.fromkeys(("cursor", "commit", "rollback"), "sabot_sql.dbapi.connect(...), which has cursors"),
    **dict.fromkeys(("list_tables", "show_tables"), "tables()"),
}
RESULT = {
    **dict.fromkeys(("df", "fetchdf", "fetch_df", "pandas"), "to_pandas()"),
    **dict.fromkeys(("pl", "polars", "fetch_polars"), "to_polars()"),
    **dict.fromkeys(("arrow", "fetch_arrow_table", "table"), "to_arrow()"),
    **dict.fromkeys(("fetchall", "rows", "to_dicts"), "to_pylist(), or iterate over it"),
    **dict.fromkeys(("fetchone", "first"), "one(), scalar(), or iterate over it"),
    **dict.fromkeys(("to_csv", "write_csv"), "to_pandas().to_csv(path), or pyarrow.csv.write_csv(result.to_arrow(), path)"),
    **dict.fromkeys(("to_parquet", "write_parquet"), "pyarrow.parquet.write_table(result.to_arrow(), path)"),
}


def no_attribute(owner: object, name: str, known: dict[str, str]) -> NoReturn:
    """Raises the AttributeError for `name`, which says what to use instead where that is known."""
    text = f"{type(owner).__name__!r} object has no attribute {name!r}"
    raise AttributeError(f"{text}; use {known[name]}" if name in known else text, name=name, obj=owner)
