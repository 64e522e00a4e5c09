"""Statements that differ in plain constants only are parsed once: the same tokens in the same order have the same tree.

What may differ is a run of at most nine digits or a quoted text without quotes and backslashes in it, and only where
DuckDB's own tree of the first statement has a constant at that very place. Put in its stead, another such run or text is
the same kind of token, so DuckDB's parser does the same with it.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sabot_sql.planner.memory_functions import sized_by_constants
from sabot_sql.planner.parse_nodes import NOWHERE, Node, walk

CONSTANT = re.compile(r"""[0-9'](?<![\w$.'"\\].)(?:(?<=')[^'\\\0]*'(?!')|(?<!')[0-9]{0,8}(?![\w.']))""", re.DOTALL)
"""It begins with its first characters, so that the search for it jumps over all others."""

MOST_CONSTANTS = 256

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Text:
    """A statement's text taken apart.

    Attributes:
        frame: the text with each constant as its kind (`0` for digits, `''` for a text).
        constants: what stood there, in order.
        places: where they begin.
    """

    frame: str
    constants: tuple[str, ...]
    places: tuple[int, ...]


def take_apart(sql: str) -> Text | None:
    """The frame and the constants of `sql`; None where it has too many, or none.

    Example:
        >>> take_apart("select a1 from t where b = 22 and c = 'x'")
        Text(frame="select a1 from t where b = 0 and c = ''", constants=('22', "'x'"), places=(27, 38))
    """
    if not sql.isascii():  # DuckDB counts in bytes
        return None
    found = list(CONSTANT.finditer(sql))
    if not 0 < len(found) <= MOST_CONSTANTS:
        return None
    frame, end = [], 0
    for match in found:
        frame += [sql[end : match.start()], "''" if match[0][0] == "'" else "0"]
        end = match.end()
    return Text("".join(frame) + sql[end:], tuple(m[0] for m in found), tuple(m.start() for m in found))


def replaceable(text: Text, root: Node) -> tuple[bool, ...] | None:
    """Which constants of `text` DuckDB's tree has at their places; None where the size of an answer's values, or of a table
    function, hangs on a constant."""
    if sized_by_constants(root):
        return None
    seen: set[tuple[int, int]] = set()
    for node in walk(root):
        if node.get("type") == "TABLE_FUNCTION":
            return None
        if node.get("class") == "CONSTANT" and (start := node.get("query_location", NOWHERE)) < NOWHERE:
            length, shown = node.get("query_location_length", 0), str(node.get("literal", {}).get("text", ""))
            negative = shown.startswith("-") and length == len(shown)  # the sign is folded in
            seen.add((start + 1, length - 1) if negative else (start, length))
    return tuple((place, len(constant)) in seen for place, constant in zip(text.places, text.constants))


class Shapes(Generic[S]):
    """The statements that were parsed, by their shape. Thread-safe; the ones not used longest go first.

    Args:
        replaceable: which constants of a statement may differ; asked for when a second text of its frame comes.
    """

    def __init__(self, capacity: int, replaceable: Callable[[Text, S], tuple[bool, ...] | None]) -> None:
        self._capacity = capacity
        self._replaceable = replaceable
        self._lock = threading.Lock()
        self._first: OrderedDict[str, tuple[Text, S]] = OrderedDict()
        self._masks: OrderedDict[str, tuple[bool, ...]] = OrderedDict()
        self._found: OrderedDict[tuple[str, tuple[str, ...]], S] = OrderedDict()

    def find(self, text: Text) -> S | None:
        """The statement that differs from `text` in replaceable constants only."""
        with self._lock:
            first = self._first.pop(text.frame, None)
        if first is not None:
            self._keep(*first)
        with self._lock:
            mask = self._masks.get(text.frame)
            if mask is None:
                return None
            key = (text.frame, fixed(text, mask))
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
                self._masks.move_to_end(text.frame)
            return found

    def add(self, text: Text, statement: S) -> None:
        """Keep `statement` for texts that differ from `text` in constants that may."""
        with self._lock:
            if text.frame not in self._masks and text.frame not in self._first:
                self._first[text.frame] = text, statement
                if len(self._first) > self._capacity:
                    self._first.popitem(last=False)
                return
        self._keep(text, statement)

    def _keep(self, text: Text, statement: S) -> None:
        mask = self._replaceable(text, statement)
        if mask is None or not any(mask):
            return
        with self._lock:
            if self._masks.setdefault(text.frame, mask) != mask:
                return  # its constants are of other kinds, as in DATE '...' and '...'
            self._found[text.frame, fixed(text, mask)] = statement
            while len(self._found) > self._capacity:
                self._found.popitem(last=False)
            while len(self._masks) > self._capacity:
                self._masks.popitem(last=False)


def fixed(text: Text, mask: tuple[bool, ...]) -> tuple[str, ...]:
    """The constants that may not differ."""
    return tuple(constant for constant, free in zip(text.constants, mask) if not free)
