"""DataFusion as the second local engine: proven statements only, and DuckDB's names and types for the answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlglot import exp

from sabot_sql.catalog.sources_ipc import ipc_dataset
from sabot_sql.catalog.table import Table
from sabot_sql.errors import Cancelled, SabotError
from sabot_sql.executor.local_datafusion_proven import integer_sums, unproven
from sabot_sql.planner.parse import Statement

__all__ = ["Answer", "LocalDataFusion", "unproven"]


@dataclass(frozen=True, slots=True)
class Answer:
    """DataFusion's answer; `table` is None where the statement goes to DuckDB, and `reason` says why."""

    table: pa.Table | None
    reason: str = ""


class LocalDataFusion:
    """Runs proven statements on DataFusion. Thread-safe: one session a query, on one partition, so that rows keep the
    files' order."""

    def execute(
        self, statement: Statement, tables: Sequence[Table], schema: pa.Schema, cancel: threading.Event | None = None
    ) -> Answer:
        """The answer, or the reason why DataFusion does not give it.

        Args:
            schema: the names and types that DuckDB gives this statement.
            cancel: looked at between batches.
        """
        why = "a statement with parameters" if statement.parameters else unproven(statement.tree, tables)
        if why is not None or statement.tree is None:
            return Answer(None, f"DataFusion is not proven for {why}")
        try:
            found = self._run(to_datafusion(statement.tree, tables), tables, cancel)
        except SabotError:
            raise
        except BaseException as error:
            if not is_datafusions(error):
                raise
            return Answer(None, f"DataFusion failed: {(str(error).splitlines() or ['no reason given'])[0]}")
        return as_duckdb(found, schema)

    def _run(self, sql: str, tables: Sequence[Table], cancel: threading.Event | None) -> pa.Table:
        from datafusion import SQLOptions

        context = session(tables)
        readonly = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
        frame = context.sql_with_options(sql, readonly)
        batches = []
        for partition in frame.execute_stream_partitioned():  # one a file, in the files' order
            for batch in partition:
                if cancel is not None and cancel.is_set():
                    raise Cancelled("the query was cancelled")
                batches.append(batch.to_pyarrow())
        return pa.Table.from_batches(batches, batches[0].schema if batches else frame.schema())


def session(tables: Sequence[Table]) -> Any:
    """A session of DataFusion with `tables`, on one partition and with decimals where the text has a point."""
    from datafusion import SessionConfig, SessionContext  # 90 ms that only this engine's users pay

    config = SessionConfig(
        {
            "datafusion.sql_parser.parse_float_as_decimal": "true",
            "datafusion.sql_parser.dialect": "PostgreSQL",
            "datafusion.execution.target_partitions": "1",
            "datafusion.optimizer.repartition_file_scans": "false",
        }
    )
    context = SessionContext(config)
    for table in tables:
        _register(context, table)
    return context


def _register(context: Any, table: Table) -> None:
    if table.scan.kind == "parquet" and len(table.scan.files) == 1:
        context.register_parquet(table.name, table.scan.files[0].path, file_extension="")
    elif table.scan.kind == "parquet":
        import pyarrow.dataset as ds

        context.register_dataset(table.name, ds.dataset([f.path for f in table.scan.files], format="parquet"))
    else:
        context.register_dataset(table.name, ipc_dataset(table.scan))


def to_datafusion(tree: exp.Expression, tables: Sequence[Table]) -> str:
    """The text for DataFusion: names folded and quoted, sums of integers in 38 digits, the place of NULLs written out.

    DuckDB's `order by a desc` becomes `ORDER BY "a" DESC NULLS LAST`, `sum(i)` becomes `SUM(CAST("i" AS DECIMAL(38, 0)))`.
    """
    tree = tree.copy()
    for call in integer_sums(tree, tables):
        call.set("this", exp.cast(call.this, "DECIMAL(38, 0)"))
    return transpiled(tree)


def transpiled(tree: exp.Expression) -> str:
    """Any statement as DataFusion may read it, proven or not."""
    tree = tree.copy()
    for node in list(tree.find_all(exp.Identifier)):
        node.set("this", node.name.lower())
        node.set("quoted", True)
    for order in tree.find_all(exp.Ordered):
        order.set("nulls_first", bool(order.args.get("nulls_first")))
    for test in list(tree.find_all(exp.NullSafeEQ, exp.NullSafeNEQ)):
        around = exp.Paren()  # DataFusion reads `a IS DISTINCT FROM b AND c` as `a IS DISTINCT FROM (b AND c)`
        test.replace(around)
        around.set("this", test)
    return str(tree.sql(dialect="postgres"))


def is_datafusions(error: BaseException) -> bool:
    """Whether DataFusion raised it: its Python module has no class of its own, and a panic in Rust is no Exception."""
    return type(error) in (Exception, ValueError) or type(error).__name__ == "PanicException"


def as_duckdb(found: pa.Table, schema: pa.Schema) -> Answer:
    """`found` with DuckDB's names and types."""
    if found.num_columns != len(schema):
        return Answer(None, f"DataFusion gave {found.num_columns} columns instead of {len(schema)}")
    try:
        columns = [column.cast(field.type) for column, field in zip(found.columns, schema)]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:  # a map as a list is the last
        return Answer(None, f"DataFusion's types do not fit: {str(error).splitlines()[0]}")
    return Answer(pa.Table.from_arrays(columns, schema=schema))
