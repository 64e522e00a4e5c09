"""Quantiles and variances by kernels agree with DuckDB's."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import OutOfMemory
from sabot_sql.planner.physical import AggregateCall, AggregateName
from sabot_sql.types import DOUBLE
from tests.executor.spilling import files_in, short_task
from tests.executor.tables import rows_of, task
from tests.executor.test_hash_aggregate import Columns, Spec, batches_of, calls_of, duckdbs, node_of, ordered, schema_of
from tests.executor.test_hash_aggregate_spill import KB, run

FUNCTIONS: list[tuple[AggregateName, float | None]] = [
    ("quantile_cont", 0.5),
    ("quantile_cont", 0.0),
    ("quantile_cont", 0.37),
    ("quantile_cont", 1.0),
    ("var_samp", None),
    ("var_pop", None),
    ("stddev_samp", None),
    ("stddev_pop", None),
]
DOUBLES = st.none() | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308]) | st.floats(-1e3, 1e3)


def asked(columns: Columns, where: str | None) -> tuple[AggregateCall, ...]:
    names = list(columns)
    at = None if where is None else names.index(where)
    return tuple(AggregateCall(f, names.index("x"), DOUBLE, DOUBLE, filter=at, fraction=q) for f, q in FUNCTIONS)


def assert_as_duckdb(columns: Columns, where: str | None, workers: int, context: Any = None) -> int:
    """Also how many bytes were spilled."""
    schema = schema_of(columns)
    node = node_of(schema, "single", [0], (*asked(columns, where), *calls_of(schema, [("sum", "n", False, None)])))
    found, spilled = run(node, batches_of(columns, 300), context or task(), workers)
    specs: list[Spec] = [(f, "x" if q is None else f"x, {q}", False, where) for f, q in FUNCTIONS]
    expected = ordered(duckdbs(columns, ["g"], [*specs, ("sum", "n", False, None)]), 1)
    rows = ordered(rows_of(found), 1)
    assert len(rows) == len(expected)
    for mine, theirs in zip(rows, expected):
        for a, b in zip(mine, theirs):
            alike = a == b or (isinstance(a, float) and isinstance(b, float) and (a != a and b != b))
            assert alike or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9), (mine, theirs)
    return spilled


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), DOUBLES, st.booleans()), min_size=1, max_size=60), st.sampled_from([None, "b"]))
def test_quantiles_and_variances_are_duckdbs(rows: list[tuple[int, float | None, bool]], where: str | None) -> None:
    columns: Columns = {
        "g": ("BIGINT", [r[0] for r in rows]),
        "x": ("DOUBLE", [r[1] for r in rows]),
        "b": ("BOOLEAN", [r[2] for r in rows]),
        "n": ("BIGINT", [r[0] for r in rows]),
    }
    assert_as_duckdb(columns, where, 1)


def many(num_rows: int, num_groups: int) -> Columns:
    random = np.random.default_rng(num_rows)
    return {
        "g": ("BIGINT", random.integers(0, num_groups, num_rows).tolist()),
        "x": ("DOUBLE", [None if v < 0.05 else 1000 * v for v in random.random(num_rows).tolist()]),
        "n": ("BIGINT", random.integers(0, 100, num_rows).tolist()),
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_bring_their_values_together(workers: int) -> None:
    assert assert_as_duckdb(many(20_000, 7), None, workers) == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("num_groups", [30, 5_000])
def test_values_that_do_not_fit_are_the_same(num_groups: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        context = short_task(Path(folder), 2000 * KB)
        assert assert_as_duckdb(many(90_000, num_groups), None, workers, context) > 100_000
        assert context.memory.peak_bytes <= 2000 * KB
        assert not [p for p in files_in(Path(folder)) if p.is_file()]


def test_one_group_that_does_not_fit_names_operator_and_setting(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="HashAggregate") as caught:
        assert_as_duckdb(many(200_000, 1), None, 1, short_task(tmp_path, 1000 * KB))
    assert "agents.memory_bytes" in (caught.value.hint or "")
