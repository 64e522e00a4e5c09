"""What finished stages really produced chooses how the next ones run.

`adapt` looks at a stage that is about to run. Each rule takes the plan, that stage and what is known, and gives another plan or
None. A rule may change the stage and those that read it, never one that has begun. It must keep the rows of every stage that
others read. Of their partitioning it may give up what nobody relies on, so most rules look at the spine: the operators
from a stage's root down to the place that changes. Where all of them treat rows one by one, or make partial results, rows may
come in any task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sabot_sql.planner.expressions import Const
from sabot_sql.planner.physical import (
    DistributedPlan,
    Exchange,
    ExchangeRead,
    Filter,
    HashAggregate,
    HashJoin,
    Limit,
    Node,
    Project,
    Relational,
    Scan,
    Sort,
    Stage,
    StateAggregate,
    Task,
    Union,
    Values,
    operators,
)
from sabot_sql.planner.small_work import is_repeatable

SMALL_BYTES = 256 << 10
"""Up to so many bytes of input, one task does a stage's work in less time than a second one takes to start."""

SKEWED_BYTES = 8 << 20
"""A partition is split from so many bytes up, if it also has `SKEW` times what the average one has."""

SKEW = 1.5

TOO_LARGE = 4
"""A build side that was to be sent to every agent is partitioned instead when it is so many times larger than allowed."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What a finished stage handed on; `partitions` has the bytes of each partition for each of its tasks."""

    rows: int
    size_bytes: int
    partitions: tuple[Mapping[int, int], ...]

    def bytes_of(self, partition: int) -> int:
        """Bytes of one partition, over all tasks."""
        return sum(task.get(partition, 0) for task in self.partitions)


Known = Mapping[int, Produced]


def adapt(plan: DistributedPlan, stage: Stage, known: Known) -> DistributedPlan:
    """The plan by which the job goes on; the same object where `stage` may run as it stands. After a change another stage may
    be the one to run next.

    Args:
        stage: not run yet, with inputs that have.
        known: what each finished stage produced.
    """
    for rule in RULES:
        if (better := rule(plan, stage, known)) is not None:
            return better
    return plan


def broadcast_small_build(plan: DistributedPlan, stage: Stage, known: Known) -> DistributedPlan | None:
    """A probe side that was to be partitioned, because the build side seemed large, stays where it is.

        stage 1: Scan probe → hash                        stage 2: HashJoin
        stage 2: HashJoin                          ⇒                 Scan probe
                   ExchangeRead 1                                    ExchangeRead 0 (all partitions)
                   ExchangeRead 0 (partition i)

    Not where an operator above the join, or a reader of its stage, relies on the partitions."""
    if stage.output.kind != "hash":
        return None
    reader, *others = [s for s in plan.stages if stage.stage_id in s.inputs]
    if others or reader.output.kind == "forward" or not _reads_on_spine(reader.root, stage.stage_id):
        return None
    *_, source = _spine(reader.root)
    hashed, whole = _reads(reader, plan)
    builds = hashed - {stage.stage_id}
    if stage.stage_id not in hashed or not builds or not builds <= known.keys():
        return None
    rows, size = (sum(getattr(known[b], what) for b in builds) for what in ("rows", "size_bytes"))
    copies = stage.output.partitions - 1
    if size > plan.broadcast_bytes or stage.rows is None or copies * rows * 2 > stage.rows + rows:
        return None
    read = {b: tuple(range(_stage(plan, b).output.partitions)) for b in builds} | whole
    if any(t.partitions.get(s, every) != every for t in stage.tasks for s, every in read.items()):
        return None  # the probe side reads a part of what each task is to read whole
    small = reader.tasks[0].splits  # tables that each task reads whole: what reads partitions has no others
    note = f"build side broadcast, not partitioned: {_rows(plan, builds, known)}"
    merged = replace(
        reader,
        root=_replaced(reader.root, source, stage.root),
        inputs=tuple(sorted({*stage.inputs, *reader.inputs} - {stage.stage_id})),
        tasks=tuple(replace(t, splits=t.splits | small, partitions=t.partitions | read) for t in stage.tasks),
        notes=(*stage.notes, *reader.notes, note),
    )
    return replace(plan, stages=tuple(merged if s is reader else s for s in plan.stages if s is not stage))


