"""EXPLAIN: stages drawn as boxes, every operator with its home, every exchange with who reads it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sabot_sql.planner.expressions import Expr
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
    Union,
    Values,
)
from sabot_sql.planner.render import render
from sabot_sql.types import Schema, quote_identifier

COLUMN = re.compile(r"\bc\d+\b")


@dataclass(frozen=True, slots=True)
class NodeRun:
    """What the operators of one node did, summed over the tasks of its stage (EXPLAIN ANALYZE)."""

    rows_in: int
    rows_out: int
    elapsed_ms: float
    rows_cached: int = 0
    rows_fused: int = 0
    bytes_spilled: int = 0


@dataclass(frozen=True, slots=True)
class StageRun:
    """What a stage did: per node in pre-order, and who ran it."""

    nodes: Mapping[int, NodeRun]
    agents: tuple[str, ...]
    rows_out: int
    bytes_out: int
    elapsed_ms: float


def draw_stages(plan: DistributedPlan, runs: Mapping[int, StageRun] | None = None) -> str:
    """The physical plan as text, in the order in which the stages run; with `runs`, what each operator did."""
    readers = _readers(plan)
    return "\n".join(line for stage in plan.stages for line in _box(stage, readers, (runs or {}).get(stage.stage_id)))


def stage_records(plan: DistributedPlan, runs: Mapping[int, StageRun] | None = None) -> list[dict[str, Any]]:
    """The stages as the HTTP contract's `GET …/plan` lists them."""
    records = []
    for stage in plan.stages:
        run = (runs or {}).get(stage.stage_id)
        records.append(
            {
                "id": stage.stage_id,
                "name": _stage_name(stage),
                "inputs": list(stage.inputs),
                "operators": [f"{describe(n)} [{n.home}]" for _, n, _ in preorder(stage.root)],
                "output": _exchange(stage.output, stage.root.schema),
                "tasks": {"total": len(stage.tasks)},
                **({"changes": list(stage.notes)} if stage.notes else {}),
                **(
                    {
                        "rows_out": run.rows_out,
                        "rows_expected": None if stage.rows is None else round(min(stage.rows, 1e18)),
                        "bytes_out": run.bytes_out,
                        "elapsed_ms": round(run.elapsed_ms, 3),
                        "agents": list(run.agents),
                    }
                    if run
                    else {}
                ),
            }
        )
    return records


def plan_edges(plan: DistributedPlan) -> list[dict[str, Any]]:
    """Which stage reads which (`from`, `to`), how its rows are distributed (`kind`) and by which columns (`keys`)."""
    outputs = {stage.stage_id: (stage.output, stage.root.schema) for stage in plan.stages}
    found = []
    for stage in plan.stages:
        for source in stage.inputs:
            output, schema = outputs[source]
            keys = output.keys if output.order is None else (output.order.index,)
            edge = {"from": source, "to": stage.stage_id, "kind": output.kind, "keys": [schema[k].name for k in keys]}
            found.append(edge)
    return found


def preorder(node: Node, depth: int = 0) -> Iterator[tuple[int, Node, int]]:
    """Every operator of a stage as (number, node, depth); a node's number is its place in this walk."""
    stack = [(node, depth)]
    number = 0
    while stack:
        one, at = stack.pop()
        yield number, one, at
        number += 1
        stack.extend((child, at + 1) for child in reversed(one.inputs))


def _readers(plan: DistributedPlan) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for stage in plan.stages:
        for source in stage.inputs:
            found[source].append(stage.stage_id)
    return found


def _box(stage: Stage, readers: Mapping[int, Sequence[int]], run: StageRun | None) -> list[str]:
    to = ", ".join(f"stage {s}" for s in readers.get(stage.stage_id, ())) or "result"
    tasks = f"{len(stage.tasks)} task{'s' if len(stage.tasks) != 1 else ''}"
    head = f"┌─ stage {stage.stage_id} · {tasks} · {_exchange(stage.output, stage.root.schema)} → {to}"
    if run is not None:
        expected = "" if stage.rows is None else f" ({stage.rows:,.0f} expected)"
        head += f" · {run.rows_out:,} rows{expected}, {run.bytes_out:,} bytes"
        head += f" in {run.elapsed_ms:.1f} ms on {', '.join(run.agents)}"
    lines = [head]
    for number, node, depth in preorder(stage.root):
        line = f"│ {'  ' * depth}{describe(node)} [{node.home}]"
        if run is not None and (did := run.nodes.get(number)):
            cached = f", {did.rows_cached:,} from memory" if did.rows_cached else ""
            fused = f", {did.rows_fused:,} by generated code" if did.rows_fused else ""
            spilled = f", {did.bytes_spilled:,} bytes spilled" if did.bytes_spilled else ""
            line += f"  ({did.rows_in:,} → {did.rows_out:,} rows{cached}{fused}{spilled}, {did.elapsed_ms:.1f} ms)"
        lines.append(line)
    lines += [f"│ changed while running: {note}" for note in stage.notes]
    return [*lines, "└─"]


