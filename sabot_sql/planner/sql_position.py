"""Where in a SQL text something stands: from offsets, from DuckDB's caret, or by looking for a name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

from sabot_sql.errors import Position

# comments, strings, dollar quotes, quoted identifiers, words, anything else
TOKEN = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)|[eE]?'(?:[^']|'')*(?:'|\Z)|\$(\w*)\$.*?(?:\$\1\$|\Z)"
    r'|"(?:[^"]|"")*(?:"|\Z)|[^\W\d]\w*|\d[\w.]*|\s+|.',
    re.DOTALL,
)


def position_at(sql: str, offset: int, length: int = 1) -> Position:
    """The position of the character at `offset`."""
    offset = max(0, min(offset, len(sql)))
    start = sql.rfind("\n", 0, offset) + 1
    return Position(sql.count("\n", 0, offset) + 1, offset - start + 1, offset, max(1, length))


def position_at_byte(sql: str, offset: int, length: int = 1) -> Position:
    """The position of the character at `offset` bytes of UTF-8, as DuckDB counts."""
    if not sql.isascii():
        data = sql.encode("utf-8", "surrogatepass")
        before = data[:offset].decode("utf-8", "replace")
        length = len(data[offset : offset + length].decode("utf-8", "replace"))
        offset = len(before)
    return position_at(sql, offset, length)


def position_of_line(sql: str, line: int, column: int, length: int = 1) -> Position:
    """The position of a 1-based line and column."""
    start = 0
    for _ in range(line - 1):
        start = sql.find("\n", start) + 1 or len(sql)
    return position_at(sql, start + column - 1, length)


def tokens(sql: str) -> Iterator[tuple[int, str]]:
    """Offset and text of all that is no space and no comment; a string or quoted name is one token."""
    for match in TOKEN.finditer(sql):
        text = match.group()
        if not text[0].isspace() and not text.startswith(("--", "/*")):
            yield match.start(), text


def find_name(sql: str, name: str, before: str = "", parent: str = "") -> Position | None:
    """The first place where `name` stands as an identifier; None where it does not.

    Args:
        before: a token that must follow it, e.g. ``(`` for a function.
        parent: the name before the dot, where there is one.
    """
    found = list(tokens(sql))
    wanted, owner = fold(name), fold(parent)
    for i, (offset, text) in enumerate(found):
        if text[0] == "'" or fold(text) != wanted:
            continue
        if before and (i + 1 == len(found) or found[i + 1][1] != before):
            continue
        if parent and (i < 2 or found[i - 1][1] != "." or fold(found[i - 2][1]) != owner):
            continue
        return position_at(sql, offset, len(text))
    return None


def fold(name: str) -> str:
    """`name` as identifiers are compared: quotes off, case folded."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('""', '"')
    return name.lower()


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `name` was most likely meant to be; None where none is near."""
    by_fold = {fold(c): c for c in candidates}
    found = difflib.get_close_matches(fold(name), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None