def partition_large_build(plan: DistributedPlan, stage: Stage, known: Known) -> DistributedPlan | None:
    """A build side that was to be sent to every agent, because it seemed small, is partitioned, and so is the probe side.

        stage 1: HashJoin              stage 2: Scan probe → hash
                   Scan probe    ⇒     stage 3: ExchangeRead 0 → hash
                   ExchangeRead 0      stage 1: HashJoin
                                                  ExchangeRead 2
                                                  ExchangeRead 3

    Not for joins without an equality, whose keys are constants, nor where something relies on the tasks as they are."""
    if stage.output.kind == "forward" or len(stage.tasks) < 2:
        return None
    hashed, whole = _reads(stage, plan)
    for join in _spine(stage.root):
        if not isinstance(join, HashJoin) or not isinstance(join.build, ExchangeRead):
            continue
        build = join.build.stage
        if build not in whole or build not in known or known[build].size_bytes <= TOO_LARGE * plan.broadcast_bytes:
            continue
        if hashed or isinstance(join.probe, ExchangeRead) or _is_constant(join.probe, join.probe_keys):
            continue
        first = max(s.stage_id for s in plan.stages) + 1
        partitions = len(stage.tasks)
        below = _inputs(join.probe)
        probe = Stage(
            first,
            join.probe,
            Exchange("hash", join.probe_keys, partitions),
            tuple(sorted(set(below))),
            tuple(_only(t, join.probe) for t in stage.tasks),
        )
        again = Stage(
            first + 1,
            join.build,
            Exchange("hash", join.build_keys, partitions),
            (build,),
            (Task(0, {}, {build: whole[build]}),),
            float(known[build].rows),
        )
        joined = replace(join, probe=ExchangeRead(first, join.probe.schema), build=ExchangeRead(first + 1, join.build.schema))
        root = _replaced(stage.root, join, joined)
        above = _only(stage.tasks[0], root)  # what every task does
        note = f"both sides partitioned, build side not broadcast: {_rows(plan, {build}, known)}"
        new = replace(
            stage,
            root=root,
            inputs=tuple(sorted(set(_inputs(root)))),
            tasks=tuple(Task(i, above.splits, {first: (i,), first + 1: (i,), **above.partitions}) for i in range(partitions)),
            notes=(*stage.notes, note),
        )
        stages = [x for s in plan.stages for x in ((probe, again, new) if s is stage else (s,))]
        return replace(plan, stages=tuple(stages))
    return None


def split_skewed_partitions(plan: DistributedPlan, stage: Stage, known: Known) -> DistributedPlan | None:
    """A partition that is much larger than the others is read by several tasks, each of which takes the rows that some tasks
    of the probe side wrote, and builds from the whole partition of the build side."""
    if stage.output.kind == "forward" or len(stage.tasks) < 2 or any(t.producers for t in stage.tasks):
        return None
    *_, source = _spine(stage.root)
    hashed, _ = _reads(stage, plan)
    if not isinstance(source, ExchangeRead) or not _reads_on_spine(stage.root, source.stage):
        return None
    probe = source.stage
    if probe not in hashed or not hashed <= known.keys():
        return None
    sizes = [sum(known[probe].bytes_of(p) for p in t.partitions.get(probe, ())) for t in stage.tasks]
    average = sum(sizes) / len(sizes)
    tasks: list[Task] = []
    for task, size in zip(stage.tasks, sizes):
        runs = [(0, 0)]
        others = sum(known[s].bytes_of(p) for s in hashed - {probe} for p in task.partitions.get(s, ()))
        if size >= max(SKEWED_BYTES, SKEW * average, 2 * others):
            wrote = [sum(by.get(p, 0) for p in task.partitions[probe]) for by in known[probe].partitions]
            runs = _runs(wrote, average)
        for run in runs:
            producers = {probe: run} if len(runs) > 1 else {}
            tasks.append(replace(task, index=len(tasks), producers=producers))
    if len(tasks) == len(stage.tasks):
        return None
    note = f"{len(tasks)} tasks, not {len(stage.tasks)}: the largest has {max(sizes):,} of {sum(sizes):,} bytes"
    return _with(plan, replace(stage, tasks=tuple(tasks), notes=(*stage.notes, note)))


