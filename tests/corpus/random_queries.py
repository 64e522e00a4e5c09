"""Random queries of every kind: what random_selects makes, and windows, grouping sets, set operations, recursion and more."""

from __future__ import annotations

from collections.abc import Sequence

from tests.corpus import random_sources as sources
from tests.corpus.random_selects import FAMILY_NAMES, Choices, Column, Selects
from tests.corpus.random_tables import MORE_FAMILIES
from tests.corpus.random_templates import (
    ALL_AGGREGATES,
    ALL_LITERALS,
    ALL_TEMPLATES,
    BAG_WINDOWS,
    DISTINCT_AGGREGATES,
    ODD,
    PEER_WINDOWS,
    ROW_WINDOWS,
    VALUE_WINDOWS,
)

TABLES = ("tiny", "mid", "big", "mid", "big", "mid", "big", "one", "mid", "none")
SMALL_TABLES = ("tiny", "mid", "mid", "tiny", "mid", "one", "mid", "none")
SMALL_COLUMNS = ("k", "i8", "u8", "u8")
PLAIN_FRAMES = ["UNBOUNDED PRECEDING", "CURRENT ROW", "UNBOUNDED FOLLOWING"]
OFFSETS = {
    "int": ["1", "2", "10"],
    "dec": ["1.5", "0.5", "20"],
    "flt": ["1.5", "0", "100"],
    "date": ["INTERVAL 3 DAY", "INTERVAL 1 MONTH"],
    "ts": ["INTERVAL 10 HOUR", "INTERVAL 1 MONTH"],
}


