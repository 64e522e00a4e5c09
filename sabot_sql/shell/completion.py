"""What Tab offers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from sabot_sql.client.connection import Connection
from sabot_sql.errors import SabotError
from sabot_sql.shell.commands import COMMANDS

WORD = re.compile(r"[\w$]+$")
AFTER_TABLE_WORD = re.compile(r"\b(?:from|join|describe|summarize|table)\s+[\w$]*$", re.IGNORECASE)
USED_TABLES = re.compile(r"\b(?:from|join)\s+\"?([\w$]+)", re.IGNORECASE)
REMEMBERED_S = 10.0

KEYWORDS = (
    "select from where group by order having limit offset join left right full inner outer cross on using as and or not in is "
    "null like ilike between case when then else end distinct union all intersect except exists with recursive over partition "
    "rows range unbounded preceding following current row asc desc nulls first last cast values explain describe summarize "
    "show tables interval date timestamp true false count sum avg min max coalesce extract substring filter qualify"
).split()


class SqlCompleter(Completer):
    """Tables after FROM and JOIN, elsewhere keywords and the columns of the tables that the statement names."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._columns: dict[str, list[str]] = {}
        self._read_s = -REMEMBERED_S

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The offers for the word before the cursor."""
        before = document.text_before_cursor
        if before.lstrip().startswith("\\") and " " not in before:
            typed = before.lstrip()
            offers: Iterable[str] = (f"\\{name}" for name in COMMANDS)
        else:
            found = WORD.search(before)
            typed = found[0] if found else ""
            offers = self._offers(before, document.text)
        for offer in offers:
            if offer.lower().startswith(typed.lower()) and offer != typed:
                yield Completion(offer, start_position=-len(typed))

    def _offers(self, before: str, text: str) -> list[str]:
        tables = self._tables()
        if AFTER_TABLE_WORD.search(before) or before.lstrip().startswith("\\d"):
            return sorted(tables)
        used = [name for name in USED_TABLES.findall(text) if name.lower() in {t.lower() for t in tables}]
        columns = sorted({column for name in used for column in self._columns_of(name)})
        return columns + KEYWORDS + sorted(tables)

    def _tables(self) -> Iterable[str]:
        if time.monotonic() - self._read_s > REMEMBERED_S:
            self._read_s = time.monotonic()
            try:
                self._columns = {str(table["name"]): [] for table in self._connection.tables()}
            except SabotError:
                # no offers are better than an error at every key
                self._columns = {}
        return self._columns

    def _columns_of(self, table: str) -> list[str]:
        name = next(known for known in self._columns if known.lower() == table.lower())
        if not self._columns[name]:
            try:
                self._columns[name] = [str(column["name"]) for column in self._connection.table(name)["columns"]]
            except SabotError:
                return []
        return self._columns[name]
