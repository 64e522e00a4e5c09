"""The shape of a statement: its text with literals and parameters taken out, under which history is kept."""

from __future__ import annotations

import functools
import hashlib
import re

from sabot_sql.planner.parse import Statement
from sabot_sql.planner.sql_position import tokens

OPERATOR = re.compile(r"([<>!|:]) (?=[=>|:])")
"""Between the characters of one operator."""


def fingerprint(statement: Statement) -> str:
    """16 hexadecimal digits, the same for statements that differ in literals, parameter values, the length of literal
    lists, case, spaces and comments only.

    Example:
        >>> from sabot_sql.planner.parse import parse
        >>> fingerprint(parse("select a from t where b = 1")) == fingerprint(parse("SELECT a FROM t -- x\\nWHERE b = 22"))
        True
    """
    return _digest((statement.like or statement).sql)


@functools.lru_cache(maxsize=2048)
def _digest(sql: str) -> str:
    return hashlib.blake2b(shape_text(sql).encode(), digest_size=8).hexdigest()


@functools.lru_cache(maxsize=256)
def shape_text(sql: str) -> str:
    """`sql` in one line without its literals.

    Example:
        >>> shape_text("SELECT a FROM t WHERE b IN (1, 2) AND c >= 'x'")
        'select a from t where b in ( ? ) and c >= ?'
    """
    return OPERATOR.sub(r"\1", " ".join(shape(sql)))


def shape(sql: str) -> list[str]:
    """The tokens of `sql`, folded, each literal as `?` and a list of literals as one."""
    found: list[str] = []
    after_dollar = False
    for _, text in tokens(sql):
        if after_dollar:  # the name or number of a parameter
            text, after_dollar = "?", False
        elif text == "$":
            after_dollar = True
            continue
        elif text[0] in "'$" or text[0].isdigit() or text[:2].lower() == "e'":
            text = "?"
        elif text[0] != '"':
            text = text.lower()
        if text == "?" and found[-2:] == ["?", ","]:
            found.pop()
            continue
        found.append(text)
    return found
