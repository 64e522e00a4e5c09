"""Fragments: parts of the physical plan between exchanges, and the stages and tasks they become."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate

from sabot_sql.catalog.splits import splits
from sabot_sql.catalog.table import Split, Table
from sabot_sql.errors import NotSupported
from sabot_sql.planner import expressions as ex
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.physical import Exchange, ExchangeRead, Filter, HashJoin, Node, Project, Scan, SortKey, Stage, Task
from sabot_sql.planner.ranges import Bound
from sabot_sql.planner.rules.push_filters import is_volatile, substitute
from sabot_sql.types import Field, Schema, inner_arrow_type

MIN_SPLIT_BYTES = 1 << 20
MAX_SPLIT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the planner knows of the pool.

    Attributes:
        slots: tasks that run at once over all agents; the number of hash partitions.
        broadcast_bytes: build sides up to this estimated size may be sent to every agent.
    """

    slots: int
    broadcast_bytes: int = 32 << 20


Reads = tuple[tuple[int, tuple[Split, ...]], ...]
"""The splits of scans, by scan_id."""


@dataclass(frozen=True, slots=True)
class Part:
    """How some tasks of a fragment get their input: by the splits of scans, by hash partitions of input stages, and whole
    input stages (broadcast or gathered).

    Attributes:
        copies: scans that each of the tasks reads whole.
    """

    scans: Reads = ()
    hashed: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()
    copies: Reads = ()

    @property
    def is_one_task(self) -> bool:
        return not self.hashed and all(len(s) <= 1 for _, s in self.scans)

    @property
    def is_torn(self) -> bool:
        """Whether tasks would read a stage whole and in part, which they cannot."""
        return not set(self.hashed).isdisjoint(self.whole)

    def merge(self, other: Part) -> Part:
        return Part(
            self.scans + other.scans,
            self.hashed + other.hashed,
            self.whole + other.whole,
            self.copies + other.copies,
        )

    def beside(self, small: Part) -> Part:
        """This part, each of whose tasks also does all of the `small` one."""
        return replace(self, whole=self.whole + small.whole, copies=self.copies + small.scans + small.copies)


@dataclass(frozen=True, slots=True)
class Fragment:
    """An operator tree that is not yet closed by an exchange.

    Attributes:
        rows: estimated output rows.
        keys: output columns by whose hash the rows lie in the tasks, or None.
    """

    root: Node
    parts: tuple[Part, ...]
    rows: float
    keys: tuple[int, ...] | None = None

    @property
    def schema(self) -> Schema:
        return self.root.schema

    @property
    def is_one_task(self) -> bool:
        """Whether one task gives all rows."""
        return len(self.parts) == 1 and self.parts[0].is_one_task


@dataclass(slots=True)
class StageBuilder:
    """Collects the stages of a query; fragments are opened, grown and closed."""

    cluster: Cluster
    stages: list[Stage] = field(default_factory=list)
    _scans: int = 0

    def scan(self, table: Table, columns: tuple[int, ...], filters: tuple[Expr, ...], rows: float) -> Fragment:
        """A fragment that reads `columns` of `table` where `filters` (over those columns) hold."""
        schema = tuple(table.schema[i] for i in columns)
        if "collated" in table.scan.options and any("VARCHAR" in str(f.type) for f in schema):
            raise NotSupported(f"table {table.name}, which has a column with a collation, cannot be read distributed yet")
        for f in schema:
            if f.type.id == "NULL":
                raise NotSupported(f"column {f.name}, which has no type, cannot be read distributed yet")
            inner_arrow_type(f.type)
        names = tuple(f.name for f in schema)
        refs = tuple(ex.Ref(i, f.type) for i, f in enumerate(schema))
        self._scans += 1
        node = Scan(self._scans, table.name, table.scan, names, filters, refs, schema)
        target = table.statistics.size_bytes // (4 * self.cluster.slots)
        pieces = tuple(splits(table, min(MAX_SPLIT_BYTES, max(MIN_SPLIT_BYTES, target))))
        return Fragment(node, (Part(scans=((node.scan_id, pieces),)),), rows)

    def close(self, fragment: Fragment, output: Exchange) -> int:
        """End `fragment` with an exchange; the id of the new stage."""
        for f in fragment.schema:
            inner_arrow_type(f.type)
        stage_id = len(self.stages)
        tasks: list[Task] = []
        for part in fragment.parts:
            tasks.extend(self._tasks(part, len(tasks)))
        inputs = sorted({s for p in fragment.parts for s in (*p.hashed, *p.whole)})
        output = replace(output, tasks=len(tasks)) if output.kind == "forward" else output
        self.stages.append(Stage(stage_id, fragment.root, output, tuple(inputs), tuple(tasks), fragment.rows))
        return stage_id

    def gathered(self, fragment: Fragment) -> Fragment:
        """All rows of `fragment` in one task."""
        if fragment.is_one_task:
            return fragment
        stage = _only_reads(fragment)
        if stage is None:
            stage = self.close(fragment, Exchange("gather"))
        return Fragment(ExchangeRead(stage, fragment.schema), (Part(whole=(stage,)),), fragment.rows)

    def hashed(self, fragment: Fragment, keys: tuple[int, ...], anew: bool = False) -> Fragment:
        """The rows of `fragment` partitioned by the hash of the columns `keys`; with `anew` by a stage of their own, even where
        they are."""
        if fragment.keys == keys and len(fragment.parts) == 1 and not anew:
            return fragment
        stage = self.close(fragment, Exchange("hash", keys, self.cluster.slots))
        return Fragment(ExchangeRead(stage, fragment.schema), (Part(hashed=(stage,)),), fragment.rows, keys)

    def ranged(self, fragment: Fragment, order: SortKey, bounds: tuple[Bound, ...]) -> Fragment:
        """The rows of `fragment` in partitions that follow one another under `order`, each with the rows between two of
        `bounds`."""
        stage = self.close(fragment, Exchange("range", partitions=self.cluster.slots, order=order, bounds=bounds))
        return Fragment(ExchangeRead(stage, fragment.schema), (Part(hashed=(stage,)),), fragment.rows)

    def broadcast(self, fragment: Fragment, tasks: tuple[Part, ...]) -> tuple[ExchangeRead, int]:
        """A reader of all rows of `fragment` for each of `tasks`, and the stage that it reads."""
        stage = _only_reads(fragment)
        if stage is None or any(stage in p.hashed for p in tasks):  # a task reads a stage whole or in part, not both
            stage = self.close(fragment, Exchange("broadcast"))
        return ExchangeRead(stage, fragment.schema), stage

    def shared(self, fragment: Fragment) -> Fragment:
        """A reader of `fragment` that may stand in several places."""
        if fragment.is_one_task:
            stage = self.close(fragment, Exchange("gather"))
            return Fragment(ExchangeRead(stage, fragment.schema), (Part(whole=(stage,)),), fragment.rows)
        stage = self.close(fragment, Exchange("forward", partitions=self.cluster.slots))
        by_hash = len(fragment.parts) == 1 and fragment.parts[0].hashed
        keys = fragment.keys if by_hash else None
        return Fragment(ExchangeRead(stage, fragment.schema), (Part(hashed=(stage,)),), fragment.rows, keys)

    def _tasks(self, part: Part, first: int) -> list[Task]:
        if part.is_torn:
            raise NotSupported("a plan that reads the same rows whole and in part cannot run distributed yet")
        whole = {stage: tuple(range(self.stages[stage].output.partitions)) for stage in part.whole}
        copies = dict(part.copies)
        if part.hashed:
            each = (dict.fromkeys(part.hashed, (p,)) for p in range(self.cluster.slots))
            return [Task(first + i, copies, {**whole, **hashed}) for i, hashed in enumerate(each)]
        if len(part.scans) != 1:
            return [Task(first, {**dict(part.scans), **copies}, whole)]
        scan_id, pieces = part.scans[0]
        chunks = balanced(pieces, self.cluster.slots)
        return [Task(first + i, {scan_id: chunk, **copies}, whole) for i, chunk in enumerate(chunks)]


