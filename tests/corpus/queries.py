"""The corpus: SELECTs in .sql files beside this one, each run on DuckDB alone, locally, and on 1, 2 and 3 agents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import exp

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Query:
    """One statement.

    Attributes:
        not_distributed: what the distributed route must name in its NotSupported, or empty.
        title, construct: the file's title and the heading in it, under which docs/sql.md counts the statement.
    """

    name: str
    sql: str
    not_distributed: str = ""
    title: str = ""
    construct: str = ""

    def ordered_by(self, columns: list[str]) -> list[int]:
        """Positions of the output columns that the outer ORDER BY names, as far as they are output columns."""
        try:
            tree = sqlglot.parse_one(self.sql, dialect="duckdb")
        except sqlglot.ParseError:
            return []
        order = tree.args.get("order")
        found: list[int] = []
        for item in order.expressions if order else []:
            key = item.this
            if isinstance(key, exp.Literal) and key.is_int:
                found.append(int(key.name) - 1)
            elif isinstance(key, exp.Column) and not key.table and columns.count(key.name) == 1:
                found.append(columns.index(key.name))
            elif key.name.lower() == "all":
                return list(range(len(columns)))
            else:
                break
        return found


def load() -> list[Query]:
    """Every statement of every file. A file's first line is its title; a line `-- construct: x` heads those that follow; a
    line `-- names: x` before one says that it is not distributed yet."""
    return [query for path in sorted(HERE.glob("*.sql")) for query in _statements(path)]


def _statements(path: Path) -> list[Query]:
    found: list[Query] = []
    text = path.read_text().splitlines()
    title = re.split(r"[.:]", text[0].removeprefix("--").strip())[0]
    construct, refusal = "other", ""
    lines: list[str] = []
    for line in text:
        if line.startswith("-- construct:"):
            construct = line.removeprefix("-- construct:").strip()
        elif line.startswith("-- names:"):
            refusal = line.removeprefix("-- names:").strip()
        elif not line.startswith("--"):
            lines.append(line)
            if line.rstrip().endswith(";"):
                sql = "\n".join(lines).strip().removesuffix(";")
                name = f"{path.stem}-{len(found):03d}"
                found.append(Query(name, sql, refusal, title, construct))
                lines, refusal = [], ""
    return found
