"""Distributed plans as JSON: `{"format": "sabot-plan", "version": 1, "plan": {"class": "DistributedPlan", ...}}`.

For people and for programs that are not ours; agents and the job database have `planner/wire.py`, which is smaller. What a
document may hold follows from the dataclasses' type hints (`planner/plan_forms.py`), and docs/plan.schema.json says it. Only
these classes are made, and nothing of a plan that was read is run by reading it.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from sabot_sql.errors import PlanError
from sabot_sql.planner.physical import DistributedPlan
from sabot_sql.planner.plan_forms import Forms, Object, Walk

FORMAT = "sabot-plan"
VERSION = 1
MAX_BYTES = 16 << 20

FORMS = Forms()
PLAN = Object(FORMS, (DistributedPlan,), optional=False)


def plan_document(plan: DistributedPlan) -> dict[str, Any]:
    """`plan` as what `json.dumps` takes.

    Raises:
        PlanError: it is over MAX_DEPTH or MAX_NODES.
    """
    try:
        return {"format": FORMAT, "version": VERSION, "plan": PLAN.write(plan, Walk())}
    except RecursionError:
        raise too_deep() from None


def plan_to_json(plan: DistributedPlan, indent: int | None = None) -> str:
    """`plan` as JSON, in ASCII.

    Raises:
        PlanError: it is over MAX_BYTES, MAX_DEPTH or MAX_NODES.
    """
    document = plan_document(plan)
    try:
        text = json.dumps(document, indent=indent, allow_nan=False)
    except RecursionError:
        raise too_deep() from None
    check_size(len(text))
    return text


def plan_from_json(text: str | bytes) -> DistributedPlan:
    """The plan that `plan_to_json` wrote.

    Raises:
        PlanError: it is damaged, of another version, over a limit, or holds what a plan does not have.
    """
    check_size(len(text))
    try:
        document = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once)
        return _plan(document)
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:  # JSON's syntax, bytes that are not UTF-8, an integer of thousands of digits
        raise PlanError(f"a plan is no JSON: {error}") from None


def _plan(document: Any) -> DistributedPlan:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise PlanError(f'a plan is an object whose "format" is "{FORMAT}"')
    if document.get("version") != VERSION or isinstance(document["version"], bool):
        raise PlanError(f"a plan of version {str(document.get('version'))[:20]} cannot be read here (version {VERSION})")
    if document.keys() != {"format", "version", "plan"}:
        raise PlanError("a plan has format, version and plan, and nothing else beside them")
    found = PLAN.read(document["plan"], Walk())
    assert isinstance(found, DistributedPlan)
    return found


def plan_schema() -> dict[str, Any]:
    """What a plan may hold, as JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A distributed plan of sabot-sql",
        "type": "object",
        "properties": {"format": {"const": FORMAT}, "version": {"const": VERSION}, "plan": PLAN.schema()},
        "required": ["format", "version", "plan"],
        "additionalProperties": False,
        "$defs": FORMS.definitions(DistributedPlan),
    }


def check_size(size: int) -> None:
    """Raise for a text that is too long."""
    if size > MAX_BYTES:
        raise PlanError(f"a plan of {size:,} bytes is over MAX_BYTES ({MAX_BYTES:,})")


def too_deep() -> PlanError:
    """The error for what Python's own stack does not hold."""
    return PlanError("a plan is nested deeper than MAX_DEPTH: the reader's stack is at its end")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is too large for a double")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found
