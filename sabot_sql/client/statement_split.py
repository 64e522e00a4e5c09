"""Where one SQL statement ends and the next begins."""

from __future__ import annotations

import re

# one of these at a time, from left to right; what stands inside a quote or comment ends nothing
PIECE = re.compile(
    r"""
    (?P<escaped> \b[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z) )
  | (?P<single>  '(?:[^']|'')*(?:'|\Z) )
  | (?P<double>  "(?:[^"]|"")*(?:"|\Z) )
  | (?P<dollar>  \$(?P<tag>[A-Za-z_]\w*)?\$ (?:.*?\$(?(tag)(?P=tag))\$|.*\Z) )
  | (?P<line>    --[^\n]* )
  | (?P<block>   /\* )
  | (?P<end>     ; )
    """,
    re.VERBOSE | re.DOTALL,
)
BLOCK_MARK = re.compile(r"/\*|\*/")


def split_statements(text: str) -> tuple[list[str], str]:
    """The statements of `text` that are ended by `;`, without it, and the rest that is not ended.

    Statements of nothing but blanks and comments are left out; a rest of that kind is empty.

    Example:
        >>> split_statements("select ';' ; -- done\\n select 2")
        (["select ';'"], '-- done\\n select 2')
    """
    statements: list[str] = []
    start = at = 0
    blank = True  # nothing but blanks and comments since `start`
    while found := PIECE.search(text, at):
        blank = blank and not text[at : found.start()].strip()
        at = found.end()
        if found["block"]:
            at = comment_end(text, found.start())
        elif found["end"]:
            if not blank:
                statements.append(text[start : found.start()].strip())
            start, blank = at, True
        elif not found["line"]:
            blank = False
    blank = blank and not text[at:].strip()
    return statements, "" if blank else text[start:].strip()


def comment_end(text: str, start: int) -> int:
    """Where the comment that begins at `start` ends; the end of the text when it is open. Comments nest."""
    depth = 0
    for mark in BLOCK_MARK.finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def is_open(text: str) -> bool:
    """Whether `text` ends inside a statement, so that more lines belong to it."""
    return bool(split_statements(text)[1])
