"""DuckDB's own parse tree (`json_serialize_sql`): what DuckDB will run is what is judged.

Only SELECTs have a tree; of all else DuckDB tells the kind.
"""

from __future__ import annotations

import functools
import json
import queue
import re
from typing import Any

import duckdb

from sabot_sql.errors import ParseError, SabotError
from sabot_sql.planner.complexity import too_complex
from sabot_sql.planner.duckdb_errors import translate
from sabot_sql.planner.sql_position import position_at_byte

PREPARE = "PREPARE tree AS SELECT json_serialize_sql($1, skip_null := true, skip_empty := true)"

OPTIMIZERS = "SELECT string_agg(name, ',') FROM duckdb_optimizers()"
"""All are off: they find nothing in one call of one function, and take a seventh of its time."""

Node = dict[str, Any]

NOT_A_PARAMETER, PARAMETER_HINT = 'near ":"', "a parameter is written $name, $1 or ?"


class TreeReader:
    """Reads parse trees. Thread-safe: each reader thread borrows a cursor with the call prepared."""

    def __init__(self) -> None:
        self._con = duckdb.connect(
            config={
                "memory_limit": "512MB",
                "threads": 1,
                "enable_external_access": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
            }
        )
        every = self._con.execute(OPTIMIZERS).fetchall()[0][0]
        self._con.execute(f"SET disabled_optimizers = '{every}'").fetchall()
        self._con.execute("SET lock_configuration = true").fetchall()
        self._idle: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()

    def statements(self, sql: str) -> list[Node] | None:
        """The root nodes of the statements in `sql`; None where one of them is no SELECT.

        Raises:
            ParseError: with the position.
            PlanError: STATEMENT_TOO_COMPLEX.
        """
        answer = self._serialize(sql)
        if not answer["error"]:
            return [statement["node"] for statement in answer.get("statements", ())]
        message, kind = answer.get("error_message", ""), answer.get("error_type")
        if kind == "not implemented" and message.startswith("Only SELECT"):
            return None
        raise self._error(answer, message, sql)

    def _serialize(self, sql: str) -> Node:
        cursor = self._borrow()
        try:
            text = cursor._submit("EXECUTE tree('" + sql.replace("'", "''") + "')").fetchall()[0][0]
        except duckdb.Error as error:
            cursor.close()
            raise translate(error, sql) from error
        self._idle.put(cursor)
        try:
            answer: Node = json.loads(text)
        except RecursionError:
            raise too_complex() from None
        return answer

    def _borrow(self) -> duckdb.DuckDBPyConnection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            cursor = self._con.cursor()
            cursor.execute(PREPARE).fetchall()
            return cursor

    @staticmethod
    def _error(answer: Node, message: str, sql: str) -> SabotError:
        if "Max expression depth" in message:
            return too_complex()
        located = re.fullmatch(r"\[(\d+),(\d+)\]", answer.get("location", ""))
        position = position_at_byte(sql, int(located[1]), int(located[2])) if located else None
        hint = PARAMETER_HINT if message.endswith(NOT_A_PARAMETER) else None
        return ParseError(message, hint=hint, position=position, sql=sql, engine_message=message)

    def kinds(self, sql: str) -> tuple[str, ...]:
        """DuckDB's kind of each statement in `sql`: INSERT, COPY, MULTI (a PIVOT that must look at the data first), ...

        Raises:
            ParseError: with the position.
        """
        try:
            return tuple(statement.type.name for statement in self._con.extract_statements(sql))
        except duckdb.Error as error:
            raise translate(error, sql) from error
        except ValueError:  # a kind that DuckDB's Python module has no name for
            return ("OTHER",)


@functools.cache
def reader() -> TreeReader:
    """The process's reader, made on first use."""
    return TreeReader()
