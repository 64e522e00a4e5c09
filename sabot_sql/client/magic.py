"""`%sql` and `%%sql` in IPython and notebooks, after `%load_ext sabot_sql`.

    %sql connect data/                  a folder, a DuckDB file, or the address of a server (else $SABOT_URL)
    %sql SELECT count(*) FROM trips
    %%sql best <<                       the answer goes to the variable `best`
    SELECT * FROM trips WHERE zone = $zone

`$zone` is the variable of that name. IPython is not imported: it hands itself over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Protocol

from sabot_sql.client.connection import Connection, connect
from sabot_sql.client.result import Result
from sabot_sql.errors import ConfigError, SabotError

NAMED = re.compile(r"\s*([A-Za-z_]\w*)\s*<<\s?")
CONNECT = re.compile(r"\s*connect\b\s*(.*)", re.DOTALL)
# what looks like a parameter within these is none: strings, names, dollar-quoted strings, comments
PARAMETER = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | --[^\n]* | /\*.*?\*/ | \$(?P<name>[A-Za-z_]\w*)""",
    re.DOTALL | re.VERBOSE,
)


class Shell(Protocol):
    """What is needed of IPython."""

    user_ns: dict[str, Any]

    def register_magic_function(self, func: Callable[..., Any], magic_kind: str, magic_name: str) -> None: ...


class SqlMagic:
    """The magic of one IPython."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._connection: Connection | None = None

    def __call__(self, line: str, cell: str | None = None) -> Result | None:
        """Run a line, or a cell whose first line is `line`."""
        try:
            if cell is None and (found := CONNECT.fullmatch(line)):
                self._connect(found[1].strip())
                return None
            text = line if cell is None else f"{line}\n{cell}"
            named = NAMED.match(text)
            result = self._run(text[named.end() :] if named else text)
        except SabotError as error:
            said = f"{type(error).__name__}: {error}"
            error._render_traceback_ = lambda: [said]  # type: ignore[attr-defined]  # IPython shows it in place of the stack
            raise
        if named is None:
            return result
        self._shell.user_ns[named[1]] = result
        return None

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, target: str) -> None:
        target = target.strip("'\"")
        if not target:
            raise ConfigError("connect to what?", hint="%sql connect data/, or %sql connect http://host:8600")
        is_url = "://" in target or target == "embedded:"
        made = connect(target) if is_url else connect("embedded:", data=target)
        self.close()
        self._connection = made

    def _run(self, text: str) -> Result:
        if self._connection is None:
            self._connection = connect(os.environ.get("SABOT_URL") or "embedded:")
        found = {match["name"] for match in PARAMETER.finditer(text)}
        params = {name: self._shell.user_ns[name] for name in found if name in self._shell.user_ns}
        return self._connection.execute_sql(text, params or None)


def load(shell: Shell) -> SqlMagic:
    """Give IPython the magic."""
    magic = SqlMagic(shell)
    shell.register_magic_function(magic, "line_cell", "sql")
    return magic
