"""Whose a query is: a caller sees only queries of their own, an admin all."""

from __future__ import annotations

from sabot_sql.errors import QueryError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.server.principal import Principal
from sabot_sql.server.problems import NAME


def own_record(manager: JobManager, query_id: str, principal: Principal) -> QueryRecord:
    """The record of a query that `principal` sees; may ask the job database, so not for the event loop.

    Raises:
        QueryError: QUERY_NOT_FOUND, in the same words for the query of another user as for an id that does not exist.
    """
    if not NAME.fullmatch(query_id):
        raise QueryError("there is no such query", code="QUERY_NOT_FOUND")
    record = manager.record(query_id)
    if not principal.sees(record.request.user):
        raise QueryError(f"there is no query {query_id[:64]}", code="QUERY_NOT_FOUND")
    return record
