"""What DataFusion answers otherwise than DuckDB, over generated statements, and that nothing of it passes the gate.

`pytest tests/executor/test_datafusion_differences.py --goldens` writes datafusion_differences.md anew.
SABOT_RANDOM_QUERIES=3000 runs more statements of several constructs, and SABOT_RANDOM_SEED=7 others; the table is of seed 1.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import datafusion
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.catalog.table import Table
from sabot_sql.executor.local_datafusion import LocalDataFusion, as_duckdb, is_datafusions, session, to_datafusion
from sabot_sql.executor.local_datafusion_proven import unproven
from sabot_sql.planner.parse import parse
from tests.corpus.random_tables import EDGES, TYPES, make_random_tables
from tests.executor.datafusion_outcomes import Kind, Outcome, answer_difference, compare, datafusion_answer, duckdb_answer
from tests.executor.datafusion_queries import Query, combined_queries, construct_queries, foreign_queries

SEED = int(os.environ.get("SABOT_RANDOM_SEED", "1"))
COMBINED = int(os.environ.get("SABOT_RANDOM_QUERIES", "300"))
REPEATS = 3  # statements a construct
FOREIGN = 50
GOLDEN = Path(__file__).with_name("datafusion_differences.md")
PROVEN_SHARE = {"constructs": 0.3, "combined": 0.8}  # floors
MAX_EXAMPLE = 110
KINDS: dict[Kind, str] = {"same": "same", "types": "other types", "values": "other values", "error": "errors"}
TEXTS = ["", "a", "ẞß", "İi", "e\u0301"]


class Engines:
    """Both engines over the same tables: in memory, and as files for the product's own way to them."""

    def __init__(self, folder: Path) -> None:
        paths = make_random_tables(folder, SEED)
        (folder / "edges").mkdir()
        pq.write_table(edges(), folder / "edges" / "edges.parquet")
        paths["edges"] = str(folder / "edges")
        self.catalog = Catalog(paths)
        self.tables = {t.name: t for t in self.catalog.tables()}
        self.duckdb = duckdb.connect(config={"threads": 1})
        self.duckdb.execute("SET TimeZone = 'UTC'").fetchall()
        self.context = session(())
        self.fallen_back = 0
        for name, path in paths.items():
            self.duckdb.execute(f"CREATE TABLE {name} AS FROM '{Path(path) / '*.parquet'}'").fetchall()
            rows = self.duckdb.sql(f"FROM {name}").to_arrow_table().combine_chunks()
            batches = rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]
            self.context.register_record_batches(name, [batches])

    def gate(self, query: Query) -> tuple[str | None, exp.Expression | None, list[Table]]:
        """Why a statement is not proven, its tree, and its tables."""
        try:
            tree = sqlglot.parse_one(query.sql, read="duckdb")
        except sqlglot.ParseError:
            return "a statement that sqlglot does not read", None, []
        names = {node.name.lower() for node in tree.find_all(exp.Table)}
        tables = [self.tables[name] for name in sorted(names) if name in self.tables]
        return unproven(tree, tables), tree, tables

    def outcome(self, query: Query) -> Outcome:
        return compare(query, duckdb_answer(self.duckdb, query.sql), datafusion_answer(self.context, query.sql))

    def proven_complaint(self, query: Query, tree: exp.Expression, tables: list[Table]) -> str:
        """What is wrong with DataFusion's answer to a proven statement, over the tables in memory."""
        want = duckdb_answer(self.duckdb, query.sql)
        try:
            got = self.context.sql(to_datafusion(tree, tables)).to_arrow_table()
        except BaseException as error:  # goes to DuckDB
            if not is_datafusions(error):
                raise
            return ""
        if isinstance(want, duckdb.Error):
            return f"an answer instead of {want}"
        answer = as_duckdb(got, want.schema)
        return answer_difference(query, want, answer.table) if answer.table is not None else ""

    def product_complaint(self, query: Query, tables: list[Table]) -> str:
        """What is wrong with the answer of the local route's DataFusion, over the files."""
        want = duckdb_answer(self.duckdb, query.sql)
        if isinstance(want, duckdb.Error):
            return f"DuckDB fails: {want}"
        answer = LocalDataFusion().execute(parse(query.sql), tables, want.schema)
        if answer.table is None:
            self.fallen_back += 1
            return "" if answer.reason.startswith("DataFusion failed: ") else answer.reason
        return answer_difference(query, want, answer.table)


