"""How many rows joins give, in the order an optimizer would join the relations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sabot_sql.planner.relations import Column, Relation

MOST_ROWS = 10**18

UNMATCHED = 0.02
"""The share of a side that is taken to find no partner, at the least."""

Made = Callable[[float, float, float], None]
"""Told the rows of both sides and of the result of each join."""


@dataclass(slots=True)
class Item:
    """One item of FROM and how it is joined to those before it.

    Attributes:
        kind: INNER, LEFT, RIGHT, FULL, SEMI, ANTI, ASOF or POSITIONAL.
        on: the conditions of ON.
        using: folded names of USING.
        unmatched, rows_after: rows on the left without a match, and of the join; known once it is counted.
    """

    relation: Relation
    kind: str = "INNER"
    on: Sequence[Any] = ()
    using: Sequence[str] = ()
    unmatched: float = 0.0
    rows_after: float = 0.0


@dataclass(slots=True)
class Edge:
    """An equality between columns of two relations; a column is None where it is an expression."""

    left: int
    left_column: Column | None
    right: int
    right_column: Column | None


@dataclass(slots=True)
class Residual:
    """A condition over several relations (as bits) that is no such equality, and the share it keeps."""

    owners: int
    kept: float
    node: Any = None


class Joins:
    """The joins of one FROM.

    Args:
        made: told of each join.
    """

    def __init__(self, items: Sequence[Item], edges: Sequence[Edge], residuals: Sequence[Residual], made: Made) -> None:
        self._items = items
        self._relations = [item.relation for item in items]
        self._residuals = residuals
        self._made = made
        # for each relation: another one that it is tied to, the column there, and its own
        self._near: list[list[tuple[int, Column | None, Column | None]]] = [[] for _ in items]
        for edge in edges:
            self._near[edge.left].append((edge.right, edge.right_column, edge.left_column))
            self._near[edge.right].append((edge.left, edge.left_column, edge.right_column))

    def rows(self) -> float:
        """Rows of FROM: inner joins among themselves, each other join after those before it."""
        rows: float | None = None
        group: list[int] = []
        for place, item in enumerate(self._items):
            if item.kind == "INNER":
                group.append(place)
                continue
            if group:
                rows = self._inner(group, rows)
            rows = self._outer(place, rows or 0.0)
            group = []
        return self._inner(group, rows) if group or rows is None else rows

    def _inner(self, places: list[int], rows: float | None) -> float:
        """Rows of the relations at `places`, joined to the `rows` of those before them; always what makes least comes next,
        without any before them from the largest on."""
        relations = self._relations
        pending = list(places)
        done = (1 << places[0]) - 1
        if rows is None:
            first = places[0] if len(places) == 1 else max(places, key=lambda i: relations[i].rows)
            pending.remove(first)
            done = 1 << first
            rows = relations[first].rows * self._applied(done)
        shares = {i: self.share(i, done) for i in pending}
        while shares:
            best, share, least = -1, None, 0.0
            for i, found in shares.items():
                factor = relations[i].rows * (1.0 if found is None else found)
                # what a condition ties to it comes before what none does, however small that is
                if best < 0 or (found is not None, least) > (share is not None, factor):
                    best, share, least = i, found, factor
            del shares[best]
            done |= 1 << best
            made = min(float(MOST_ROWS), rows * least * self._applied(done))
            self._made(rows, relations[best].rows, made)
            rows = made
            for other, _, _ in self._near[best]:
                if other in shares:
                    shares[other] = self.share(other, done)
        return rows

    def _outer(self, place: int, rows: float) -> float:
        """Rows of an outer, semi-, anti-, ASOF or positional join of the `rows` before it with the item at `place`."""
        item = self._items[place]
        done, right, kind = (1 << place) - 1, item.relation.rows, item.kind
        share = self.share(place, done)
        over = self._applied(done | 1 << place)
        matched = min(1.0, self._match_share(place, done) * over)
        if kind == "SEMI":
            found = rows * matched
        elif kind == "ANTI":
            found = rows * max(UNMATCHED, 1.0 - matched)
        elif kind in ("ASOF", "POSITIONAL"):
            found = rows if kind == "ASOF" else max(rows, right)
        else:
            found = min(float(MOST_ROWS), rows * right * (1.0 if share is None else share) * over)
            if kind in ("LEFT", "FULL"):
                item.unmatched = rows * (1.0 - min(matched, found / rows if rows else 1.0))
                found += item.unmatched
            if kind in ("RIGHT", "FULL"):
                found += right * (1.0 - min(1.0, self._match_share(place, done, back=True) * over))
        item.rows_after = found
        self._made(rows, right, found)
        return found

    def _applied(self, done: int) -> float:
        """What the conditions keep that can be looked at now; each counts once."""
        kept = 1.0
        for residual in self._residuals:
            if residual.owners and residual.owners & ~done == 0:
                kept *= residual.kept
                residual.owners = 0
        return kept

    def share(self, place: int, done: int) -> float | None:
        """The share of all pairs that the equalities between the relations in `done` (bits) and the one at `place` keep; None
        where there is none.

        The values of the side with fewer are taken to be among the other's. Several equalities with one relation are a key of
        several columns: it has no more values than the shorter of both tables has rows.
        """
        ties: list[tuple[int, Column | None, Column | None]] = []
        for tie in self._near[place]:
            # a = b and a = c and b = c: the third says nothing new
            if done >> tie[0] & 1 and (tie[2] is None or not any(tie[2] is known[2] for known in ties)):
                ties.append(tie)
        if not ties:
            return None
        right = self._relations[place]
        if len(ties) == 1:
            other, theirs, ours = ties[0]
            a, b = distinct_pair(theirs, self._relations[other].total, ours, right.total)
            return 1.0 / (a if a > b else b)
        share = 1.0
        for other in dict.fromkeys(tie[0] for tie in ties):
            left = self._relations[other]
            pairs = [distinct_pair(theirs, left.total, ours, right.total) for one, theirs, ours in ties if one == other]
            values = math.prod(max(pair) for pair in pairs)
            if len(pairs) > 1:
                values_left, values_right = math.prod(a for a, _ in pairs), math.prod(b for _, b in pairs)
                values = min(values, min(values_left, max(1.0, left.total)), min(values_right, max(1.0, right.total)))
            share /= values
        return share

    def _match_share(self, place: int, done: int, back: bool = False) -> float:
        """The share of rows of the relations in `done` that have a match in the one at `place`; `back`, of its rows in them."""
        share = 1.0
        for other, theirs, ours in self._near[place]:
            if not done >> other & 1:
                continue
            here, there = self._relations[place], self._relations[other]
            if back:
                here, there, ours, theirs = there, here, theirs, ours
            mine = ours.distinct_of(here.rows) if ours is not None else None
            total = theirs.distinct if theirs is not None and theirs.distinct else there.total
            share = min(share, (here.rows if mine is None else mine) / max(1.0, total))
        return share


def distinct_pair(left: Column | None, left_total: float, right: Column | None, right_total: float) -> tuple[float, float]:
    """Distinct values of both sides of an equality, at least 1. Where nothing is known of one, the shorter table is taken for
    the one whose key it is."""
    a = left.distinct if left is not None else None
    b = right.distinct if right is not None else None
    if a is None and b is None:
        a = b = min(left_total, right_total)
    elif a is None:
        a = left_total if left_total < right_total else 1.0
    elif b is None:
        b = right_total if right_total < left_total else 1.0
    return (a if a is not None and a > 1.0 else 1.0), (b if b is not None and b > 1.0 else 1.0)
