"""Plans that several places read, such as a CTE's: computed once, or copied where that costs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.rules.prune_columns import prune_columns
from sabot_sql.planner.rules.push_filters import is_volatile
from sabot_sql.types import BOOLEAN

Definitions = dict[int, lg.Plan]

CHEAP = (lg.Get, lg.OneRow, lg.Select, lg.Compute)


def optimize_shared(plan: lg.Plan, rules: Callable[[lg.Plan], lg.Plan]) -> lg.Plan:
    """Apply `rules` to the plan and, each on its own, to the plans that it shares.

    What only one place reads is put there, and so is a mere scan, which every reader filters for itself. Of what stays
    shared only the columns are kept that some reader reads.
    """
    definitions: Definitions = {}
    plan = _inlined(plan, definitions)
    if not definitions:
        return rules(plan)
    for number in sorted(definitions):  # a plan shares only those with smaller numbers
        definitions[number] = rules(_placed(definitions[number], definitions, {}))
    plan = rules(_placed(plan, definitions, {}))
    kept: dict[int, list[int]] = {}
    for number in sorted(definitions, reverse=True):
        above = [plan, *(d for n, d in definitions.items() if n > number)]
        width = len(definitions[number].schema)
        used = sorted(set().union(*(_used(one, number, frozenset(range(width))) for one in above)))
        if len(used) < width:
            definitions[number] = prune_columns(_columns(definitions[number], used))
        kept[number] = used
    for number in sorted(definitions):
        definitions[number] = _placed(definitions[number], definitions, kept)
    return _placed(plan, definitions, kept)


def _inlined(plan: lg.Plan, definitions: Definitions) -> lg.Plan:
    """`plan` with only those plans shared that are worth it; they are put into `definitions`."""
    found: Definitions = {}
    readers: Counter[int] = Counter()
    pending = [plan]
    while pending:
        for shared in _shared(pending.pop()):
            readers[shared.number] += 1
            if shared.number not in found:
                found[shared.number] = shared.input
                pending.append(shared.input)
    copied: Definitions = {}
    for number in sorted(found):
        input = _replaced(found[number], lambda s: copied.get(s.number, s))
        if readers[number] == 1 or _is_cheap(input):
            copied[number] = input
        else:
            definitions[number] = input
    return _replaced(plan, lambda s: copied.get(s.number, s))


def _is_cheap(plan: lg.Plan) -> bool:
    exprs = (plan.predicate,) if isinstance(plan, lg.Select) else plan.exprs if isinstance(plan, lg.Compute) else ()
    return isinstance(plan, CHEAP) and not any(map(is_volatile, exprs)) and all(map(_is_cheap, plan.inputs))


def _shared(plan: lg.Plan) -> Iterator[lg.Shared]:
    if isinstance(plan, lg.Shared):
        yield plan
    for each in plan.inputs:
        yield from _shared(each)


def _replaced(plan: lg.Plan, by: Callable[[lg.Shared], lg.Plan]) -> lg.Plan:
    if isinstance(plan, lg.Shared):
        return by(plan)
    return lg.with_inputs(plan, tuple(_replaced(i, by) for i in plan.inputs))


def _used(plan: lg.Plan, number: int, whole: frozenset[int]) -> frozenset[int]:
    """The columns of the shared plan that `plan` reads."""
    if isinstance(plan, lg.Shared):
        return whole if plan.number == number else frozenset()
    if isinstance(plan, lg.Compute) and isinstance(plan.input, lg.Shared) and plan.input.number == number:
        return frozenset(i for e in plan.exprs for i in ex.references(e))
    return frozenset().union(*(_used(i, number, whole) for i in plan.inputs))


def _columns(plan: lg.Plan, positions: list[int]) -> lg.Plan:
    if not positions:  # only the number of rows is read
        return lg.Compute(plan, (ex.Const(True, BOOLEAN),), ("row",))
    refs: tuple[Expr, ...] = tuple(ex.Ref(i, plan.schema[i].type) for i in positions)
    return lg.Compute(plan, refs, tuple(plan.schema[i].name for i in positions))


def _placed(plan: lg.Plan, definitions: Definitions, kept: dict[int, list[int]]) -> lg.Plan:
    """`plan` with the shared plans as they now are: of their first columns those in `kept` are left."""
    if isinstance(plan, lg.Shared):
        return replace(plan, input=definitions[plan.number])
    if isinstance(plan, lg.Compute) and isinstance(plan.input, lg.Shared) and plan.input.number in kept:
        where = {old: at for at, old in enumerate(kept[plan.input.number])}
        exprs = tuple(ex.remap(e, where) for e in plan.exprs)
        return replace(plan, input=_placed(plan.input, definitions, kept), exprs=exprs)
    return lg.with_inputs(plan, tuple(_placed(i, definitions, kept) for i in plan.inputs))
