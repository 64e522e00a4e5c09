"""The order of joins: every pair of connected sets is looked at once, and the best order is the best of all orders."""

from __future__ import annotations

import random
import time
from itertools import combinations

import pytest

from sabot_sql.planner.expressions import CompareOp, Ref
from sabot_sql.planner.join_graph import JoinGraph, Order, connected_pairs, mask_of, members
from sabot_sql.planner.rules.order_joins import _classes
from sabot_sql.types import BIGINT


def neighbours(edges: list[tuple[int, int]], count: int) -> list[int]:
    found = [0] * count
    for a, b in edges:
        found[a] |= 1 << b
        found[b] |= 1 << a
    return found


def chain(count: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(count - 1)]


def star(count: int) -> list[tuple[int, int]]:
    return [(0, i) for i in range(1, count)]


def clique(count: int) -> list[tuple[int, int]]:
    return list(combinations(range(count), 2))


@pytest.mark.parametrize(
    ("edges", "count", "pairs"),
    # the numbers of Moerkotte and Neumann, VLDB 2006, table 1
    [(chain(5), 5, 20), (chain(10), 10, 165), (star(5), 5, 32), (star(10), 10, 2304), (clique(5), 5, 90), (clique(8), 8, 3025)],
)
def test_each_pair_of_connected_sets_is_found_once(edges: list[tuple[int, int]], count: int, pairs: int) -> None:
    found = list(connected_pairs((1 << count) - 1, neighbours(edges, count)))
    assert len(found) == len({frozenset(p) for p in found}) == pairs
    assert all(a & b == 0 for a, b in found)


def graph_of(rng: random.Random, edges: list[tuple[int, int]], count: int) -> JoinGraph:
    rows = [float(rng.choice([1, 10, 500, 20_000, 1_000_000])) for _ in range(count)]
    classes = [{a: max(1.0, rows[a] / rng.choice([1, 3, 50])), b: max(1.0, rows[b] / rng.choice([1, 3, 50]))} for a, b in edges]
    return JoinGraph(rows, classes, [], {})


def total(graph: JoinGraph, order: Order) -> float:
    if isinstance(order, int):
        return 0.0
    one, other = order
    return total(graph, one) + total(graph, other) + graph.cost(mask_of(one), mask_of(other))


def cheapest(graph: JoinGraph, inputs: int, around: list[int]) -> float:
    """The cost of the best order without cross products, by trying all of them."""
    if inputs.bit_count() == 1:
        return 0.0
    best = float("inf")
    subset = (inputs - 1) & inputs
    while subset:
        rest = inputs ^ subset
        if subset < rest and any(around[i] & rest for i in members(subset)):
            best = min(best, cheapest(graph, subset, around) + cheapest(graph, rest, around) + graph.cost(subset, rest))
        subset = (subset - 1) & inputs
    return best


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_the_best_of_all(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randrange(3, 7)
    edges = [(rng.randrange(i), i) for i in range(1, count)] + [
        pair for pair in combinations(range(count), 2) if rng.random() < 0.2
    ]
    graph = graph_of(rng, edges, count)
    order = graph.best_order()
    assert mask_of(order) == (1 << count) - 1
    assert total(graph, order) == pytest.approx(cheapest(graph, (1 << count) - 1, neighbours(edges, count)))


def test_inputs_that_nothing_connects_are_joined_last_smallest_first() -> None:
    graph = JoinGraph([1000.0, 10.0, 1000.0, 5.0], [{0: 1000.0, 2: 1000.0}], [], {})
    assert graph.best_order() == ((3, 1), (0, 2))


@pytest.mark.parametrize("shape", [chain, star, clique])
def test_many_inputs_are_ordered_in_bounded_time(shape: object) -> None:
    count = 31  # as many as complexity.py lets through
    graph = graph_of(random.Random(1), shape(count), count)  # type: ignore[operator]
    begin = time.monotonic()
    assert mask_of(graph.best_order()) == (1 << count) - 1
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("ops", [("=", "IS NOT DISTINCT FROM"), ("IS NOT DISTINCT FROM", "=")])
def test_columns_compared_in_both_ways_are_never_null(ops: tuple[CompareOp, CompareOp]) -> None:
    one, other = (0, Ref(0, BIGINT)), (1, Ref(1, BIGINT))
    assert [c.op for c in _classes([(one, other, op) for op in ops])] == ["="]
    assert [c.op for c in _classes([(one, other, "IS NOT DISTINCT FROM")] * 2)] == ["IS NOT DISTINCT FROM"]
