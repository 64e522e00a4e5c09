"""Plans are data: as JSON they come back equal, obey the published schema, and nothing else is read."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sabot_sql.errors import InternalError, PlanError
from sabot_sql.planner import physical as ph
from sabot_sql.planner import plan_forms, plan_json
from sabot_sql.planner.bind import Binder
from sabot_sql.planner.expressions import Const, Expr, Not, Ref
from sabot_sql.planner.plan_json import plan_document, plan_from_json, plan_schema, plan_to_json
from sabot_sql.planner.wire import CLASSES
from sabot_sql.types import BOOLEAN, DOUBLE, HUGEINT, VARCHAR, Field
from tests.planner.test_goldens import QUERIES, plan_of
from tests.planner.test_wire import SCHEMA, stage

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "docs" / "plan.schema.json"
GOLDEN = Path(__file__).parent / "goldens" / "q06.json"
HAND_MADE = ph.DistributedPlan((stage(), stage()), ("a", "ü"), SCHEMA, ph.Session("Europe/Berlin", 2**53 + 1))


def _any_of(validator: Any, forms: list[Any], instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """As jsonschema's own, but a form is left with its first error: all errors of all forms of nested nodes take 20 s."""
    if not any(validator.evolve(schema=form).is_valid(instance) for form in forms):
        yield jsonschema.ValidationError(f"{instance!r:.200} has none of the forms")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"anyOf": _any_of})


@pytest.fixture(scope="module")
def binder() -> Iterator[Binder]:
    binder = Binder()
    yield binder
    binder.close()


def plan_with(*exprs: Expr) -> ph.DistributedPlan:
    """A plan of one projection."""
    schema = tuple(Field(f"c{i}", e.type) for i, e in enumerate(exprs))
    root = ph.Project(ph.Values(1, ()), exprs, schema)
    return ph.DistributedPlan((ph.Stage(0, root, ph.Exchange("gather"), (), ()),), ("a",), schema, ph.Session())


def constant(text: str) -> Const:
    """The constant of a plan made by `plan_with(Const(...))`."""
    root = plan_from_json(text).stages[0].root
    assert isinstance(root, ph.Project)
    found = root.exprs[0]
    assert isinstance(found, Const)
    return found


def with_options(options: dict[str, Any]) -> ph.DistributedPlan:
    """The hand-made plan with other options of its reader."""
    plan = plan_with(Ref(0, BOOLEAN))
    scan = ph.Scan(0, "t", replace(spec(), options=options), (), (), (), ())
    return replace(plan, stages=(replace(plan.stages[0], root=scan),))


def spec() -> Any:
    return next(n for n in nodes(stage().root) if isinstance(n, ph.Scan)).spec


def nodes(node: ph.Node) -> Iterator[ph.Node]:
    yield node
    for one in node.inputs:
        yield from nodes(one)


@pytest.mark.parametrize("path", QUERIES, ids=lambda p: p.stem)
def test_tpch_plan_comes_back_equal_and_obeys_the_schema(path: Path, binder: Binder) -> None:
    _, plan = plan_of(binder, path.read_text())
    text = plan_to_json(plan)
    assert plan_from_json(text) == plan
    Validator(plan_schema()).validate(json.loads(text))


def test_document_is_the_golden_one(binder: Binder, request: pytest.FixtureRequest) -> None:
    """What older readers know: a change of it that they would misunderstand needs another VERSION."""
    _, plan = plan_of(binder, next(q for q in QUERIES if q.stem == "q06").read_text())
    text = plan_to_json(plan, indent=1) + "\n"
    if request.config.getoption("--goldens"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert plan_from_json(GOLDEN.read_bytes()) == plan


def test_schema_of_the_docs_is_current(request: pytest.FixtureRequest) -> None:
    text = json.dumps(plan_schema(), indent=1) + "\n"
    if request.config.getoption("--goldens"):
        SCHEMA_FILE.write_text(text)
    assert text == SCHEMA_FILE.read_text(), "`make goldens` writes docs/plan.schema.json anew"
    jsonschema.Draft202012Validator.check_schema(plan_schema())


def test_schema_has_no_class_that_may_not_be_sent() -> None:
    values = {*plan_forms.TEXTS, "Anything"}
    assert set(plan_schema()["$defs"]) - values <= CLASSES.keys()


def test_hand_made_plan_comes_back_equal_and_obeys_the_schema() -> None:
    text = plan_to_json(HAND_MADE)
    assert plan_from_json(text) == HAND_MADE
    Validator(plan_schema()).validate(json.loads(text))


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63, 2**64 - 1, 2**127 - 1, -(2**127), 10**38 - 1, 0, -1, True, False])
def test_integers_of_any_width_survive(value: int) -> None:
    back = constant(plan_to_json(plan_with(Const(value, HUGEINT)))).value
    assert (back, type(back)) == (value, type(value))


