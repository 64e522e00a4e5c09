"""What Tab offers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from sabot_sql.errors import SabotError
from sabot_sql.shell.commands import COMMANDS
from sabot_sql.shell.formats import TEXT_FORMATS, Display
from sabot_sql.shell.functions import functions
from sabot_sql.shell.lexing import split_command
from sabot_sql.shell.syntax import SYNTAX

if TYPE_CHECKING:
    from sabot_sql.shell.shell import Shell

WORD = re.compile(r"[\w$]+$")
AFTER_TABLE_WORD = re.compile(r"\b(?:from|join|describe|summarize|table)\s+[\w$]*$", re.IGNORECASE)
AFTER_DOT = re.compile(r"\"?([\w$]+)\"?\.[\w$]*$")
USED_TABLES = re.compile(r"\b(?:from|join|,)\s+\"?([\w$]+)\"?(?:\s+(?:as\s+)?([A-Za-z_]\w*))?", re.IGNORECASE)
FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
REMEMBERED_S = 10.0
FEW_TABLES = 20

KEYWORDS = (
    "select from where group by order having limit offset join left right full inner outer cross on using as and or not in is "
    "null like ilike between case when then else end distinct union all intersect except exists with recursive over partition "
    "rows range unbounded preceding following current row asc desc nulls first last cast values explain describe summarize "
    "show tables interval date timestamp true false qualify pivot unpivot semi anti asof lateral window sample"
).split()


class SqlCompleter(Completer):
    """Tables after FROM and JOIN, columns of a table after its name or alias and a dot, elsewhere the columns of the tables
    that the statement names (of all of a few, as long as it names none), keywords and functions; commands, and what they
    take."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._columns: dict[str, list[str]] = {}
        self._read_s = -REMEMBERED_S
        self._read_from: object = None
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The offers for the word before the cursor."""
        before = document.text_before_cursor
        _, command, _ = split_command(before)
        if command is not None:
            yield from self._for_command(command, complete_event)
            return
        found = WORD.search(before)
        yield from _starting(self._offers(before, self._shell.rest + document.text), found[0] if found else "")

    def _for_command(self, command: str, event: CompleteEvent) -> Iterator[Completion]:
        name, blank, argument = command.partition(" ")
        if not blank:
            yield from _starting((f"\\{known}" for known in COMMANDS), command)
            return
        known_command = COMMANDS.get(name[1:].rstrip("+"))
        offers = known_command.offers if known_command is not None else None
        last = argument.split(" ")[-1]
        match offers:
            case "files":
                yield from self._paths.get_completions(Document(last), event)
            case "tables":
                word = WORD.search(argument)
                text = word[0] if word else ""
                more = [] if name.startswith("\\d") else [*KEYWORDS, *self._columns_used(argument)]
                yield from _starting([*sorted(self._tables()), *more], text)
            case "functions":
                yield from _starting((f.name for f in functions()), last)
            case "settings":
                values = {"format": TEXT_FORMATS, "expanded": ("on", "off", "auto")}
                first, more_blank, _ = argument.partition(" ")
                yield from _starting(values.get(first, ("on", "off")) if more_blank else Display.__dataclass_fields__, last)
            case "routes":
                yield from _starting(("auto", "local", "distributed"), last)
            case "switch":
                yield from _starting(("on", "off", *(("auto",) if name == "\\x" else ())), last)
            case "variables":
                yield from _starting(sorted({*self._shell.variables, "ON_ERROR_STOP"}), last)
        if name == "\\h":
            yield from _starting(SYNTAX, last.upper(), len(last))

    def _offers(self, before: str, text: str) -> Iterable[str]:
        if dotted := AFTER_DOT.search(before):
            return self._columns_of_alias(dotted[1], text)
        if AFTER_TABLE_WORD.search(before):
            return sorted(self._tables())
        if not WORD.search(before):
            return [*self._columns_used(text), *KEYWORDS, *sorted(self._tables())]
        return [*self._columns_used(text), *KEYWORDS, *sorted(self._tables()), *(f.name for f in functions())]

    def _used(self, text: str) -> dict[str, str]:
        """Alias or name -> table, in lower case, of the tables that `text` reads."""
        tables = {table.lower(): table for table in self._tables()}
        used: dict[str, str] = {}
        for name, alias in USED_TABLES.findall(text):
            if (table := tables.get(name.lower())) is not None:
                used[name.lower()] = table
                if alias and alias.lower() not in KEYWORDS:
                    used[alias.lower()] = table
        return used

    def _columns_of_alias(self, alias: str, text: str) -> list[str]:
        table = self._used(text).get(alias.lower())
        return sorted(self._columns_of(table)) if table else []

    def _columns_used(self, text: str) -> list[str]:
        tables = set(self._used(text).values())
        if not tables and not FROM.search(text) and len(list(self._tables())) <= FEW_TABLES:
            tables = set(self._tables())
        return sorted({column for table in tables for column in self._columns_of(table)})

    def _tables(self) -> Iterable[str]:
        connection = self._shell.connection
        if time.monotonic() - self._read_s > REMEMBERED_S or self._read_from is not connection:
            self._read_s, self._read_from = time.monotonic(), connection
            try:
                self._columns = {str(table["name"]): [] for table in connection.tables()}
            except SabotError:
                # no offers are better than an error at every key
                self._columns = {}
        return self._columns

    def _columns_of(self, table: str) -> list[str]:
        if not self._columns.get(table):
            try:
                self._columns[table] = [str(column["name"]) for column in self._shell.connection.table(table)["columns"]]
            except SabotError:
                return []
        return self._columns[table]


def _starting(offers: Iterable[str], typed: str, length: int | None = None) -> Iterator[Completion]:
    """Those of `offers` that begin with what is typed, each once."""
    for offer in dict.fromkeys(offers):
        if offer.lower().startswith(typed.lower()) and offer != typed:
            yield Completion(offer, start_position=-(len(typed) if length is None else length))
