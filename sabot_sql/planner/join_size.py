"""How many rows joins give: relations, the predicates over them, and the order an optimizer would join them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlglot import exp

from sabot_sql.catalog.table import ColumnStatistics, Table
from sabot_sql.planner.selectivity import OTHER, RANGE

MOST_ROWS = 10**18

Columns = dict[str, ColumnStatistics | None]


@dataclass(slots=True)
class Relation:
    """One item of FROM, or what a query gives.

    Attributes:
        rows: rows after the predicates over it alone.
        columns: statistics by folded name; empty where the columns are not known (subqueries).
        total: rows before any predicate.
    """

    rows: float
    alias: str = ""
    columns: Columns = field(default_factory=dict)
    table: Table | None = None
    total: float = 0.0


Owner = tuple[int, ColumnStatistics | None]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of an equality: the relations it reads, and the statistics of its column where it is just one."""

    owners: frozenset[int]
    stats: ColumnStatistics | None


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition of WHERE or ON with the positions of the relations that it reads; `owners` None where a column of it
    belongs to none of them (an outer query's), or to an unknown one."""

    node: exp.Expression
    owners: frozenset[int] | None
    has_query: bool = False
    sides: tuple[Side, Side] | None = None


class Scope:
    """The relations of one FROM, and which of them a column belongs to."""

    def __init__(self, relations: list[Relation]) -> None:
        self.relations = relations
        self._by_alias = {r.alias: i for i, r in reversed(list(enumerate(relations)))}
        self._by_column: dict[str, Owner] = {}
        self._loose = [i for i, r in enumerate(relations) if not r.columns]
        for i, relation in enumerate(relations):
            for name, stats in relation.columns.items():
                self._by_column.setdefault(name, (i, stats))

    def owner(self, column: exp.Expression) -> Owner | None:
        """The position of the column's relation and its statistics; None where no relation has it."""
        name, of = column.name.lower(), column.args.get("table")
        if of is not None:
            place = self._by_alias.get(of.name.lower())
            return None if place is None else (place, self.relations[place].columns.get(name))
        if (found := self._by_column.get(name)) is not None:
            return found
        # a subquery does not tell its columns: where there is one, an unknown name is its
        return (self._loose[0], None) if len(self._loose) == 1 else None

    def statistics(self, column: exp.Expression) -> ColumnStatistics | None:
        """The statistics of a column, where there are any."""
        found = self.owner(column)
        return found[1] if found else None

    def predicate(self, node: exp.Expression) -> Predicate:
        """`node` with the relations it reads."""
        if isinstance(node, exp.EQ):
            left, right = self._side(node.this), self._side(node.expression)
            if left is not None and right is not None:
                return Predicate(node, left.owners | right.owners, sides=(left, right))
        owners, has_query = self._owners(node)
        return Predicate(node, owners, has_query)

    def _side(self, node: exp.Expression) -> Side | None:
        if isinstance(node, exp.Column):
            found = self.owner(node)
            return Side(frozenset((found[0],)), found[1]) if found else None
        if isinstance(node, (exp.Literal, exp.Placeholder, exp.Null)):
            return Side(frozenset(), None)
        owners, has_query = self._owners(node)
        return None if owners is None or has_query else Side(owners, None)

    def _owners(self, node: exp.Expression) -> tuple[frozenset[int] | None, bool]:
        found: set[int] = set()
        known, has_query = True, False
        for part in node.walk(prune=lambda n: isinstance(n, exp.Query) and not isinstance(n, exp.Subquery)):
            if isinstance(part, exp.Column):
                owner = self.owner(part)
                if owner is None:
                    known = False
                else:
                    found.add(owner[0])
            elif isinstance(part, exp.Query):
                has_query = True
        return (frozenset(found) if known else None), has_query


def conjuncts(node: exp.Expression | None) -> Iterator[exp.Expression]:
    """The conditions that AND joins; of an OR also the equalities that stand in every branch."""
    if node is None:
        return
    if isinstance(node, exp.Paren):
        yield from conjuncts(node.this)
    elif isinstance(node, exp.And):
        yield from conjuncts(node.this)
        yield from conjuncts(node.expression)
    else:
        if isinstance(node, exp.Or):
            branches = [set(_equalities(branch)) for branch in node.flatten()]
            yield from set.intersection(*branches)
        yield node


def _equalities(branch: exp.Expression) -> Iterator[exp.Expression]:
    branch = branch.unnest()
    for part in branch.flatten() if isinstance(branch, exp.And) else [branch]:
        if isinstance(part, exp.EQ) and isinstance(part.this, exp.Column) and isinstance(part.expression, exp.Column):
            yield part


def join_all(
    relations: list[Relation], kinds: list[str], predicates: list[Predicate], made: Callable[[float, float, float], None]
) -> float:
    """Rows of the relations joined; joins that a condition ties to what there is come first, as an optimizer has it.

    Args:
        kinds: how each relation is joined to those before it; the first one's is not looked at.
        made: told the rows of both sides and of the result for each join.
    """
    edges = [p for p in predicates if p.sides is not None and len(p.owners or ()) > 1]
    done = {0}
    rows = relations[0].rows
    pending = list(range(1, len(relations)))
    while pending:
        tied = ((i, _tie(rows, relations[i].rows, done, i, edges)) for i in pending)
        best = next(((i, t) for i, t in tied if t is not None or kinds[i] != "INNER"), (pending[0], None))
        place, tie = best
        pending.remove(place)
        found = min(MOST_ROWS, _joined(rows, relations[place].rows, kinds[place], tie, done, place, predicates))
        made(rows, relations[place].rows, found)
        rows = found
        done.add(place)
    return rows


def _tie(rows: float, other: float, done: set[int], place: int, edges: list[Predicate]) -> float | None:
    """Rows of the equality join with relation `place`; None without an equality between the two."""
    best: float | None = None
    alone = frozenset((place,))
    for edge in edges:
        assert edge.sides is not None
        left, right = edge.sides
        if not ((left.owners == alone and right.owners <= done) or (right.owners == alone and left.owners <= done)):
            continue
        ours, theirs = (left, right) if right.owners == alone else (right, left)
        found = _matches(rows, other, _distinct(ours.stats), _distinct(theirs.stats))
        best = found if best is None else min(best, found)
    return best


def _distinct(stats: ColumnStatistics | None) -> int | None:
    return stats.distinct_count if stats is not None else None


def _matches(left: float, right: float, left_distinct: int | None, right_distinct: int | None) -> float:
    """Rows of `left = right`. Where nothing is known of the values, a key is joined with its references: the longer side.
    Where one side is known, the other, when shorter, is taken for a key."""
    if not left_distinct and not right_distinct:
        return max(left, right)
    if not left_distinct:
        left_distinct = int(left) if left < right else 1
    if not right_distinct:
        right_distinct = int(right) if right < left else 1
    return left * right / max(left_distinct, right_distinct, 1)


def _joined(
    left: float, right: float, kind: str, tie: float | None, done: set[int], place: int, predicates: list[Predicate]
) -> float:
    if tie is not None:
        rows = tie
    elif kind in ("NATURAL", "ASOF", "POSITIONAL"):
        rows = max(left, right)
    else:
        across = any(p.owners and place in p.owners and p.owners & done and p.owners <= done | {place} for p in predicates)
        rows = left * right * (RANGE if across else 1.0)
    match kind:
        case "LEFT":
            return max(rows, left)
        case "RIGHT":
            return max(rows, right)
        case "FULL":
            return max(rows, left + right)
        case "SEMI" | "ANTI":
            return left * OTHER
    return rows
