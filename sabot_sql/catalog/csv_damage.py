"""What DuckDB says of a CSV file that it cannot read: the file and the reason, out of a page of text."""

from __future__ import annotations

import re
from typing import NamedTuple

# The line itself may be of several lines, so the reason is known by how DuckDB begins it.
SAID = re.compile(
    r"\A[\w ]+ Error: CSV Error on Line: (?P<line>\d+)\nOriginal Line: .*?\n+"
    r"(?P<reason>(?:Error when converting|Expected Number|Invalid unicode|Value with|Maximum line|The CSV Parser)[^\n]*)",
    re.DOTALL,
)
FILE = re.compile(r"\n  file = (.*)\n  delimiter = ")


class CsvDamage(NamedTuple):
    """Why a CSV file cannot be read."""

    path: str
    reason: str


def csv_damage(message: str) -> CsvDamage | None:
    """The file and the reason in DuckDB's `message`; None where it is about something else.

    Example:
        >>> csv_damage(
        ...     "Invalid Input Error: CSV Error on Line: 7\\nOriginal Line: 1\\nExpected Number of Columns: 2 Found: 1\\n\\n"
        ...     "  file = /data/t.csv\\n  delimiter = ,\\n"
        ... )
        CsvDamage(path='/data/t.csv', reason='line 7: Expected Number of Columns: 2 Found: 1')
    """
    said, file = SAID.search(message), FILE.search(message)
    if said is None or file is None:
        return None
    return CsvDamage(file[1], f"line {said['line']}: {said['reason']}")