def edges() -> pa.Table:
    """Every extreme value that a column may have, beside ordinary ones and NULL, each in an order of its own."""
    rng = random.Random(SEED)
    columns = []
    for name, kind in TYPES.items():
        values = list(EDGES.get(name, TEXTS if kind == pa.string() else ()))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            values.append(0)
        values = [*values, None] * 8
        rng.shuffle(values)
        columns.append(pa.array((values * 40)[:40], kind))
    return pa.Table.from_arrays(columns, schema=pa.schema(list(TYPES.items())))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    found = Engines(tmp_path_factory.mktemp("differences"))
    yield found
    found.duckdb.close()
    found.catalog.close()


def statements() -> list[Query]:
    return [*construct_queries(SEED, REPEATS), *foreign_queries(SEED, FOREIGN)]


def table_of_differences(found: dict[tuple[str, str], list[tuple[Query, Outcome]]]) -> list[str]:
    """The constructs in which the engines differ, with how often, and the first statement that shows it."""
    lines = ["| about | construct | same | other types | other values | error | for example |", "|---|---|---|---|---|---|---|"]
    for (group, construct), cases in found.items():
        count = Counter(outcome.kind for _, outcome in cases)
        if count["same"] == len(cases):
            continue
        order = ("values", "types", "error")
        query, outcome = min((c for c in cases if c[1].kind != "same"), key=lambda c: order.index(c[1].kind))
        example = query.sql.removeprefix("SELECT k, ").removesuffix(" AS c FROM mid").removesuffix(" AS c FROM edges")
        shown = f"`{_cell(example)}`{': ' if outcome.detail else ''}{_cell(outcome.detail)}" if construct else ""
        figures = " | ".join(str(count[kind]) for kind in KINDS)
        lines.append(f"| {group} | {f'`{_cell(construct)}`' if construct else ''} | {figures} | {shown} |")
    return lines


def _cell(text: str) -> str:
    text = " ".join(text.replace("|", "\\|").split())
    return text if len(text) <= MAX_EXAMPLE else text[:MAX_EXAMPLE] + "…"


def test_differences_are_those_written_down(engines: Engines, request: pytest.FixtureRequest) -> None:
    found: dict[tuple[str, str], list[tuple[Query, Outcome]]] = {}
    queries = statements()
    for query in queries:
        found.setdefault((query.group, query.construct), []).append((query, engines.outcome(query)))
    kinds = Counter(outcome.kind for cases in found.values() for _, outcome in cases)
    lines = table_of_differences(found)
    if request.config.getoption("--goldens"):
        head = f"DataFusion {datafusion.__version__} and DuckDB {duckdb.__version__}: {len(queries):,} generated statements"
        shares = ", ".join(f"{kinds[kind]} {name}" for kind, name in KINDS.items())
        GOLDEN.write_text("\n".join([f"{head} in DuckDB's dialect, transpiled by sqlglot: {shares}.", "", *lines, ""]))
    assert len(queries) >= 1000
    assert lines == GOLDEN.read_text().splitlines()[2:]


def test_proven_construct_has_duckdbs_answer_and_types(engines: Engines) -> None:
    complaints, proven = [], 0
    queries = list(construct_queries(SEED, REPEATS))
    for query in queries:
        why, tree, tables = engines.gate(query)
        if why is None and tree is not None:
            proven += 1
            if complaint := engines.proven_complaint(query, tree, tables):
                complaints.append(f"{complaint}: {query.sql}")
    assert not complaints
    assert proven / len(queries) >= PROVEN_SHARE["constructs"]


def test_proven_combination_has_duckdbs_answer_and_types(engines: Engines) -> None:
    complaints, proven = [], 0
    for query in combined_queries(SEED, COMBINED):
        why, _, tables = engines.gate(query)
        if why is None:
            proven += 1
            if complaint := engines.product_complaint(query, tables):
                complaints.append(f"{complaint}: {query.sql}")
    assert not complaints
    assert proven / COMBINED >= PROVEN_SHARE["combined"]
    assert engines.fallen_back <= proven // 50  # an error of DataFusion's own, and so an answer of DuckDB's
