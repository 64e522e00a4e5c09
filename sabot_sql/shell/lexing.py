"""Where in a line SQL ends and a command of the shell begins, and where variables stand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from sabot_sql.client.statement_split import PIECE, comment_end, split_statements
from sabot_sql.errors import QueryError
from sabot_sql.types import quote_identifier

MARK = re.compile(rf"{PIECE.pattern} | (?P<command> \\ )", re.VERBOSE | re.DOTALL)
PLACE = re.compile(
    rf"""{PIECE.pattern} | (?<![:\w]):(?:'(?P<literal>[A-Za-z_]\w*)'|"(?P<identifier>[A-Za-z_]\w*)"|(?P<plain>[A-Za-z_]\w*))""",
    re.VERBOSE | re.DOTALL,
)


def split_command(text: str) -> tuple[str, str | None, str]:
    """The SQL before the first backslash that is in no quote or comment, the command to the end of its line, and the rest.

    Example:
        >>> split_command("select 1 \\\\g out.csv\\nselect 2;")
        ('select 1 ', '\\\\g out.csv', 'select 2;')
        >>> split_command("select '\\\\g';")
        ("select '\\\\g';", None, '')
    """
    at = 0
    while found := MARK.search(text, at):
        if found["command"]:
            line, _, rest = text[found.start() :].partition("\n")
            return text[: found.start()], line, rest
        at = comment_end(text, found.start()) if found["block"] else found.end()
    return text, None, ""


def not_ended(text: str) -> str:
    """What of `text` belongs to the lines after it: a statement without `;`, or a comment without an end.

    Example:
        >>> not_ended("select 1; select"), not_ended("select 1; /* and"), not_ended("select 1; -- and")
        ('select', '/* and', '')
    """
    rest = split_statements(text)[1]
    at = 0
    while not rest and (found := PIECE.search(text, at)):
        at = comment_end(text, found.start()) if found["block"] else found.end()
        if found["block"] and at == len(text) and not text.endswith("*/"):
            rest = text[found.start() :]
    return rest


def interpolate(sql: str, variables: Mapping[str, str]) -> str:
    """`sql` with `:name` replaced by the variable, `:'name'` by it as a literal and `:"name"` as an identifier.

    What names no variable stays: slices and casts have colons too.

    Example:
        >>> interpolate("select :'day', ':day', x[1:n], :n::int from :t", {"day": "Jan 1", "n": "5", "t": "trips"})
        "select 'Jan 1', ':day', x[1:n], 5::int from trips"
    """

    def value(found: re.Match[str]) -> str:
        if (name := found["literal"]) in variables:
            return "'" + variables[name].replace("'", "''") + "'"
        if (name := found["identifier"]) in variables:
            return quote_identifier(variables[name])
        return variables.get(found["plain"] or "", found[0])

    return PLACE.sub(value, sql) if variables else sql


def words(text: str) -> list[str]:
    """The arguments of a command; quotes hold blanks together.

    Raises:
        QueryError: a quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise QueryError(f"the arguments {text!r} have a quote that is not closed") from exc


def parameter(text: str) -> Any:
    """A value of a bound parameter: JSON where it can be read so, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def switch(text: str, now: bool) -> bool:
    """What `on` and `off` mean; without a word the other of `now`.

    Raises:
        QueryError: another word.
    """
    known: dict[str, Callable[[], bool]] = {
        **dict.fromkeys(("on", "true", "1", "yes"), lambda: True),
        **dict.fromkeys(("off", "false", "0", "no"), lambda: False),
        "": lambda: not now,
    }
    if text.lower() not in known:
        raise QueryError(f"{text!r} is neither on nor off")
    return known[text.lower()]()
