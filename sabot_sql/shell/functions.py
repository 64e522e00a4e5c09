"""The functions of the dialect, from a list that `make goldens` writes: the service has none to ask for."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its kind is scalar, aggregate, macro or table; arguments and result are those of its first form."""

    name: str
    kind: str
    arguments: str
    result: str
    forms: int
    description: str


@functools.cache
def functions() -> tuple[Function, ...]:
    """All functions that statements may call, by name."""
    lines = files("sabot_sql.shell").joinpath("functions.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return tuple(Function(name, kind, args, result, int(forms), text) for name, kind, args, result, forms, text in rows)
