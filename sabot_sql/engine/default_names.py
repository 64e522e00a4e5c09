"""The catalog and schema in which a request wants its names looked up."""

from __future__ import annotations

from sabot_sql.catalog.catalog import DEFAULT_SCHEMA
from sabot_sql.catalog.hive import fold
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import NotSupported


def refuse_other_names(request: QueryRequest, catalog: str) -> None:
    """Raise where the request's `catalog` or `schema` is not the one that there is.

    Raises:
        NotSupported: names are looked up elsewhere.
    """
    if request.catalog is None and request.schema is None:
        return
    for what, given, known in (("catalog", request.catalog, catalog), ("schema", request.schema, DEFAULT_SCHEMA)):
        if given is not None and fold(given) != fold(known):
            raise NotSupported(
                f'names cannot be looked up in {what} "{given}": the default {what} is always {known}',
                hint=f"leave {what} out, and write the whole name of a table that has one",
            )
