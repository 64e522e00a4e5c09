"""SQL types and the Arrow types that carry them.

A column has two types. Its SQL type is DuckDB's (`DECIMAL(15,2)`, `TIMESTAMP WITH TIME ZONE`). Its Arrow type is how the
values lie in memory: *outside* (`arrow_type`) exactly what DuckDB returns by default; *inside* agents (`inner_arrow_type`)
what is cheap to compute on: DECIMAL up to 9 digits in 32 bits, up to 18 in 64, strings with 64-bit offsets. A `Lane` names
the physical form that kernels see.
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass, replace

import pyarrow as pa

from sabot_sql.errors import NotSupported


class Lane(enum.Enum):
    """The physical form of a column inside kernels; a kernel is specialised by lane only."""

    INT = "int"  # one int64 word: BOOLEAN, integers, DATE, TIME, TIMESTAMP, DECIMAL up to 18 digits
    UINT = "uint"  # one uint64 word: UBIGINT
    FLOAT = "float"  # one float64 word: FLOAT, DOUBLE
    WIDE = "wide"  # two words, low uint64 and high int64: HUGEINT, DECIMAL above 18 digits
    BYTES = "bytes"  # int64 offsets and bytes: VARCHAR, BLOB, UUID


@dataclass(frozen=True, slots=True)
class SqlType:
    """A DuckDB type: `id` is its name; DECIMAL has width and scale; nested types have children (STRUCT: with names)."""

    id: str
    width: int = 0
    scale: int = 0
    children: tuple[SqlType, ...] = ()
    names: tuple[str, ...] = ()
    size: int = 0

    def __str__(self) -> str:
        match self.id:
            case "DECIMAL":
                return f"DECIMAL({self.width},{self.scale})"
            case "LIST":
                return f"{self.children[0]}[]"
            case "ARRAY":
                return f"{self.children[0]}[{self.size}]"
            case "STRUCT" | "UNION" if self.children:
                members = ", ".join(f"{shown_identifier(n)} {c}" for n, c in zip(self.names, self.children))
                return f"{self.id}({members})"
            case "MAP":
                return f"MAP({self.children[0]}, {self.children[1]})"
            case "TUPLE" if self.children:
                return f"TUPLE({', '.join(map(str, self.children))})"
            case "ENUM":
                return "ENUM(" + ", ".join("'" + n.replace("'", "''") + "'" for n in self.names) + ")"
        return self.id

    @property
    def lane(self) -> Lane | None:
        """How kernels see a column of this type; None where no kernel does."""
        if self.id == "DECIMAL":
            return Lane.INT if self.width <= 18 else Lane.WIDE
        return LANES.get(self.id)

    @property
    def settled(self) -> SqlType:
        """The type with INTEGER in place of NULL, as a table would have it."""
        if self.id == "NULL":
            return INTEGER
        return replace(self, children=tuple(c.settled for c in self.children)) if self.children else self

    @property
    def is_integer(self) -> bool:
        """Whether the type is one of DuckDB's integers, signed or not, of any width."""
        return self.id in INTEGER_IDS


def quote_identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def shown_identifier(name: str) -> str:
    """`name` as a SQL identifier, quoted where DuckDB quotes it in the names of types."""
    keywords = _keywords()
    is_bare = keywords is not None and BARE.fullmatch(name) and name.lower() not in keywords
    return name if is_bare else quote_identifier(name)


@functools.cache
def _keywords() -> frozenset[str] | None:
    """DuckDB's keywords; None where it is not installed, as with a client."""
    try:
        import duckdb
    except ModuleNotFoundError:
        return None
    with duckdb.connect() as con:
        return frozenset(row[0] for row in con.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall())


BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

BOOLEAN = SqlType("BOOLEAN")
INTEGER = SqlType("INTEGER")
BIGINT = SqlType("BIGINT")
UBIGINT = SqlType("UBIGINT")
HUGEINT = SqlType("HUGEINT")
DOUBLE = SqlType("DOUBLE")
VARCHAR = SqlType("VARCHAR")

INTEGER_IDS = frozenset(
    ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
)

LANES: dict[str, Lane] = {
    **dict.fromkeys(
        (
            "BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER DATE TIME TIME_NS "
            "TIMESTAMP TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS"
        ).split(),
        Lane.INT,
    ),
    "TIMESTAMP WITH TIME ZONE": Lane.INT,
    "UBIGINT": Lane.UINT,
    "FLOAT": Lane.FLOAT,
    "DOUBLE": Lane.FLOAT,
    "HUGEINT": Lane.WIDE,
    "VARCHAR": Lane.BYTES,
    "JSON": Lane.BYTES,
    "BLOB": Lane.BYTES,
    "UUID": Lane.BYTES,
}