def _only_reads(fragment: Fragment) -> int | None:
    """The stage whose rows are those of `fragment`, as they are."""
    return fragment.root.stage if isinstance(fragment.root, ExchangeRead) else None


def balanced(pieces: tuple[Split, ...], count: int) -> list[tuple[Split, ...]]:
    """`pieces` in order, cut into at most `count` runs of about equal bytes; at least one run, none empty but that."""
    if len(pieces) <= count:
        return [(p,) for p in pieces] or [()]
    sizes = [max(1, p.size_bytes) for p in pieces]
    ends = list(accumulate(sizes))
    chunks: list[list[Split]] = [[] for _ in range(count)]
    for piece, end, size in zip(pieces, ends, sizes):
        middle = end - size / 2
        chunks[min(count - 1, int(middle * count / ends[-1]))].append(piece)
    return [tuple(c) for c in chunks if c]


def project(fragment: Fragment, exprs: tuple[Expr, ...], names: tuple[str, ...]) -> Fragment:
    """`exprs` computed over `fragment`: inside its scan, as the columns its join gives out, or by an operator on top."""
    root = fragment.root
    schema = tuple(Field(n, e.type) for n, e in zip(names, exprs))
    plain = all(isinstance(e, ex.Ref) for e in exprs)
    if plain and [e.index for e in exprs if isinstance(e, ex.Ref)] == list(range(len(root.schema))):
        return fragment
    moved = {e.index: i for i, e in reversed(list(enumerate(exprs))) if isinstance(e, ex.Ref)}
    keys = tuple(moved[k] for k in fragment.keys) if fragment.keys and all(k in moved for k in fragment.keys) else None
    new: Node
    if isinstance(root, HashJoin) and not plain:
        # the join gives out what the expressions read, and nothing else
        used = sorted({i for e in exprs for i in ex.references(e)}) or [0]
        if len(used) < len(root.schema):
            refs = tuple(ex.Ref(i, root.schema[i].type) for i in used)
            narrow = project(fragment, refs, tuple(root.schema[i].name for i in used))
            where = {old: at for at, old in enumerate(used)}
            return project(narrow, tuple(ex.remap(e, where) for e in exprs), names)
    match root:
        case Scan() if not any(map(is_volatile, root.exprs)):
            new = replace(root, exprs=tuple(substitute(e, root.exprs) for e in exprs), schema=schema)
        case Project() if plain or all(isinstance(e, ex.Ref | ex.Const) for e in root.exprs):
            new = Project(root.input, tuple(substitute(e, root.exprs) for e in exprs), schema)
        case HashJoin() if plain and exprs:
            positions = tuple(root.output[e.index] for e in exprs if isinstance(e, ex.Ref))
            new = replace(root, output=positions, schema=schema)
        case _:
            new = Project(root, exprs, schema)
    return replace(fragment, root=new, keys=keys)


def keep(fragment: Fragment, predicate: Expr, rows: float) -> Fragment:
    """The rows of `fragment` for which `predicate` is true."""
    root = fragment.root
    if isinstance(root, Scan) and not any(map(is_volatile, (*root.exprs, predicate))):
        parts = tuple(substitute(c, root.exprs) for c in ex.conjuncts(predicate))
        return replace(fragment, root=replace(root, filters=(*root.filters, *parts)), rows=rows)
    return replace(fragment, root=Filter(root, predicate), rows=rows)
