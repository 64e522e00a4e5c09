"""Reading from a terminal: editing, history, completion, colours."""

from __future__ import annotations

import gc
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sabot_sql.client.statement_split import split_statements
from sabot_sql.errors import ConfigError
from sabot_sql.shell.formats import write_text
from sabot_sql.shell.lexing import split_command
from sabot_sql.shell.shell import LEAVING_WORDS, Shell, greeting

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession


def read_forever(shell: Shell, **session_options: Any) -> None:
    """Reads and runs until Ctrl-D or `\\q`; `session_options` are those of prompt_toolkit's PromptSession."""
    try:
        session = make_session(shell, **session_options)
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"typing at the shell needs {exc.name}", hint="pip install 'sabot-sql[shell]'; piped statements need nothing more"
        ) from exc
    shell.interactive = True
    shell.tell(greeting(shell.connection))
    write_text(pa.table({"": [0]}), shell.display, io.StringIO())  # a Ctrl-C may not meet the imports of the first answer
    gc.freeze()
    while True:
        try:
            text = session.prompt()
            gc.collect()  # what a prompt leaves: a Ctrl-C that meets the end of an event loop in the midst of a query is lost
        except KeyboardInterrupt:
            shell.rest = ""
            continue
        except EOFError:
            return
        if text.strip():
            shell.feed(text)


def make_session(shell: Shell, **session_options: Any) -> PromptSession[str]:
    """A prompt whose Enter key begins a new line until the statement is ended."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.lexers import PygmentsLexer
    from pygments.lexers.sql import PostgresLexer  # type: ignore[import-untyped]

    from sabot_sql.shell.completion import SqlCompleter

    keys = KeyBindings()

    @Condition
    def complete() -> bool:
        return is_complete(shell.rest + session.default_buffer.text)

    @keys.add("enter", filter=complete)
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    path = history_path()
    options: dict[str, Any] = {
        "message": lambda: "sabot-> " if shell.rest else "sabot=> ",
        "multiline": True,
        "prompt_continuation": "sabot-> ",
        "history": FileHistory(str(path)) if path else InMemoryHistory(),
        "key_bindings": keys,
        "lexer": PygmentsLexer(PostgresLexer),
        "completer": SqlCompleter(shell),
        "complete_while_typing": False,
        **session_options,
    }
    session: PromptSession[str] = PromptSession(**options)
    return session


def is_complete(text: str) -> bool:
    """Whether Enter sends `text`: a command, a word of farewell, nothing, or statements that are all ended.

    Example:
        >>> is_complete("select 1;"), is_complete("select ';"), is_complete("\\\\d")
        (True, False, True)
    """
    line = text.strip()
    if not line or line.lower() in LEAVING_WORDS or split_command(text)[1] is not None:
        return True
    return not split_statements(text)[1]


def history_path() -> Path | None:
    """Where lines are remembered, readable by the user only; None where that cannot be written."""
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = base / "sabot-sql" / "history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return None
    return path