def test_integers_that_doubles_do_not_hold_are_text() -> None:
    assert '{"class": "Integer", "value": "9007199254740993"}' in plan_to_json(plan_with(Const(2**53 + 1, HUGEINT)))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan")])
def test_doubles_survive(value: float) -> None:
    assert repr(constant(plan_to_json(plan_with(Const(value, DOUBLE)))).value) == repr(value)


@pytest.mark.parametrize("value", ["", "\0", "\udcff", "\ud83d\ude00", "\U0001f600", '"\\', "é\u2028", "class"])
def test_texts_survive_with_lone_surrogates(value: str) -> None:
    text = plan_to_json(plan_with(Const(value, VARCHAR)))
    assert constant(text).value == value
    json.loads(text.encode("ascii"))
    assert "\\ud83d" not in text or value == "\U0001f600"


def test_options_of_readers_keep_their_types() -> None:
    options = {
        "class": {"class": "Tuple", "items": [1, 1.0, True, None]},
        "tuple": (1, [2, (3,)], {}),
        "bytes": b"\x00\xff",
        "exact": [Decimal("1.50"), Decimal("-1E+3"), dt.date(1, 1, 1), dt.datetime(2020, 1, 1, 1, 2, 3, 4, dt.UTC)],
        "\udcff": {1: "a", "1": "b", None: "c"},
    }
    plan = with_options(options)
    text = plan_to_json(plan)
    Validator(plan_schema()).validate(json.loads(text))
    assert repr(plan_from_json(text)) == repr(plan)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
                    lambda some: st.lists(some) | st.dictionaries(st.text(), some) | st.tuples(some, some)))  # fmt: skip
def test_any_options_survive(value: Any) -> None:
    plan = with_options({"x": value})
    assert repr(plan_from_json(plan_to_json(plan))) == repr(plan)


def test_value_without_a_form_is_not_written() -> None:
    with pytest.raises(InternalError, match="object of class object"):
        plan_to_json(with_options({"x": object()}))


def changed(change: Any) -> str:
    """The hand-made plan's document after `change` has been at it."""
    document = copy.deepcopy(plan_document(HAND_MADE))
    change(document)
    return json.dumps(document)


def in_plan(**fields: Any) -> str:
    return changed(lambda d: d["plan"].update(fields))