class Queries(Selects):
    """Makes one query of any kind.

    Args:
        choices: what decides.
    """

    columns = MORE_FAMILIES
    families = (*FAMILY_NAMES, "ints", "texts", "rec", "map")
    templates = ALL_TEMPLATES
    literals = ALL_LITERALS

    def __init__(self, choices: Choices) -> None:
        super().__init__(choices)
        self.windows: list[tuple[str, str]] = []  # the WINDOW clause of the SELECT that is being made: name and definition
        self.is_inner = 0  # in a place whose columns others read

    def statement(self) -> tuple[str, list[int]]:
        parts = []
        recursive = ""
        while len(self.ctes) < 3 and self.c.chance(20):
            name = f"w{len(self.ctes)}"
            if self.c.chance(25):
                recursive = "RECURSIVE "
                text, families = self.recursive(name)
                parts.append(f"{name}({', '.join(f'c{i}' for i in range(len(families)))}) AS ({text})")
            else:
                text, families = self.inner_select(1)
                parts.append(f"{name} AS {self.c.pick(['', 'MATERIALIZED ', 'NOT MATERIALIZED '])}({text})")
            self.ctes[name] = families
        if self.c.chance(15):
            body, families = self.plain_select(2)
            for _ in range(1 + self.c.number(2)):
                other, _ = self.plain_select(1, families)
                body = f"{body} {self.set_operator()} {other}"
        else:
            body, families = self.select(2)
        order, positions = self.order_of(families)
        return (f"WITH {recursive}{', '.join(parts)} " if parts else "") + body + order, positions

    def order_of(self, families: list[str]) -> tuple[str, list[int]]:
        """ORDER BY and LIMIT. Values that rounding may change are no keys."""
        if "near" in families:
            exact = [i for i, f in enumerate(families) if f != "near"]
            if not exact or not self.c.chance(50):
                return "", []
            return " ORDER BY " + ", ".join(map(self.key, exact)), exact
        order, positions = self.order(len(families))
        if order and "LIMIT" not in order and len(positions) == len(families) and self.c.chance(20):
            order += f" LIMIT {self.c.pick(['30%', '99.5%', '7', '0%'])}"
        return order, positions

    def direction(self) -> str:
        """Which way and where NULLs go."""
        return self.c.pick(["", " DESC", " ASC"]) + self.c.pick(["", " NULLS FIRST", " NULLS LAST"])

    def varying(self, scope: list[Column], depth: int) -> str:
        """An expression by which rows may be ordered or grouped: no literal, which would be a position or nothing."""
        family = self.c.pick(self.families)
        text = self.expression(scope, family, depth)
        return f"({text} IS NULL)" if text in self.literals[family] else text

    def set_operator(self) -> str:
        return self.c.pick(["UNION ALL", "UNION", "EXCEPT", "INTERSECT", "EXCEPT ALL", "INTERSECT ALL"])

    def keys(self, scope: list[Column]) -> str:
        """Columns of which no two rows share all, but rows that are equal in everything."""
        found: list[str] = []
        for alias in dict.fromkeys(t.split(".")[0] for t, _ in scope if "." in t):
            own = [t for t, _ in scope if t.startswith(f"{alias}.")]
            numbers = [t for t in own if t in (f"{alias}.id", f"{alias}.{alias}_id")]
            found += numbers or own
        return ", ".join(found) or "1 + 1"

    def plain_select(self, depth: int, families: list[str] | None = None) -> tuple[str, list[str]]:
        """A SELECT that set operations may combine, with columns of common families."""
        text, found = self.inner_select(depth, families)
        return f"({text})", found

    def inner_select(self, depth: int, families: list[str] | None = None) -> tuple[str, list[str]]:
        self.is_inner += 1
        windows, self.windows = self.windows, []
        found = self.select(depth, families)
        self.windows = windows
        self.is_inner -= 1
        return found

    def recursive(self, name: str) -> tuple[str, list[str]]:
        """A recursive CTE that comes to an end."""
        self.aliases += 1
        anchor_alias = f"t{self.aliases}"
        anchor_scope = [(f"{anchor_alias}.{n}", f) for n, f in self.columns.items()]
        types = {"int": "BIGINT", "text": "VARCHAR", "date": "DATE", "bool": "BOOLEAN", "ints": "INTEGER[]"}
        families = [self.c.pick(list(types)) for _ in range(1 + self.c.number(2))]
        items = [f"TRY_CAST({self.expression(anchor_scope, f, 1)} AS {types[f]})" for f in families]
        anchor = f"SELECT 0, {', '.join(items)} FROM {self.c.pick(('tiny', 'one', 'none', 'mid'))} {anchor_alias}"
        self.aliases += 1
        working = f"t{self.aliases}"
        scope: list[Column] = [(f"{working}.c{i + 1}", f) for i, f in enumerate(families)]
        source = f"{name} {working}"
        if self.c.chance(60):
            table, columns = self.relation(0, small=True)
            kind = self.c.pick(["JOIN", "LEFT JOIN", "SEMI JOIN", "ANTI JOIN"])
            source = f"{source} {kind} {table} ON {self.join_condition(scope, columns)}"
            scope = scope if kind in ("SEMI JOIN", "ANTI JOIN") else scope + columns
        values = [self.expression(scope, f, 1) for f in families]
        given = [f"TRY_CAST({f'left({v}, 30)' if f == 'text' else v} AS {types[f]})" for v, f in zip(values, families)]
        where = f"{working}.c0 < {self.c.pick(['2', '1', '3'])}"
        if self.c.chance(30):
            where += f" AND {self.expression(scope, 'bool', 1)}"
        distinct = self.c.pick(["UNION", "UNION ALL"])
        if distinct == "UNION ALL" or self.c.chance(50):
            where += f" AND {working}.c0 < 2"
        return f"{anchor} {distinct} SELECT {working}.c0 + 1, {', '.join(given)} FROM {source} WHERE {where}", [
            "int",
            *families,
        ]

    def select(self, depth: int, families: list[str] | None = None) -> tuple[str, list[str]]:
        if families is None and depth > 1 and not self.c.chance(70):
            return super().select(depth)
        outer, self.windows = self.windows, []
        source, scope = self.source(depth)
        where = f" WHERE {self.condition(scope, depth)}" if self.c.chance(45) else ""
        if self.c.chance(35):
            found = self.grouped(source + where, scope, families)
            self.windows = outer
            return found
        width = len(families) if families else 1 + self.c.number(4)
        items, names = [], []
        for i in range(width):
            text, family = self.item(scope, depth, families[i] if families else "")
            items.append(f"{text} AS c{i}")
            names.append(family)
        distinct = "DISTINCT " if self.c.chance(10) and not {"near", "out"} & set(names) else ""
        qualify = f" QUALIFY {self.window_test(scope)}" if self.c.chance(8) else ""
        clause = f" WINDOW {', '.join(f'{n} AS ({d})' for n, d in self.windows)}" if self.windows else ""
        self.windows = outer
        return f"SELECT {distinct}{', '.join(items)} FROM {source}{where}{clause}{qualify}", names

    def item(self, scope: list[Column], depth: int, family: str) -> tuple[str, str]:
        """One column of a SELECT: of the given family, or of any."""
        if self.c.chance(30):
            text, found = self.window(scope, family)
            if found == (family or found):
                return text, found
        if not family and not self.is_inner and self.c.chance(8):
            return self.fill(self.c.pick(ODD), scope, 1), "out"
        family = family or self.c.pick(self.families)
        return self.expression(scope, family, 2, depth), family

    def window_test(self, scope: list[Column]) -> str:
        if self.c.chance(50):
            return f"row_number() OVER ({self.partition(scope)}ORDER BY {self.keys(scope)}) <= {self.c.pick(['1', '2', '5'])}"
        text, family = self.window(scope, "int")
        return f"{text} {self.comparison()} {self.expression(scope, 'int', 0)}" if family == "int" else f"{text} IS NOT NULL"

    def partition(self, scope: list[Column]) -> str:
        count = self.c.pick([0, 1, 1, 2])
        exprs = [self.expression(scope, self.c.pick(self.families), self.c.pick([0, 0, 0, 1])) for _ in range(count)]
        return f"PARTITION BY {', '.join(exprs)} " if exprs else ""

    def window(self, scope: list[Column], family: str) -> tuple[str, str]:
        """A window expression and its family, of the given family where it can be one."""
        kinds = [PEER_WINDOWS, ROW_WINDOWS, VALUE_WINDOWS, BAG_WINDOWS, BAG_WINDOWS]
        kind = self.c.pick(kinds)
        fitting = [w for w in kind if w[1] in (family, "")] if family else kind
        if self.is_inner:
            fitting = [w for w in fitting if w[1] not in ("near", "out")]
        if not fitting:
            return self.expression(scope, family, 1), family
        template, found = self.c.pick(fitting)
        text, found = self.called(template, found, scope, family)
        partition, total = self.partition(scope), self.keys(scope)
        if kind is PEER_WINDOWS:
            return self.over(text, f"{partition}ORDER BY {self.some_order(scope)}", ""), found
        if kind is ROW_WINDOWS:
            is_fill = template.startswith("fill")
            if is_fill and ("," in total or not total.endswith("id")):  # it reads its one key as a number
                return self.expression(scope, found, 1), found
            lead = "" if is_fill else self.c.pick(["", f"{self.some_order(scope)}, "])
            return self.over(text, f"{partition}ORDER BY {lead}{total}", ""), found
        if self.c.chance(20) and " ORDER BY " not in text:
            text += f" FILTER (WHERE {self.expression(scope, 'bool', 1)})" if kind is BAG_WINDOWS else ""
        if kind is VALUE_WINDOWS or self.c.chance(30):
            lead = self.c.pick(["", f"{self.some_order(scope)}, "])
            return self.over(text, f"{partition}ORDER BY {lead}{total}", self.frame(self.c.pick(["ROWS", "GROUPS", ""]))), found
        if self.c.chance(25):
            return self.over(text, partition, ""), found
        if self.c.chance(50):
            order_family = self.c.pick(list(OFFSETS))
            order = f"{self.expression(scope, order_family, self.c.pick([0, 0, 1]))}{self.direction()}"
            return self.over(text, f"{partition}ORDER BY {order}", self.frame("RANGE", OFFSETS[order_family])), found
        return self.over(text, f"{partition}ORDER BY {self.some_order(scope)}", self.frame(self.c.pick(["GROUPS", ""]))), found

    def called(self, template: str, found: str, scope: list[Column], family: str) -> tuple[str, str]:
        """A call by its template, and the family of its result."""
        if "{any}" in template:
            any_family = family if found == "" and family else self.c.pick(self.families)
            value = self.expression(scope, any_family, 1)
            ordered = f"({value} IS NULL)" if value in self.literals[any_family] else value
            template = template.replace("ORDER BY {any}", f"ORDER BY {ordered}").replace("{any}", value)
            found = found or any_family
        return self.fill(template, scope, 1), found

    def over(self, text: str, order: str, frame: str) -> str:
        """The call with its window, which may stand in the WINDOW clause."""
        if len(self.windows) < 2 and self.c.chance(15):
            name = f"v{len(self.windows)}"
            if frame and self.c.chance(50):
                self.windows.append((name, order))
                return f"{text} OVER ({name} {frame})"
            self.windows.append((name, f"{order} {frame}".strip()))
            return f"{text} OVER {name}"
        return f"{text} OVER ({f'{order} {frame}'.strip()})"

    def some_order(self, scope: list[Column]) -> str:
        keys = [self.varying(scope, self.c.pick([0, 0, 1])) for _ in range(1 + self.c.number(2))]
        return ", ".join(f"{k}{self.direction()}" for k in keys)

    def frame(self, unit: str, offsets: Sequence[str] = ("1", "2", "0", "5")) -> str:
        """A frame whose start is not after its end by its words."""
        if not unit or not self.c.chance(80):
            return ""
        places = ["UNBOUNDED PRECEDING", "PRECEDING", "CURRENT ROW", "FOLLOWING", "UNBOUNDED FOLLOWING"]
        low = self.c.number(4)
        high = max(1, low) + self.c.number(5 - max(1, low))
        low_text, high_text = (
            f"{self.c.pick(list(offsets))} {places[i]}" if places[i] in ("PRECEDING", "FOLLOWING") else places[i]
            for i in (low, high)
        )
        exclude = self.c.pick(["", "", "", " EXCLUDE CURRENT ROW", " EXCLUDE GROUP", " EXCLUDE TIES", " EXCLUDE NO OTHERS"])
        return f"{unit} BETWEEN {low_text} AND {high_text}{exclude}"

    def grouped(self, source: str, scope: list[Column], families: list[str] | None) -> tuple[str, list[str]]:
        if self.c.chance(65):
            return super().grouped(source, scope, families)
        groups = [
            self.c.pick([t for t, f in scope if f in self.families] or ["1 + 1"])
            if self.c.chance(80)
            else self.varying(scope, 1)
            for _ in range(1 + self.c.number(3))
        ]
        known = dict(scope)
        items, found = [], []
        for i in range(len(families) if families else 1 + self.c.number(4)):
            family = families[i] if families else ""
            fitting = [g for g in groups if known.get(g) == (family or known.get(g)) and g in known]
            if fitting and self.c.chance(50):
                text = self.c.pick(fitting)
                family = known[text]
            elif family in ("", "int") and self.c.chance(30):
                text, family = f"grouping({', '.join(self.c.pick(groups) for _ in range(1 + self.c.number(2)))})", "int"
            else:
                text, family = self.aggregate(scope, family)
            items.append(f"{text} AS c{i}")
            found.append(family)
        listed = ", ".join(groups)
        by = self.c.pick(
            [
                f"ROLLUP ({listed})",
                f"CUBE ({listed})",
                f"GROUPING SETS (({listed}), ({groups[0]}), ())",
                f"GROUPING SETS (({listed}), ({listed}), ({groups[-1]}))",
                f"GROUPING SETS (ROLLUP ({listed}), ())",
                f"{groups[0]}, ROLLUP ({listed})",
            ]
        )
        having = (
            f" HAVING {self.c.pick(['count(*) > 1', 'sum(1) < 5', f'grouping({groups[0]}) = 0'])}" if self.c.chance(20) else ""
        )
        return f"SELECT {', '.join(items)} FROM {source} GROUP BY {by}{having}", found

    def aggregate(self, scope: list[Column], family: str) -> tuple[str, str]:
        fitting = [a for a in (*ALL_AGGREGATES, *DISTINCT_AGGREGATES) if a[1] == family or (not family)]
        if self.is_inner:
            fitting = [a for a in fitting if a[1] not in ("near", "out")]
        if not fitting or (family and self.c.chance(30)):
            return f"{self.c.pick(['min', 'max'])}({self.expression(scope, family, 1)})", family
        template, found = self.c.pick(fitting)
        if "{same}" in template:
            start = template.index("DISTINCT ") + len("DISTINCT ")
            end = template.index("}", start) + 1
            value = self.fill(template[start:end], scope, 1)
            value = f"coalesce({value}, {value})" if value in self.literals["text"] else value
            text = template[:start] + value + template[end:].replace("{same}", value)
        else:
            text, found = self.called(template, found, scope, family)
        if self.c.chance(15):
            text += f" FILTER (WHERE {self.expression(scope, 'bool', 1)})"
        return text, found

    def source(self, depth: int) -> tuple[str, list[Column]]:
        if self.c.chance(15):
            return self.c.pick([sources.named_join, sources.asof_join, sources.positional_join])(self)
        text, scope = super().source(depth)
        if depth > 0 and self.c.chance(10):
            kind, columns = sources.lateral_join(self, scope)
            return f"{text}{'' if kind.startswith(',') else ' '}{kind}", scope + columns
        if self.c.chance(8):
            right, columns = self.relation(0, small=True)
            return f"{text} FULL JOIN {right} ON {self.join_condition(scope, columns)}", scope + columns
        return text, scope

    def relation(self, depth: int, small: bool = False) -> tuple[str, list[Column]]:
        self.aliases += 1
        alias = f"t{self.aliases}"
        if self.ctes and self.c.chance(40):
            name = self.c.pick(sorted(self.ctes))
            return f"{name} {alias}", [(f"{alias}.c{i}", f) for i, f in enumerate(self.ctes[name])]
        if depth > 0 and self.c.chance(20):
            text, families = self.inner_select(depth - 1)
            return f"({text}) {alias}", [(f"{alias}.c{i}", f) for i, f in enumerate(families)]
        if depth > 0 and self.c.chance(15):
            self.is_inner += 1
            found = sources.relation(self, alias, depth)
            self.is_inner -= 1
            return found
        name = self.c.pick(SMALL_TABLES if small else TABLES)
        return f"{name} {alias}", [(f"{alias}.{n}", f) for n, f in self.columns.items()]

    def correlation(self, scope: list[Column], inner: list[Column]) -> str:
        """A condition between the rows of a subquery and those around it."""
        shared = sorted({f for _, f in scope} & {f for _, f in inner} & set(self.families))
        family = self.c.pick(shared) if shared else "int"
        mine, theirs = self.column(scope, family), self.expression(inner, family, self.c.pick([0, 0, 1]))
        text = f"{theirs} {self.c.pick(['=', '=', '=', '<', '>=', '<>', 'IS NOT DISTINCT FROM'])} {mine}"
        if self.c.chance(25):
            text = f"({text} {self.c.pick(['AND', 'OR'])} {self.expression(scope + inner, 'bool', 1)})"
        return text

    def subquery_test(self, scope: list[Column]) -> str:
        if self.c.chance(40):
            return super().subquery_test([(t, f) for t, f in scope if f in self.families] or [("1", "int")])
        self.aliases += 1
        alias = f"t{self.aliases}"
        inner: list[Column] = [(f"{alias}.{n}", f) for n, f in self.columns.items()]
        source = f"FROM {self.c.pick(('mid', 'tiny', 'none', 'one'))} {alias}"
        where = self.correlation(scope, inner)
        if self.aliases < 12 and self.c.chance(15):
            where += f" {self.c.pick(['AND', 'OR'])} {self.subquery_test(scope + inner)}"
        family = self.c.pick(self.families)
        mine = self.expression(scope, family, self.c.pick([0, 0, 1]))
        theirs = self.expression(scope + inner if self.c.chance(20) else inner, family, self.c.pick([0, 0, 1]))
        match self.c.number(6):
            case 0:
                return f"{self.c.pick(['EXISTS', 'NOT EXISTS'])} (SELECT 1 {source} WHERE {where})"
            case 1:
                return f"{mine} {self.c.pick(['IN', 'NOT IN'])} (SELECT {theirs} {source} WHERE {where})"
            case 2:
                word = self.c.pick(["= ANY", "<> ALL", "< ANY", ">= ALL", "> ANY", "<> ANY", "= ALL"])
                return f"{mine} {word} (SELECT {theirs} {source}{f' WHERE {where}' if self.c.chance(60) else ''})"
            case 3:
                limit = f"ORDER BY {self.some_order(inner)}, {alias}.id LIMIT 1"
                return f"{mine} {self.comparison()} (SELECT {theirs} {source} WHERE {where} {limit})"
            case 4:
                values = f"ARRAY(SELECT {theirs} {source} WHERE {where} ORDER BY {alias}.id)"
                return f"len({values}) {self.comparison()} {self.expression(scope, 'int', 0)}"
        self.is_inner += 1
        text, found = self.aggregate(inner, family)
        self.is_inner -= 1
        return f"(SELECT {text} {source} WHERE {where}) {self.comparison()} {self.expression(scope, found, 0)}"

    def join_condition(self, left: list[Column], right: list[Column]) -> str:
        ours, theirs = ([(t, f) for t, f in side if f in self.families] for side in (left, right))
        return super().join_condition(ours, theirs)

    def expression(self, scope: list[Column], family: str, depth: int, subqueries: int = 0) -> str:
        if family == "map" and depth <= 0:
            return self.column(scope, family)
        if subqueries > 1 and self.c.chance(4):
            self.aliases += 1
            alias = f"t{self.aliases}"
            inner: list[Column] = [(f"{alias}.{n}", f) for n, f in self.columns.items()]
            source = f"FROM {self.c.pick(('mid', 'tiny', 'none', 'one'))} {alias}"
            where = self.correlation([c for c in scope if c[1] in self.families], inner)
            if self.c.chance(50):
                return (
                    f"(SELECT {self.expression(scope + inner, family, 1)} {source} WHERE {where} ORDER BY {alias}.id LIMIT 1)"
                )
            self.is_inner += 1
            text, _ = self.aggregate(inner, family)
            self.is_inner -= 1
            return f"(SELECT {text} {source} WHERE {where})"
        return super().expression(scope, family, depth, subqueries)

    def hole(self, name: str, scope: list[Column], depth: int) -> str:
        match name:
            case "sm":
                return (
                    f"TRY_CAST({self.expression(scope, 'int', depth)} AS INTEGER)"
                    if self.c.chance(60)
                    else self.hole("icol", scope, depth)
                )
            case "icol":
                fitting = [t for t, f in scope if f == "int" and t.split(".")[-1] in SMALL_COLUMNS]
                return f"CAST({self.c.pick(fitting)} AS INTEGER)" if fitting else self.c.pick(["7", "1", "CAST(3 AS INTEGER)"])
            case "fcol":
                return f"({self.column(scope, 'flt')})"
            case "keys":
                return self.keys(scope)
            case "dir":
                return self.direction()
            case "few":
                return self.c.pick(["1", "2", "3"])
        return super().hole(name, scope, depth)
