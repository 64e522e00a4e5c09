"""SQLAlchemy's expressions as DuckDB's SQL: PostgreSQL's compilers, and what DuckDB writes otherwise."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exc
from sqlalchemy import types as sa
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGIdentifierPreparer, PGTypeCompiler
from sqlalchemy.sql.elements import BinaryExpression, BindParameter

# DuckDB's reserved words and those that cannot be column names
RESERVED_WORDS = frozenset(
    "all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case cast check collate "
    "collation column concurrently constraint create cross default deferrable desc describe distinct do else end except "
    "false fetch for foreign freeze from full glob group having ilike in initially inner intersect into is isnull join "
    "lambda lateral leading left like limit natural not notnull null offset on only or order outer overlaps pivot "
    "pivot_longer pivot_wider placing positional primary qualify references returning right select semi show similar some "
    "summarize symmetric table tablesample then to trailing true try_cast union unique unpack unpivot user using variadic "
    "verbose when where window with".split()
)


class SabotCompiler(PGCompiler):
    """Statements."""

    def visit_floordiv_binary(self, binary: BinaryExpression[Any], operator: Any, **kw: Any) -> str:
        """`//` cuts off at zero here; what is subtracted first rounds down, as Python does, and integers stay exact."""
        if binary.type._type_affinity is not sa.Integer:
            return str(super().visit_floordiv_binary(binary, operator, **kw))
        left, right = self.process(binary.left, **kw), self.process(binary.right, **kw)
        return f"(({left} - ({left} % {right} + {right}) % {right}) // {right})"

    def visit_bitwise_xor_op_binary(self, binary: BinaryExpression[Any], operator: Any, **kw: Any) -> str:
        """There is no operator for it."""
        return f"xor({self.process(binary.left, **kw)}, {self.process(binary.right, **kw)})"

    def _regexp_match(self, base_op: str, binary: BinaryExpression[Any], operator: Any, kw: dict[str, Any]) -> str:
        matches = self._regexp_call("regexp_matches", binary, kw)
        return f"NOT {matches}" if base_op.startswith("!") else matches

    def visit_regexp_replace_op_binary(self, binary: BinaryExpression[Any], operator: Any, **kw: Any) -> str:
        return self._regexp_call("regexp_replace", binary, kw)

    def _regexp_call(self, function: str, binary: BinaryExpression[Any], kw: dict[str, Any]) -> str:
        flags = binary.modifiers.get("flags")
        more = "" if flags is None else ", " + self.render_literal_value(flags, sa.STRINGTYPE)
        return f"{function}({self.process(binary.left, **kw)}, {self.process(binary.right, **kw)}{more})"

    def visit_match_op_binary(self, binary: BinaryExpression[Any], operator: Any, **kw: Any) -> str:
        raise exc.CompileError("sabot-sql has no full text search; regexp_match() and ilike() there are")

    def visit_json_getitem_op_binary(
        self, binary: BinaryExpression[Any], operator: Any, _cast_applied: bool = False, **kw: Any
    ) -> str:
        """`->` for JSON; text is taken out by `->>` and cast for all else."""
        left, right = self.process(binary.left, **kw), self.process(binary.right, **kw)
        if binary.type._type_affinity is sa.JSON:
            return f"({left} -> {right})"
        if isinstance(binary.type, sa.String):
            return f"({left} ->> {right})"
        return f"CAST(({left} ->> {right}) AS {self.dialect.type_compiler_instance.process(binary.type)})"

    visit_json_path_getitem_op_binary = visit_json_getitem_op_binary

    def visit_slice(self, element: Any, **kw: Any) -> str:
        return f"{self.process(element.start, **kw)}:{self.process(element.stop, **kw)}"

    def visit_tablesample(self, tablesample: Any, asfrom: bool = False, **kw: Any) -> str:
        """A sample of so many per cent."""
        method = tablesample._get_method()
        source = tablesample.element._compiler_dispatch(self, asfrom=True, **kw)
        sizes = ", ".join(f"{self._constant(size, **kw)} PERCENT" for size in method.clauses)
        text = f"{source} TABLESAMPLE {method.name}({sizes})"
        seed = tablesample.seed
        return text if seed is None else f"{text} REPEATABLE ({self._constant(seed, **kw)})"

    def _constant(self, element: Any, **kw: Any) -> str:
        """What has to stand in the text, not among the parameters."""
        shown = element.render_literal_execute() if isinstance(element, BindParameter) else element
        return self.process(shown, **kw)

    def for_update_clause(self, select: Any, **kw: Any) -> str:
        raise exc.CompileError("sabot-sql only reads and holds no locks: with_for_update() is not possible")


class SabotTypeCompiler(PGTypeCompiler):
    """Types in CAST."""

    def visit_FLOAT(self, type_: Any, **kw: Any) -> str:
        """FLOAT is of 32 bits here, and SQLAlchemy's Float is a double."""
        return "REAL" if type_.precision and type_.precision <= 24 else "DOUBLE"

    def visit_double(self, type_: Any, **kw: Any) -> str:
        return "DOUBLE"

    visit_DOUBLE = visit_DOUBLE_PRECISION = visit_double

    def visit_large_binary(self, type_: Any, **kw: Any) -> str:
        return "BLOB"

    visit_BLOB = visit_BYTEA = visit_BINARY = visit_VARBINARY = visit_large_binary

    def visit_TIMESTAMP(self, type_: Any, **kw: Any) -> str:
        return "TIMESTAMP WITH TIME ZONE" if type_.timezone else "TIMESTAMP"

    visit_DATETIME = visit_datetime = visit_TIMESTAMP

    def visit_TIME(self, type_: Any, **kw: Any) -> str:
        return "TIME WITH TIME ZONE" if type_.timezone else "TIME"

    def visit_INTERVAL(self, type_: Any, **kw: Any) -> str:
        return "INTERVAL"

    def visit_JSONB(self, type_: Any, **kw: Any) -> str:
        return "JSON"

    def visit_user_defined(self, type_: Any, **kw: Any) -> str:
        return str(type_.get_col_spec(**kw))

    def _by_name(self, type_: Any, **kw: Any) -> str:
        return str(type_.__visit_name__)

    visit_TINYINT = visit_UTINYINT = visit_USMALLINT = visit_UINTEGER = visit_UBIGINT = visit_HUGEINT = visit_UHUGEINT = (
        _by_name
    )


class SabotIdentifierPreparer(PGIdentifierPreparer):
    """Names, which keep their case and are found in any."""

    reserved_words = RESERVED_WORDS  # type: ignore[assignment]
