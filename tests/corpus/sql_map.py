"""The coverage map of docs/sql.md: for each construct of the corpus, what runs its statements on the agents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.engine import Engine
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import NotSupported
from sabot_sql.planner.explain import describe, preorder
from sabot_sql.planner.physical import DistributedPlan, ExchangeRead, Filter, Project, Scan
from tests.corpus.queries import Query

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
BEGIN, END = "<!-- made by `make goldens` from here -->\n", "<!-- to here -->\n"
SHOWN = 100

Home = Literal["kernels", "expressions", "operators", "refused"]
HOMES: tuple[Home, ...] = ("kernels", "expressions", "operators", "refused")


@dataclass(frozen=True, slots=True)
class Coverage:
    """How the distributed route runs a statement.

    Attributes:
        home: what runs it, scans apart: kernels alone; kernels with expressions of DuckDB's between them; a whole operator
            of DuckDB's; nothing.
        kernels, duckdb: the names of the operators of each kind.
        refusal: why nothing does.
    """

    query: Query
    home: Home
    kernels: tuple[str, ...] = ()
    duckdb: tuple[str, ...] = ()
    refusal: str = ""


def coverage(queries: Iterable[Query], tables: dict[str, str], scratch: Path) -> list[Coverage]:
    """Every statement as two agents of one slot would run it."""
    settings = Settings(learn_statistics=False, agents=AgentSettings(count=2, threads=1))
    engine = Engine(settings, tables, scratch)
    try:
        return [_covered(engine, query) for query in queries]
    finally:
        engine.close()


def _covered(engine: Engine, query: Query) -> Coverage:
    try:
        plan = engine.prepare(QueryRequest(query.sql, route="distributed")).plan
    except NotSupported as error:
        return Coverage(query, "refused", refusal=error.detail)
    assert plan is not None
    kernels, duckdb, expressions = _operators(plan)
    home: Home = "operators" if duckdb else "expressions" if expressions else "kernels"
    return Coverage(query, home, kernels, duckdb)


def _operators(plan: DistributedPlan) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """The names of kernel operators, those of DuckDB's, and whether DuckDB works out expressions between them."""
    nodes = [node for stage in plan.stages for _, node, _ in preorder(stage.root)]
    kinds = [n for n in nodes if not isinstance(n, (Scan, ExchangeRead, Filter, Project))]
    names: dict[bool, list[str]] = {True: [], False: []}
    for node in kinds:
        names[node.home == "duckdb"].append(describe(node).split()[0])
    expressions = any(n.home == "duckdb" for n in nodes if isinstance(n, (Filter, Project)))
    return tuple(names[False]), tuple(names[True]), expressions


def draw(covered: list[Coverage]) -> str:
    """The map as Markdown."""
    return "\n".join([*_totals(covered), "", *_constructs(covered), "", "### Refused", "", *_refusals(covered)]) + "\n"


def _totals(covered: list[Coverage]) -> Iterator[str]:
    count = Counter(c.home for c in covered)
    yield f"The corpus has {len(covered):,} statements:"
    yield ""
    yield f"- {count['kernels']} run on kernels, scans apart,"
    yield f"- {count['expressions']} run on kernels with expressions of DuckDB's between them,"
    yield f"- {count['operators']} have at least one operator that DuckDB runs inside the agents,"
    yield f'- {count["refused"]} are refused, and run locally under `route="auto"`.'


def _constructs(covered: list[Coverage]) -> Iterator[str]:
    yield "| construct | statements | kernels | with expressions | with operators of DuckDB's | refused | operators |"
    yield "|---|---|---|---|---|---|---|"
    for title in sorted({c.query.title for c in covered}):
        yield f"| **{title}** | | | | | | |"
        below = [c for c in covered if c.query.title == title]
        for construct in dict.fromkeys(c.query.construct for c in below):
            yield _row(construct, [c for c in below if c.query.construct == construct])


def _row(construct: str, covered: list[Coverage]) -> str:
    count = Counter(c.home for c in covered)
    numbers = " | ".join(str(count[home] or "") for home in HOMES)
    operators = [
        f"{', '.join(f'`{n}`' for n in sorted(names))} [{home}]"
        for home, names in (
            ("numba", {n for c in covered for n in c.kernels}),
            ("duckdb", {n for c in covered for n in c.duckdb}),
        )
        if names
    ]
    return f"| {construct} | {len(covered)} | {numbers} | {'; '.join(operators)} |"


def _refusals(covered: list[Coverage]) -> Iterator[str]:
    yield "| the agents say | statement |"
    yield "|---|---|"
    for one in covered:
        if one.refusal:
            yield f"| {_cell(one.refusal)} | `{_cell(one.query.sql)}` |"


def _cell(text: str) -> str:
    """`text` as one cell of a table."""
    line = re.sub(r"\s+", " ", text)
    return (line if len(line) <= SHOWN else line[: SHOWN - 3] + "...").replace("|", "\\|")
