"""How statements are written, for `\\h`."""

from __future__ import annotations

from sabot_sql.errors import QueryError

SYNTAX = {
    "SELECT": """[WITH [RECURSIVE] name AS (query), ...]
SELECT [DISTINCT [ON (expression, ...)]] * | expression [AS name], ...
FROM table | (query) AS name | function(...)
  [[LEFT|RIGHT|FULL|SEMI|ANTI|ASOF|CROSS] JOIN table ON condition | USING (column, ...)]
[WHERE condition]
[GROUP BY ALL | expression, ... | ROLLUP (...) | CUBE (...) | GROUPING SETS (...)]
[HAVING condition]
[WINDOW name AS (PARTITION BY ... ORDER BY ... frame)]
[QUALIFY condition]
[USING SAMPLE n% | n ROWS]
[UNION | INTERSECT | EXCEPT [ALL] [BY NAME] query]
[ORDER BY ALL | expression [ASC|DESC] [NULLS FIRST|LAST], ...]
[LIMIT rows] [OFFSET rows]""",
    "FROM": "FROM table [SELECT expression, ...] [the other clauses of SELECT]",
    "WITH": "WITH [RECURSIVE] name [(column, ...)] AS [[NOT] MATERIALIZED] (query), ... query",
    "VALUES": "VALUES (expression, ...), ...",
    "PIVOT": "PIVOT table ON column [IN (value, ...)] USING aggregate [GROUP BY column, ...]",
    "UNPIVOT": "UNPIVOT table ON column, ... INTO NAME name VALUE name",
    "EXPLAIN": "EXPLAIN [ANALYZE] query",
    "DESCRIBE": "DESCRIBE table | query",
    "SUMMARIZE": "SUMMARIZE table | query",
    "SHOW": "SHOW TABLES | SHOW ALL TABLES | SHOW DATABASES | SHOW SCHEMAS",
}


def syntax_help(name: str) -> str:
    """The syntax of a statement, or the list of statements.

    Raises:
        QueryError: there is no such statement.

    Example:
        >>> print(syntax_help("values"))
        VALUES (expression, ...), ...
    """
    wanted = name.strip().rstrip(";").upper()
    if not wanted:
        return f"\\h STATEMENT shows how it is written; \\? lists the shell's commands. Statements: {', '.join(SYNTAX)}"
    if wanted not in SYNTAX:
        raise QueryError(f"there is no help for {name}", hint=f"there is for {', '.join(SYNTAX)}")
    return SYNTAX[wanted]