SCALARS: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(),
    "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(),
    "HUGEINT": pa.decimal128(38, 0),
    "UHUGEINT": pa.decimal128(38, 0),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIME_NS": pa.time64("ns"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP_S": pa.timestamp("s"),
    "TIMESTAMP_MS": pa.timestamp("ms"),
    "TIMESTAMP_NS": pa.timestamp("ns"),
    "INTERVAL": pa.month_day_nano_interval(),
}

STRINGS = frozenset(("VARCHAR", "JSON", "UUID"))

ALIASES = {
    "INT": "INTEGER", "INT4": "INTEGER", "SIGNED": "INTEGER", "INT8": "BIGINT", "LONG": "BIGINT", "INT2": "SMALLINT",
    "SHORT": "SMALLINT", "INT1": "TINYINT", "TEXT": "VARCHAR", "STRING": "VARCHAR", "CHAR": "VARCHAR", "BPCHAR": "VARCHAR",
    "BOOL": "BOOLEAN", "LOGICAL": "BOOLEAN", "FLOAT8": "DOUBLE", "FLOAT4": "FLOAT", "REAL": "FLOAT", "BYTEA": "BLOB",
    "BINARY": "BLOB", "VARBINARY": "BLOB", "DATETIME": "TIMESTAMP", "TIMESTAMP_US": "TIMESTAMP",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE", "TIMETZ": "TIME WITH TIME ZONE", "NUMERIC": "DECIMAL", "DEC": "DECIMAL",
}  # fmt: skip


def arrow_type(sql_type: SqlType, timezone: str = "UTC") -> pa.DataType:
    """The Arrow type DuckDB returns for `sql_type` under its default settings.

    Raises:
        NotSupported: for a type that Arrow carries only as an opaque or lossy value (BIGNUM, BIT, VARIANT, ...).
    """
    return _arrow(sql_type, timezone, inner=False)


def inner_arrow_type(sql_type: SqlType, timezone: str = "UTC") -> pa.DataType:
    """The Arrow type of a column of `sql_type` between the operators of an agent (DuckDB's `arrow_output_version='1.5'`
    with `arrow_large_buffer_size=true`, except that binary stays offset based).

    Raises:
        NotSupported: as `arrow_type`.
    """
    return _arrow(sql_type, timezone, inner=True)


def _arrow(t: SqlType, timezone: str, inner: bool) -> pa.DataType:
    if t.id in SCALARS:
        return SCALARS[t.id]
    if t.id in STRINGS:
        return pa.large_string() if inner else pa.string()
    match t.id:
        case "BLOB":
            return pa.large_binary() if inner else pa.binary()
        case "TIMESTAMP WITH TIME ZONE":
            return pa.timestamp("us", tz=timezone)
        case "DECIMAL":
            if inner and t.width <= 9:
                return pa.decimal32(t.width, t.scale)
            if inner and t.width <= 18:
                return pa.decimal64(t.width, t.scale)
            return pa.decimal128(t.width, t.scale)
        case "LIST":
            child = pa.field("l", _arrow(t.children[0], timezone, inner))
            return pa.large_list(child) if inner else pa.list_(child)
        case "ARRAY":
            return pa.list_(pa.field("", _arrow(t.children[0], timezone, inner)), t.size)
        case "STRUCT":
            return pa.struct([(n, _arrow(c, timezone, inner)) for n, c in zip(t.names, t.children)])
        case "TUPLE":
            return pa.struct([(f"element{i}", _arrow(c, timezone, inner)) for i, c in enumerate(t.children, 1)])
        case "MAP" if inner or t.children[0].id != "NULL":  # pyarrow makes no type of a map without keys
            key, value = (_arrow(c, timezone, inner) for c in t.children)
            return pa.map_(key, value)
        case "NULL":
            return pa.int32() if inner else pa.null()
    raise NotSupported(f"columns of type {t} cannot be moved between agents")


@functools.lru_cache(maxsize=4096)
def parse_type(text: str) -> SqlType:
    """The type that DuckDB writes as `text` in DESCRIBE, typeof() and CAST.

    Example:
        >>> str(parse_type("STRUCT(a DECIMAL(15, 2), b VARCHAR[])"))
        'STRUCT(a DECIMAL(15,2), b VARCHAR[])'
    """
    parser = _TypeParser(text)
    found = parser.type()
    if parser.at < len(parser.text):
        raise ValueError(f"cannot read the type {text!r} after character {parser.at}")
    return found