def merge_small_partitions(plan: DistributedPlan, stage: Stage, known: Known) -> DistributedPlan | None:
    """One task reads all partitions of inputs that turned out small."""
    if len(stage.tasks) < 2 or stage.output.kind == "forward" or any(t.producers for t in stage.tasks):
        return None
    copies = stage.tasks[0].splits
    if not stage.inputs or not known.keys() >= set(stage.inputs) or any(t.splits != copies for t in stage.tasks):
        return None
    size = sum(known[s].size_bytes for s in stage.inputs)
    if size > SMALL_BYTES:
        return None
    partitions: dict[int, tuple[int, ...]] = {}
    for task in stage.tasks:
        for source, read in task.partitions.items():
            partitions[source] = tuple(sorted({*partitions.get(source, ()), *read}))
    note = f"1 task, not {len(stage.tasks)}: {size:,} bytes of input"
    return _with(plan, replace(stage, tasks=(Task(0, copies, partitions),), notes=(*stage.notes, note)))


def run_in_reader(plan: DistributedPlan, stage: Stage, known: Known) -> DistributedPlan | None:
    """What one task makes of inputs that turned out small is made by the stage that reads it, in each of its tasks.

        stage 2: HashAggregate final                      stage 3: HashJoin
                   ExchangeRead 1                                    Scan probe
        stage 3: HashJoin                          ⇒                 HashAggregate final
                   Scan probe                                          ExchangeRead 1
                   ExchangeRead 2

    In several tasks only what makes the same rows each time."""
    if len(stage.tasks) != 1 or stage.output.kind not in ("gather", "broadcast", "hash"):
        return None
    if not stage.inputs or not known.keys() >= set(stage.inputs):
        return None
    size = sum(known[s].size_bytes for s in stage.inputs)
    readers = [s for s in plan.stages if stage.stage_id in s.inputs]
    if size > SMALL_BYTES or len(readers) != 1:
        return None
    (reader,), (task,) = readers, stage.tasks
    every = tuple(range(stage.output.partitions))
    if any(t.partitions.get(stage.stage_id) != every or t.producers for t in reader.tasks) or task.producers:
        return None
    if _inputs(reader.root).count(stage.stage_id) != 1 or (len(reader.tasks) > 1 and not is_repeatable(stage.root)):
        return None
    if any(t.partitions.get(s, read) != read for t in reader.tasks for s, read in task.partitions.items()):
        return None
    source = next(n for n in operators(reader.root) if isinstance(n, ExchangeRead) and n.stage == stage.stage_id)
    tasks = []
    for each in reader.tasks:
        partitions = {s: p for s, p in each.partitions.items() if s != stage.stage_id} | task.partitions
        tasks.append(replace(each, splits=each.splits | task.splits, partitions=partitions))
    note = f"stage {stage.stage_id} was merged into this one: its input has only {size:,} bytes"
    merged = replace(
        reader,
        root=_replaced(reader.root, source, stage.root),
        inputs=tuple(sorted({*stage.inputs, *reader.inputs} - {stage.stage_id})),
        tasks=tuple(tasks),
        notes=(*stage.notes, *reader.notes, note),
    )
    return replace(plan, stages=tuple(merged if s is reader else s for s in plan.stages if s is not stage))