def in_stage(**fields: Any) -> str:
    return changed(lambda d: d["plan"]["stages"][0].update(fields))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        (b"\xff\xfe\xfa", "no JSON"),
        ("NaN", "NaN is no number"),
        ("[1e999]", "too large for a double"),
        ("9" * 5000, "no JSON"),
        ('{"format": "sabot-plan", "format": "x"}', "twice"),
        ("[]", '"format" is "sabot-plan"'),
        ("null", '"format" is "sabot-plan"'),
        (changed(lambda d: d.update(version=2)), "version 2 cannot be read here"),
        (changed(lambda d: d.update(version=True)), "version True"),
        (changed(lambda d: d.update(more=1)), "nothing else beside them"),
        (changed(lambda d: d.pop("plan")), "format, version and plan"),
        (changed(lambda d: d.update(plan=5)), "expected DistributedPlan, found 5, at plan"),
        (in_plan(**{"class": "Session"}), "found the class 'Session'"),
        (in_plan(**{"class": "os.system"}), "found the class 'os.system'"),
        (in_plan(**{"class": ["DistributedPlan"]}), "found the class"),
        (in_plan(secret=1), "DistributedPlan has no field 'secret'"),
        (changed(lambda d: d["plan"].pop("names")), "DistributedPlan lacks its field names"),
        (in_plan(names="abc"), "expected an array, found 'abc', at plan.names"),
        (in_plan(names=[1]), r"expected string, found 1, at plan.names\[0\]"),
        (in_plan(broadcast_bytes=1.5), "expected integer, found 1.5, at plan.broadcast_bytes"),
        (in_plan(broadcast_bytes=True), "expected integer, found true"),
        (in_plan(broadcast_bytes={"class": "Integer", "value": "1_0"}), "'1_0' is no value of Integer"),
        (in_plan(broadcast_bytes={"class": "Integer", "value": "9" * 5000}), "is no value of Integer"),
        (in_plan(broadcast_bytes={"class": "Float", "value": "nan"}), "expected integer"),
        (in_plan(broadcast_bytes={"class": "Float", "value": "1.5"}), "'1.5' is no value of Float"),
        (in_plan(names=[{"class": "Text", "value": "xyz"}]), "is no value of Text"),
        (in_plan(names=[{"class": "Text"}]), "expected an object with class"),
        (in_stage(rows="many"), r"at plan.stages\[0\].rows"),
        (in_stage(root={"class": "Stage"}), "found the class 'Stage'"),
        (in_stage(root=None), "found null"),
        (in_stage(output={"class": "Exchange", "kind": "magic"}), "found 'magic', at plan.stages"),
        (in_stage(output={"class": "Exchange", "kind": ["hash"]}), "found an array"),
        (in_stage(tasks=[{"class": "Task", "index": 0, "partitions": [[1, [0]], [1, [1]]]}]), "stands there twice"),
        (in_stage(tasks=[{"class": "Task", "index": 0, "partitions": [[1, [0], 2]]}]), "an array of 2, found one of 3"),
        (in_stage(tasks=[{"class": "Task", "index": 0, "partitions": {"1": [0]}}]), "expected an array, found an object"),
    ],
)  # fmt: skip
def test_text_that_is_no_plan_is_refused_by_a_clear_error(text: str | bytes, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan_from_json(text)


@given(st.data())
def test_a_damaged_text_is_a_plan_or_an_error(data: st.DataObject) -> None:
    text = plan_to_json(HAND_MADE)
    at = data.draw(st.integers(0, len(text) - 1))
    cut = text[:at] + data.draw(st.sampled_from(["", "]", "null", "[", "-1", '"', "{}", "1e5", "true"])) + text[at + 1 :]
    with suppress(PlanError):
        assert isinstance(plan_from_json(cut), ph.DistributedPlan)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"format": "sabot-plan", "version": 1, "plan": [' + "[" * 50])
def test_deep_text_is_refused_by_the_name_of_the_limit(opening: str) -> None:
    with pytest.raises(PlanError, match="MAX_DEPTH"):
        plan_from_json(opening * 100_000)


def test_plan_beyond_the_depth_is_refused_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Expr = Ref(0, BOOLEAN)
    for _ in range(50):
        deep = Not(deep)
    text = plan_to_json(plan_with(deep))
    monkeypatch.setattr(plan_forms, "MAX_DEPTH", 50)
    with pytest.raises(PlanError, match=r"MAX_DEPTH \(50 levels\)"):
        plan_from_json(text)
    with pytest.raises(PlanError, match=r"MAX_DEPTH \(50 levels\)"):
        plan_to_json(plan_with(deep))


def test_expression_of_thousands_of_levels_is_an_error() -> None:
    deep: Expr = Ref(0, BOOLEAN)
    for _ in range(5000):
        deep = Not(deep)
    with pytest.raises(PlanError, match="MAX_DEPTH"):
        plan_to_json(plan_with(deep))


def test_plan_beyond_the_number_of_values_is_refused_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    text = plan_to_json(HAND_MADE)
    monkeypatch.setattr(plan_forms, "MAX_NODES", 100)
    with pytest.raises(PlanError, match=r"MAX_NODES \(100\)"):
        plan_from_json(text)
    with pytest.raises(PlanError, match=r"MAX_NODES \(100\)"):
        plan_to_json(HAND_MADE)


def test_plan_beyond_the_size_is_refused_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    text = plan_to_json(HAND_MADE)
    monkeypatch.setattr(plan_json, "MAX_BYTES", 1000)
    with pytest.raises(PlanError, match=r"MAX_BYTES \(1,000\)"):
        plan_from_json(text)
    with pytest.raises(PlanError, match="MAX_BYTES"):
        plan_to_json(HAND_MADE)
