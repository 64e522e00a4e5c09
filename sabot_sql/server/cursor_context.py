"""What stands around the cursor in a statement that is being written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sabot_sql.planner.sql_position import TOKEN, fold, tokens

Place = Literal["nowhere", "beginning", "table", "after_table", "member", "expression"]

CLAUSES = frozenset("select from where group having order qualify window limit offset on using values by set returning".split())
TABLE_WORDS = frozenset(("from", "join", "describe", "summarize", "table", "into"))
NO_ALIAS = frozenset(
    """on using where group order having qualify window limit offset join left right full inner outer cross natural asof
    positional semi anti union intersect except lateral tablesample select from set values pivot unpivot""".split()
)
WORD = re.compile(r'"(?:[^"]|"")*"?|[^\W\d]\w*')


@dataclass(frozen=True, slots=True)
class Context:
    """The cursor's surroundings.

    Attributes:
        place: what may stand there: nothing (in a string or comment), the beginning of a statement, a table, what follows a
            table, a member of what stands before a dot, or an expression.
        start: where the word that is being typed begins.
        typed: that word as far as the cursor, without quotes.
        owner: the name before the dot.
        tables: the names of tables in the whole text, by alias (or by name, where they have none), folded.
        queries: the names that WITH gives to queries.
    """

    place: Place
    start: int
    typed: str
    owner: str
    tables: dict[str, str]
    queries: tuple[str, ...]


def context_at(sql: str, position: int) -> Context:
    """The context of a cursor before the character at `position`."""
    before = sql[:position]
    every = [word for _, word in tokens(sql)]
    tables, queries = named_tables(every), named_queries(every)
    matches = list(TOKEN.finditer(before))
    last = matches[-1] if matches else None
    text = last.group() if last is not None else ""
    if in_text(text, before):
        return Context("nowhere", position, "", "", tables, queries)
    start = last.start() if last is not None and WORD.fullmatch(text) and not closed(text) else position
    words = [word for _, word in tokens(before[:start])]
    owner = fold(words[-2]) if len(words) > 1 and words[-1] == "." else ""
    typed = text.lstrip('"').replace('""', '"') if start < position else ""
    place: Place = "member" if words[-1:] == ["."] else place_after(words)
    return Context(place, start, typed, owner, tables, queries)


def in_text(last: str, before: str) -> bool:
    """Whether a text ends within a string or a comment, `last` being its last token."""
    if last.startswith("--"):
        return not before.endswith("\n")
    if last.startswith("/*"):
        return not (last.endswith("*/") and len(last) > 3)
    if last.lstrip("eE").startswith("'"):
        return last.count("'") % 2 == 1
    if last.startswith("$"):
        mark = last[: last.find("$", 1) + 1]
        return len(mark) > 1 and (len(last) < 2 * len(mark) or not last.endswith(mark))
    return False


def closed(word: str) -> bool:
    """Whether a quoted name is complete: it is not being typed any more."""
    return word.startswith('"') and len(word) > 1 and word.count('"') % 2 == 0


def place_after(words: Sequence[str]) -> Place:
    """What may stand after these tokens."""
    if not words or words[-1] == ";":
        return "beginning"
    clauses = [""]
    for word in words:
        lower = word.lower()
        if word == "(":
            clauses.append("")
        elif word == ")" and len(clauses) > 1:
            clauses.pop()
        elif lower in CLAUSES or lower in TABLE_WORDS:
            clauses[-1] = lower
    last, clause = words[-1].lower(), clauses[-1]
    if last in TABLE_WORDS or (clause in ("from", "join") and last == ","):
        return "table"
    if clause in ("from", "join") and (WORD.fullmatch(words[-1]) or last == ")"):
        return "after_table" if last not in NO_ALIAS else "expression"
    if last in ("explain", "analyze") and len(words) < 3:
        return "beginning"
    return "expression"


def named_tables(words: Sequence[str]) -> dict[str, str]:
    """The tables that FROM and JOIN name, by alias."""
    found: dict[str, str] = {}
    depth_from: list[bool] = [False]
    at = 0
    while at < len(words):
        word = words[at].lower()
        if word == "(":
            depth_from.append(False)
        elif word == ")" and len(depth_from) > 1:
            depth_from.pop()
        elif word in CLAUSES and word != "from":
            depth_from[-1] = False
        expects = word in TABLE_WORDS or (word == "," and depth_from[-1])
        if word in ("from", "join"):
            depth_from[-1] = True
        at += 1
        if expects and at < len(words) and is_name(words[at]):
            parts = [fold(words[at])]
            at += 1
            while at + 1 < len(words) and words[at] == "." and is_name(words[at + 1]):
                parts.append(fold(words[at + 1]))
                at += 2
            at += at + 1 < len(words) and words[at].lower() == "as"
            aliased = at < len(words) and is_name(words[at]) and words[at].lower() not in NO_ALIAS
            found[fold(words[at]) if aliased else parts[-1]] = ".".join(parts)
    return found


def named_queries(words: Sequence[str]) -> tuple[str, ...]:
    """The names that WITH gives to queries."""
    if not any(word.lower() == "with" for word in words):
        return ()
    trios = zip(words, words[1:], words[2:])
    return tuple(
        dict.fromkeys(name.strip('"') for name, as_, open_ in trios if (as_.lower(), open_) == ("as", "(") and is_name(name))
    )


def is_name(word: str) -> bool:
    """Whether a token may be a name."""
    return WORD.fullmatch(word) is not None