def _stage_name(stage: Stage) -> str:
    scans = [n.table for _, n, _ in preorder(stage.root) if isinstance(n, Scan)]
    top = type(stage.root).__name__
    return f"{top} over {', '.join(scans)}" if scans else top


def _exchange(output: Exchange, schema: Schema) -> str:
    if output.order is not None:
        name = schema[output.order.index].name + (" desc" if output.order.descending else "")
        return f"range of {name} into {output.partitions}"
    if output.kind != "hash":
        return output.kind
    return f"hash by {', '.join(schema[k].name for k in output.keys) or 'nothing'} into {output.partitions}"


def _show(expr: Expr, schema: Schema) -> str:
    text = render(expr, [quote_identifier(f.name) if not f.name.isidentifier() else f.name for f in schema])
    return _shortened(text)


def _shortened(text: str) -> str:
    return text if len(text) <= 160 else text[:157] + "..."


def _names(positions: Sequence[int], schema: Schema) -> str:
    return ", ".join(schema[i].name for i in positions)


def describe(node: Node) -> str:
    """One line that says what `node` does."""
    match node:
        case Scan():
            columns = tuple(f for f in node.spec.schema if f.name in node.columns)
            by_name = {f.name: f for f in columns}
            read = tuple(by_name[c] for c in node.columns)
            where = " and ".join(_show(f, read) for f in node.filters)
            return f"Scan {node.table} [{', '.join(f.name for f in node.schema)}]" + (f" where {where}" if where else "")
        case ExchangeRead():
            return f"ExchangeRead stage {node.stage}"
        case Values():
            source = f", {node.source}" if node.source else ""
            return f"Values {node.num_rows} row{'s' if node.num_rows != 1 else ''}{source}"
        case Filter():
            return f"Filter {_show(node.predicate, node.schema)}"
        case Project():
            return f"Project [{', '.join(_show(e, node.input.schema) for e in node.exprs)}]"
        case HashAggregate():
            return _aggregate(node)
        case StateAggregate():
            by = f" by {_names(node.groups, node.input.schema)}" if node.groups else ""
            read_as = {f"c{i}": f.name for i, f in enumerate(node.input.schema)}
            calls = (
                COLUMN.sub(lambda found: read_as.get(found[0], found[0]), text.removesuffix(" EXPORT_STATE"))
                for text in node.partial
            )
            return _shortened(f"Aggregate partial{by} [{', '.join(calls)}]")
        case HashJoin():
            return _join(node)
        case Sort():
            keys = ", ".join(
                f"{node.schema[k.index].name}{' desc' if k.descending else ''} nulls {'first' if k.nulls_first else 'last'}"
                for k in node.keys
            )
            limit = "" if node.limit is None else f" limit {node.limit}" + (f" offset {node.offset}" if node.offset else "")
            return f"{'Sort' if node.limit is None else 'TopN'} {keys}{limit}"
        case Limit():
            return f"Limit {'all' if node.limit is None else node.limit}" + (f" offset {node.offset}" if node.offset else "")
        case Union():
            return "Union all"
        case Relational():
            return f"{node.name} {_shortened(node.sql)}"


def _aggregate(node: HashAggregate) -> str:
    source = node.input.schema
    calls: list[str] = []
    for call in node.calls:
        if node.mode == "final":
            calls.append(call.function.removesuffix("_star"))
            continue
        arg = "*" if call.arg is None else source[call.arg].name
        where = "" if call.filter is None else f" filter {source[call.filter].name}"
        name = call.function.removesuffix("_star")
        fraction = "" if call.fraction is None else f", {call.fraction:g}"
        calls.append(f"{name}({'distinct ' if call.distinct else ''}{arg}{fraction}){where}")
    by = f" by {_names(node.groups, source)}" if node.groups else ""
    return f"HashAggregate {node.mode}{by} [{', '.join(calls)}]"


def _join(node: HashJoin) -> str:
    pairs = " and ".join(
        f"{node.probe.schema[p].name} {'is not distinct from' if null else '='} {node.build.schema[b].name}"
        for p, b, null in zip(node.probe_keys, node.build_keys, node.null_equal)
    )
    extra = ""
    if node.residual is not None:
        extra = f" and {_show(node.residual, (*node.probe.schema, *node.build.schema))}"
    return f"HashJoin {node.kind} on {pairs}{extra}"
