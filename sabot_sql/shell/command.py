"""What a command of the shell is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

if TYPE_CHECKING:
    from sabot_sql.shell.shell import Shell

Offers = Literal["tables", "functions", "files", "formats", "settings", "routes", "switch", "variables", "commands"]


class Leave(Exception):
    """The user wants to go."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that begins with a backslash.

    Attributes:
        run: with the shell, the argument, and whether the name had a `+` after it.
        takes, text: its argument and what it does, for `\\?`.
        offers: what Tab offers for its argument.
        plus: whether it has a form with `+`, which shows more.
    """

    run: Callable[[Shell, str, bool], None]
    takes: str
    text: str
    offers: Offers | None = None
    plus: bool = False


def listing(
    shell: Shell, rows: Sequence[Mapping[str, Any]], names: tuple[str, ...], headings: tuple[str, ...] | None = None
) -> None:
    """Shows mappings as a table with the columns `names`, in the shell's format."""
    columns = []
    for name in names:
        values = [row.get(name) for row in rows]
        plain = [", ".join(map(str, v)) if isinstance(v, list) else v for v in values]
        mixed = len({type(v) for v in plain if v is not None}) > 1
        columns.append(pa.array([None if v is None else str(v) for v in plain] if mixed else plain))
    shell.show_table(pa.table(columns, names=list(headings or names)))