Rule = Callable[[DistributedPlan, Stage, Known], DistributedPlan | None]

# how rows get together comes first, then over how many tasks they are spread
RULES: tuple[Rule, ...] = (
    broadcast_small_build,
    partition_large_build,
    merge_small_partitions,
    run_in_reader,
    split_skewed_partitions,
)


def _spine(root: Node) -> Iterator[Node]:
    """Operators that do not mind in which task a row comes, from the root down along probe sides, and the input below them."""
    node = root
    while True:
        yield node
        match node:
            case Filter() | Project() | StateAggregate():
                node = node.input
            case HashAggregate(mode="partial"):
                node = node.input
            case Sort(limit=int()) | Limit(limit=int()) if node.offset == 0:  # before a final one over all tasks
                node = node.input
            case HashJoin():
                node = node.probe
            case Relational(name="Unnest"):
                node = node.inputs[0]
            case _:
                return


def _reads_on_spine(root: Node, stage: int) -> bool:
    """Whether the spine ends with what `stage` wrote, and nothing else reads that."""
    *_, last = _spine(root)
    return isinstance(last, ExchangeRead) and last.stage == stage and _inputs(root).count(stage) == 1


def _reads(stage: Stage, plan: DistributedPlan) -> tuple[set[int], dict[int, tuple[int, ...]]]:
    """The inputs of which each task reads a part, and the partitions of those that every task reads whole."""
    hashed, whole = set(), {}
    for source in stage.inputs:
        every = tuple(range(_stage(plan, source).output.partitions))
        if all(t.partitions.get(source) == every for t in stage.tasks):
            whole[source] = every
        else:
            hashed.add(source)
    return hashed, whole


def _inputs(root: Node) -> list[int]:
    """The stages that operators read, each as often as it is read."""
    return [n.stage for n in operators(root) if isinstance(n, ExchangeRead)]


def _replaced(root: Node, old: Node, new: Node) -> Node:
    """`root` with another node anywhere in it."""
    if root is old:
        return new
    match root:
        case HashJoin():
            return replace(root, probe=_replaced(root.probe, old, new), build=_replaced(root.build, old, new))
        case Relational() | Union():
            return replace(root, inputs=tuple(_replaced(i, old, new) for i in root.inputs))
        case Scan() | ExchangeRead() | Values():
            return root
    return replace(root, input=_replaced(root.input, old, new))


def _only(task: Task, root: Node) -> Task:
    """`task` with what `root` reads, and nothing else."""
    stages, scans = set(_inputs(root)), {n.scan_id for n in operators(root) if isinstance(n, Scan)}
    splits = {s: read for s, read in task.splits.items() if s in scans}
    return replace(task, splits=splits, partitions={s: p for s, p in task.partitions.items() if s in stages})


def _is_constant(node: Node, keys: Sequence[int]) -> bool:
    """Whether the key is a constant, by which every pair of rows is a candidate."""
    return isinstance(node, Scan | Project) and isinstance(node.exprs[keys[0]], Const)


def _runs(sizes: Sequence[int], target: float) -> list[tuple[int, int]]:
    """Runs of neighbouring tasks with about `target` bytes each."""
    runs, first, held = [], 0, 0
    for i, size in enumerate(sizes):
        if held and held + size / 2 > target:
            runs.append((first, i))
            first, held = i, 0
        held += size
    return [*runs, (first, len(sizes))]


def _stage(plan: DistributedPlan, stage: int) -> Stage:
    return next(s for s in plan.stages if s.stage_id == stage)


def _with(plan: DistributedPlan, stage: Stage) -> DistributedPlan:
    return replace(plan, stages=tuple(stage if s.stage_id == stage.stage_id else s for s in plan.stages))


def _rows(plan: DistributedPlan, stages: set[int], known: Known) -> str:
    expected = sum(_stage(plan, s).rows or 0 for s in stages)
    return f"{sum(known[s].rows for s in stages):,} rows, {expected:,.0f} expected"
