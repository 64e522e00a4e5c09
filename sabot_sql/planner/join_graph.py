"""A cluster of inner joins as a graph: how many rows any set of its inputs gives when joined, and the cheapest order.

The order is found by dynamic programming over connected subgraphs (Moerkotte and Neumann, VLDB 2006, DPccp); where there are
too many of those, greedily (Fegaras, DEXA 1998). Rows of a set do not depend on the order in which it was joined.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sabot_sql.planner.cardinality import UNKNOWN_SELECTIVITY

T = TypeVar("T")

MOST_PAIRS = 2000
"""Pairs of connected subgraphs that dynamic programming may look at: all of ten inputs around one, or of seven that are each
joined to all others."""

BUILD_COST = 2.0
"""What a row costs on the build side of a hash join, where one on the probe side costs 1."""

Order = int | tuple["Order", "Order"]
"""An input's number, or two orders that are joined."""


@dataclass(slots=True)
class JoinGraph:
    """Inputs by number; a set of inputs is a bit mask.

    Attributes:
        rows: of each input.
        classes: columns that equalities make equal: for each, distinct values by input.
        others: the inputs that any other condition reads.
        corrections: by pairs of inputs joined on several columns: how many times more rows that gives than if the columns
            had nothing to do with each other.
    """

    rows: Sequence[float]
    classes: Sequence[dict[int, float]]
    others: Sequence[int]
    corrections: dict[int, float]
    _known: dict[int, float] = field(default_factory=dict)

    def rows_of(self, inputs: int) -> float:
        """The estimated rows of a join of `inputs`, at least 1."""
        found = self._known.get(inputs)
        if found is None:
            found = self._known[inputs] = max(1.0, self._rows_of(inputs))
        return found

    def _rows_of(self, inputs: int) -> float:
        found = math.prod(self.rows[i] for i in members(inputs))
        for values in self.classes:
            known = sorted(d for i, d in values.items() if inputs >> i & 1)
            found /= math.prod(known[1:])
        for other in self.others:
            if other & ~inputs == 0:
                found *= UNKNOWN_SELECTIVITY
        for pair, factor in self.corrections.items():
            if pair & ~inputs == 0:
                found *= factor
        return found

    def best_order(self) -> Order:
        """The cheapest order found. Inputs that no equality connects are joined last, smallest first."""
        neighbours = self._neighbours()
        parts: list[tuple[int, Order]] = []
        left = (1 << len(self.rows)) - 1
        while left:
            component = _component(left & -left, neighbours)
            left &= ~component
            order = self._by_pairs(component, neighbours)
            parts.append((component, order if order is not None else self._greedy(component, neighbours)))
        parts.sort(key=lambda p: self.rows_of(p[0]))
        inputs, order = parts[0]
        for more, other in parts[1:]:
            inputs, order = inputs | more, (order, other)
        return order

    def _neighbours(self) -> list[int]:
        found = [0] * len(self.rows)
        for values in self.classes:
            whole = sum(1 << i for i in values)
            for i in values:
                found[i] |= whole & ~(1 << i)
        return found

    def cost(self, one: int, other: int) -> float:
        """What joining two sets costs: rows read and rows given out."""
        a, b = self.rows_of(one), self.rows_of(other)
        return max(a, b) + BUILD_COST * min(a, b) + self.rows_of(one | other)

    def _by_pairs(self, component: int, neighbours: list[int]) -> Order | None:
        """The cheapest order of a connected set, None where that takes looking at too many pairs."""
        best: dict[int, tuple[float, Order]] = {1 << i: (0.0, i) for i in members(component)}
        pairs = []
        for pair in connected_pairs(component, neighbours):
            pairs.append(pair)
            if len(pairs) > MOST_PAIRS:
                return None
        pairs.sort(key=lambda p: (p[0] | p[1]).bit_count())
        for one, other in pairs:
            both = one | other
            cost = best[one][0] + best[other][0] + self.cost(one, other)
            if both not in best or cost < best[both][0]:
                best[both] = cost, (best[one][1], best[other][1])
        return best[component][1]

    def _greedy(self, component: int, neighbours: list[int]) -> Order:
        """Always join the two connected sets whose result is smallest."""
        parts: dict[int, Order] = {1 << i: i for i in members(component)}
        around = {1 << i: neighbours[i] for i in members(component)}
        while len(parts) > 1:
            pairs = [(a, b) for a in parts for b in parts if a < b and around[a] & b]
            one, other = min(pairs, key=lambda p: self.rows_of(p[0] | p[1]))
            parts[one | other] = parts.pop(one), parts.pop(other)
            around[one | other] = around.pop(one) | around.pop(other)
        return next(iter(parts.values()))


def members(inputs: int) -> Iterator[int]:
    """The numbers in a set.

    Example:
        >>> list(members(0b1101))
        [0, 2, 3]
    """
    while inputs:
        lowest = inputs & -inputs
        yield lowest.bit_length() - 1
        inputs ^= lowest


def mask_of(order: Order) -> int:
    """The set of all inputs in an order.

    Example:
        >>> bin(mask_of(((0, 3), 1)))
        '0b1011'
    """
    return 1 << order if isinstance(order, int) else mask_of(order[0]) | mask_of(order[1])


def _component(inputs: int, neighbours: list[int]) -> int:
    while (more := inputs | _around(inputs, neighbours)) != inputs:
        inputs = more
    return inputs


def _around(inputs: int, neighbours: list[int]) -> int:
    found = 0
    for i in members(inputs):
        found |= neighbours[i]
    return found


def connected_pairs(component: int, neighbours: list[int]) -> Iterator[tuple[int, int]]:
    """Every pair of connected sets that an edge joins and that share no input, once (EnumerateCsg and EnumerateCmp)."""
    for i in reversed(list(members(component))):
        below = (2 << i) - 1  # sets that begin with a smaller number are made from that one
        for one in _grown(1 << i, below, neighbours):
            smaller = (2 * (one & -one)) - 1
            reach = _around(one, neighbours) & ~one & ~smaller
            for j in reversed(list(members(reach))):
                for other in _grown(1 << j, smaller | one | (reach & ((2 << j) - 1)), neighbours):
                    yield one, other


def _grown(start: int, excluded: int, neighbours: list[int]) -> Iterator[int]:
    """`start` and every connected set that grows from it without `excluded`."""
    yield start
    reach = _around(start, neighbours) & ~excluded & ~start
    subset = reach
    while subset:
        yield from _grown(start | subset, excluded | reach, neighbours)
        subset = (subset - 1) & reach


def merge_classes(pairs: Sequence[tuple[T, T]]) -> list[list[T]]:
    """What equalities make equal, each class once.

    Example:
        >>> merge_classes([("a", "b"), ("c", "d"), ("b", "e")])
        [['a', 'b', 'e'], ['c', 'd']]
    """
    found: dict[T, list[T]] = {}
    for a, b in pairs:
        one, other = found.setdefault(a, [a]), found.setdefault(b, [b])
        if one is not other:
            one.extend(other)
            found.update(dict.fromkeys(other, one))
    return list({id(c): c for c in found.values()}.values())