class _TypeParser:
    """Recursive descent over one type text; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.at = 0

    def type(self) -> SqlType:
        found = self._base()
        while self._take("["):
            size = self._until("]")
            self._expect("]")
            found = SqlType("ARRAY", children=(found,), size=int(size)) if size else SqlType("LIST", children=(found,))
        return found

    def _base(self) -> SqlType:
        self._space()
        start = self.at
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "_ "):
            self.at += 1
        name = " ".join(self.text[start : self.at].upper().split())
        if not name and self.text[self.at : self.at + 6] == '"NULL"':  # the type of what is only NULL
            self.at += 6
            name = "NULL"
        name = ALIASES.get(name, name)
        match name:
            case "DECIMAL":
                if not self._take("("):
                    return SqlType("DECIMAL", 18, 3)
                width, _, scale = self._until(")").partition(",")
                self._expect(")")
                return SqlType("DECIMAL", int(width), int(scale or 0))
            case "STRUCT" if not self._take("(") or self._take(")"):
                return SqlType("STRUCT")
            case "STRUCT" | "UNION":
                if name == "UNION":
                    self._expect("(")
                names, children = self._fields()
                return SqlType(name, children=children, names=names)
            case "MAP":
                self._expect("(")
                key = self.type()
                self._expect(",")
                value = self.type()
                self._expect(")")
                return SqlType("MAP", children=(key, value))
            case "TUPLE":
                if not self._take("(") or self._take(")"):
                    return SqlType("TUPLE")
                members = [self.type()]
                while self._take(","):
                    members.append(self.type())
                self._expect(")")
                return SqlType("TUPLE", children=tuple(members))
            case "ENUM":
                self._expect("(")
                labels = [self._quoted("'")]
                while self._take(","):
                    labels.append(self._quoted("'"))
                self._expect(")")
                return SqlType("ENUM", names=tuple(labels))
        if not name:
            raise ValueError(f"cannot read the type {self.text!r} at character {self.at}")
        return SqlType(name)

    def _fields(self) -> tuple[tuple[str, ...], tuple[SqlType, ...]]:
        names, children = [], []
        while True:
            self._space()
            if self.at < len(self.text) and self.text[self.at] == '"':
                names.append(self._quoted('"'))
            else:
                start = self.at
                while self.at < len(self.text) and self.text[self.at] != " ":
                    self.at += 1
                names.append(self.text[start : self.at])
            children.append(self.type())
            if not self._take(","):
                break
        self._expect(")")
        return tuple(names), tuple(children)

    def _space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1

    def _take(self, char: str) -> bool:
        self._space()
        if self.text[self.at : self.at + 1] == char:
            self.at += 1
            return True
        return False

    def _expect(self, char: str) -> None:
        if not self._take(char):
            raise ValueError(f"cannot read the type {self.text!r}: expected {char!r} at character {self.at}")

    def _until(self, char: str) -> str:
        end = self.text.find(char, self.at)
        end = len(self.text) if end < 0 else end
        found, self.at = self.text[self.at : end].strip(), end
        return found

    def _quoted(self, quote: str) -> str:
        self._expect(quote)
        out: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == quote:
                if self.text[self.at : self.at + 1] != quote:
                    return "".join(out)
                self.at += 1
            out.append(char)
        raise ValueError(f"cannot read the type {self.text!r}: quote is not closed")


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed column."""

    name: str
    type: SqlType


Schema = tuple[Field, ...]


def inner_schema(schema: Schema, timezone: str = "UTC") -> pa.Schema:
    """The Arrow schema of batches of `schema` inside an agent. Columns are named by position (`c0`, `c1`, ...): SQL allows
    several columns of one name, plans refer to positions only."""
    return pa.schema([pa.field(f"c{i}", inner_arrow_type(f.type, timezone)) for i, f in enumerate(schema)])


def struct_members(array: pa.StructArray) -> list[pa.Array]:
    """The members of structs, NULL where the struct is NULL. A union has no NULLs of its own: it keeps what lies there.

    For `StructArray.flatten`, which ends the process where a member is a union.
    """
    kind = array.type
    fields = [kind.field(i) for i in range(kind.num_fields)]
    unions = [pa.types.is_union(field.type) for field in fields]
    if not any(unions):
        return list(array.flatten())
    members = [array.field(i) for i in range(len(fields))]
    others = [i for i, is_union in enumerate(unions) if not is_union]
    if others and array.null_count:
        masked = pa.StructArray.from_arrays(
            [members[i] for i in others], fields=[fields[i] for i in others], mask=array.is_null()
        )
        for i, member in zip(others, masked.flatten()):
            members[i] = member
    return members
