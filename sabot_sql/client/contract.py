"""The JSON objects of the HTTP contract, in both directions: the server writes them, the client reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from sabot_sql.catalog.table import ColumnStatistics, Table
from sabot_sql.client.json_values import json_values
from sabot_sql.client.sql_types import schema_of
from sabot_sql.engine.request import (
    TERMINAL_STATES,
    AgentInfo,
    BatchStatus,
    Explanation,
    Progress,
    QueryResult,
    QueryStatus,
    StateChange,
    StatementStatus,
)
from sabot_sql.errors import SabotError
from sabot_sql.types import Field, Schema, SqlType, arrow_type, parse_type

ARROW_STREAM = "application/vnd.apache.arrow.stream"
PARQUET, CSV = "application/vnd.apache.parquet", "text/csv"
PROBLEM = "application/problem+json"
QUERY_METADATA = b"sabot.query"  # key of the schema metadata of an Arrow answer
TOLD_FROM = 0.05  # the share of tasks from which a time is told
CATALOG, SCHEMA = "memory", "main"  # what DuckDB calls them in a bare connection

ARROW_NAMES = {pa.string(): "string", pa.float64(): "double", pa.float32(): "float"}


def columns_to_json(columns: Schema, schema: pa.Schema) -> list[dict[str, Any]]:
    """The `columns` of an answer: name, Arrow type, SQL type."""
    if len(columns) != len(schema):
        columns = schema_of(schema)
    return [
        {"name": f.name, "type": arrow_name(f.type), "sql_type": str(c.type), "nullable": f.nullable}
        for c, f in zip(columns, schema)
    ]


def columns_from_json(columns: list[dict[str, Any]]) -> Schema:
    """The columns that `columns_to_json` wrote."""
    return tuple(Field(c["name"], _sql_type(c.get("sql_type") or "VARCHAR")) for c in columns)


def _sql_type(text: str) -> SqlType:
    try:
        return parse_type(text)
    except ValueError:
        return SqlType(text)


def result_to_json(result: QueryResult) -> dict[str, Any]:
    """A finished query without its rows: the object of `POST /v1/sql`, and the metadata of an Arrow answer."""
    return {
        "query_id": result.query_id,
        "state": "finished",
        "route": result.route,
        "columns": columns_to_json(result.columns, result.table.schema),
        "row_count": result.table.num_rows,
        "truncated": False,
        "rows_affected": result.rows_affected,
        "statement_type": result.statement_type,
        "reason": result.reason,
        "stats": result.stats,
        "warnings": result.warnings,
    }


def result_from_json(meta: dict[str, Any], table: pa.Table) -> QueryResult:
    """The finished query that `result_to_json` and its table describe."""
    return QueryResult(
        query_id=str(meta.get("query_id") or ""),
        table=table,
        columns=columns_from_json(meta.get("columns") or []),
        route=meta.get("route") or "local",
        reason=str(meta.get("reason") or ""),
        stats=meta.get("stats") or {},
        statement_type=str(meta.get("statement_type") or "SELECT"),
        warnings=list(meta.get("warnings") or []),
    )


def status_to_json(status: QueryStatus) -> dict[str, Any]:
    """The status object of `GET /v1/queries/{id}` and of a 202."""
    url = f"/v1/queries/{status.query_id}"
    links = {"self": url, "events": f"{url}/events", "plan": f"{url}/plan", "cancel": f"{url}/cancel"}
    if status.state == "finished":
        links["result"] = f"{url}/result"
    return {
        "query_id": status.query_id,
        "state": status.state,
        "route": status.route,
        "reason": status.reason,
        "durable": status.durable,
        "sql": status.sql,
        "user": status.user,
        "submitted_at": time_to_json(status.submitted_at),
        "started_at": time_to_json(status.started_at),
        "finished_at": time_to_json(status.finished_at),
        "progress": {**progress_to_json(status.progress, status.state == "finished"), "eta_ms": eta_ms(status)},
        "stats": status.stats,
        "error": status.error.to_problem() if status.error else None,
        "tags": status.tags,
        "history": [{"state": c.state, "at": time_to_json(c.at), "reason": c.reason} for c in status.history],
        "links": links,
    }


def status_from_json(data: dict[str, Any]) -> QueryStatus:
    """The status that `status_to_json` wrote."""
    error = data.get("error")
    return QueryStatus(
        query_id=str(data["query_id"]),
        state=data["state"],
        sql=str(data.get("sql") or ""),
        user=str(data.get("user") or ""),
        route=data.get("route"),
        reason=str(data.get("reason") or ""),
        durable=bool(data.get("durable")),
        submitted_at=_time_from_json(data.get("submitted_at")),
        started_at=_time_from_json(data.get("started_at")),
        finished_at=_time_from_json(data.get("finished_at")),
        progress=progress_from_json(data.get("progress") or {}),
        stats=data.get("stats") or {},
        error=error_from_json(error, data.get("sql")) if error else None,
        tags=data.get("tags") or {},
        history=[StateChange(c["state"], _time_from_json(c["at"]), c["reason"]) for c in data.get("history") or ()],
    )


def batch_to_json(status: BatchStatus) -> dict[str, Any]:
    """The body of `GET /v1/batches/{id}`."""
    queries = [
        {
            "name": each.name,
            "query_id": each.query_id,
            "state": each.state,
            "error": None if each.error is None else each.error.to_problem(),
        }
        for each in status.statements
    ]
    link = f"/v1/batches/{status.batch_id}"
    return {
        "batch_id": status.batch_id,
        "state": status.state,
        "queries": queries,
        "links": {"self": link, "cancel": f"{link}/cancel"},
    }


def batch_from_json(data: dict[str, Any]) -> BatchStatus:
    """What `batch_to_json` wrote."""
    statements = [
        StatementStatus(q["name"], q["query_id"], q["state"], None if q["error"] is None else error_from_json(q["error"]))
        for q in data["queries"]
    ]
    return BatchStatus(data["batch_id"], data["state"], "", statements)


def progress_to_json(progress: Progress, finished: bool = False) -> dict[str, Any]:
    """The `progress` of a status; a finished query is all done, whether it had tasks or not."""
    return {
        "fraction": 1.0 if finished else round(progress.fraction, 4),
        "stages": progress.stages,
        "stages_done": progress.stages_done,
        "tasks": progress.tasks,
        "tasks_done": progress.tasks_done,
        "rows_read": progress.rows_read,
        "bytes_read": progress.bytes_read,
        "bytes_shuffled": progress.bytes_shuffled,
    }


def eta_ms(status: QueryStatus) -> float | None:
    """How long a query that runs will run on, if its tasks go on as fast; None where too few of them are done to say."""
    share = status.progress.fraction
    if status.state != "running" or status.started_at is None or share < TOLD_FROM:
        return None
    run = dt.datetime.now(dt.UTC) - status.started_at
    return round(run.total_seconds() * 1e3 * (1 - share) / share, 1)


def progress_from_json(data: dict[str, Any]) -> Progress:
    """The progress that `progress_to_json` wrote."""
    names = ("stages", "stages_done", "tasks", "tasks_done", "rows_read", "bytes_read", "bytes_shuffled")
    return Progress(**{name: int(data.get(name) or 0) for name in names})


def error_from_json(problem: dict[str, Any], sql: str | None = None) -> SabotError:
    """The error of a problem object, of which every field may be missing or of a newer version."""
    position = problem.get("position")
    if isinstance(position, dict) and isinstance(position.get("line"), int) and isinstance(position.get("column"), int):
        known = {k: position[k] for k in ("line", "column", "offset", "length") if isinstance(position.get(k), int)}
    else:
        known = None
    return SabotError.from_problem({**problem, "position": known}, sql)


def explanation_to_json(found: Explanation) -> dict[str, Any]:
    """The answer of `POST /v1/explain`."""
    return {
        "route": found.route,
        "reason": found.reason,
        "estimate": found.estimate,
        "statement_type": found.statement_type,
        "tables": list(found.tables),
        "text": found.text,
        "logical": found.logical,
        "physical": found.physical,
        "stages": found.stages,
        "warnings": found.warnings,
        "routing": found.routing,
        "plan": found.plan,
    }


def explanation_from_json(data: dict[str, Any]) -> Explanation:
    """The explanation that `explanation_to_json` wrote."""
    return Explanation(
        route=data.get("route") or "local",
        reason=str(data.get("reason") or ""),
        estimate=data.get("estimate") or {},
        statement_type=str(data.get("statement_type") or ""),
        tables=tuple(data.get("tables") or ()),
        text=str(data.get("text") or ""),
        logical=str(data.get("logical") or ""),
        physical=str(data.get("physical") or ""),
        stages=list(data.get("stages") or []),
        warnings=list(data.get("warnings") or []),
        routing=data.get("routing") or {},
        plan=data.get("plan"),
    )


def table_to_json(table: Table, columns: bool = False, values: bool = False) -> dict[str, Any]:
    """One row of `GET /v1/tables`, on demand with its columns.

    Args:
        values: also the histogram and the common values of each column, as in `GET /v1/tables/{c}/{s}/{t}`.
    """
    statistics = table.statistics
    learnt = statistics.learnt
    found: dict[str, Any] = {
        "catalog": CATALOG,
        "schema": SCHEMA,
        "name": table.name,
        "kind": kind_of(table),
        "format": None if table.error else table.scan.kind,
        "rows": statistics.rows,
        "bytes": statistics.size_bytes,
        "row_count_kind": statistics.confidence,
        "files": len(table.scan.files),
        "location": table.location,
        "partitions": list(table.scan.hive),
        "skipped": list(table.skipped),
        "learnt_at": time_to_json(learnt.at) if learnt else None,
        "rows_sampled": learnt.rows_sampled if learnt else None,
        "error": table.error.detail if table.error else None,
    }
    if columns or values:
        found["columns"] = [_table_column(table, field, values) for field in table.schema]
    return found


def kind_of(table: Table) -> str:
    """What a table is to the contract: kept here, a view kept here, or read where it lies."""
    if not table.is_uploaded:
        return "external"
    return "view" if table.scan.kind == "view" else "table"


def _table_column(table: Table, field: Field, values: bool) -> dict[str, Any]:
    known = table.statistics.columns.get(field.name, ColumnStatistics())
    found = {
        "name": field.name,
        "type": arrow_name_of(field.type),
        "sql_type": str(field.type),
        "nullable": True,
        "comment": None,
        "ndv": known.distinct_count,
        "ndv_from": known.distinct_from or None,
        "min": _bound(known.min),
        "max": _bound(known.max),
        "null_count": known.null_count,
        "average_bytes": known.average_bytes,
    }
    if values:
        common = _bounds([value for value, _ in known.most_common])
        found["most_common"] = [[value, round(share, 6)] for value, (_, share) in zip(common, known.most_common)]
        found["histogram"] = None if known.histogram is None else _bounds(known.histogram)
    return found


def arrow_name(arrow: pa.DataType) -> str:
    """The Arrow type as the contract writes it; an ENUM is the string that its values are."""
    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    return ARROW_NAMES.get(arrow) or str(arrow)


def arrow_name_of(sql_type: SqlType) -> str:
    """The Arrow type of a SQL type as the contract writes it; "opaque" where Arrow has none."""
    try:
        return arrow_name(arrow_type(sql_type))
    except SabotError:
        return "opaque"


def _bound(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return _bounds([value])[0]


def _bounds(values: Sequence[Any]) -> list[Any]:
    return json_values(pa.array(values)) if values else []


def agent_to_json(agent: AgentInfo) -> dict[str, Any]:
    """One row of `GET /v1/agents`."""
    return {
        "id": agent.id,
        "state": agent.state,
        "pid": agent.pid,
        "host": agent.host,
        "flight_uri": agent.flight_uri,
        "incarnation": agent.incarnation,
        "slots": agent.slots,
        "tasks_done": agent.tasks_done,
        "tasks_failed": agent.tasks_failed,
        "started_at": time_to_json(agent.started_at),
        "slots_used": agent.slots_used,
        "memory_used_bytes": agent.memory_used_bytes,
        "last_heartbeat_at": time_to_json(agent.last_heartbeat_at),
    }


def is_terminal(status: QueryStatus) -> bool:
    """Whether the query has ended, well or not."""
    return status.state in TERMINAL_STATES


def time_to_json(moment: dt.datetime | None) -> str | None:
    """A time as the contract writes it: RFC 3339 in UTC, with microseconds."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _time_from_json(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
