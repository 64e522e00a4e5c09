"""Random small tables of every common type: NULLs, NaN, infinities, extremes, duplicates, skew and text outside ASCII."""

from __future__ import annotations

import datetime as dt
import decimal
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

D = decimal.Decimal
TYPES: dict[str, pa.DataType] = {
    "k": pa.int32(),
    "i8": pa.int8(),
    "i16": pa.int16(),
    "i32": pa.int32(),
    "i64": pa.int64(),
    "u8": pa.uint8(),
    "u16": pa.uint16(),
    "u32": pa.uint32(),
    "u64": pa.uint64(),
    "d4": pa.decimal128(4, 1),
    "d15": pa.decimal128(15, 2),
    "d30": pa.decimal128(30, 4),
    "f32": pa.float32(),
    "f64": pa.float64(),
    "day": pa.date32(),
    "ts": pa.timestamp("us"),
    "tz": pa.timestamp("us", tz="UTC"),
    "tm": pa.time64("us"),
    "b": pa.bool_(),
    "s": pa.string(),
    "u": pa.string(),
}
# Columns that only the queries of every kind read: a number that no two rows share, and nested values.
MORE_TYPES: dict[str, pa.DataType] = {
    "id": pa.int64(),
    "l": pa.list_(pa.int32()),
    "ls": pa.list_(pa.string()),
    "st": pa.struct([("a", pa.int32()), ("b", pa.string())]),
    "m": pa.map_(pa.string(), pa.int32()),
}
# What an expression may do with a column; the names stand for families of SQL types.
FAMILIES = {
    **dict.fromkeys(("k", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"), "int"),
    **dict.fromkeys(("d4", "d15", "d30"), "dec"),
    **dict.fromkeys(("f32", "f64"), "flt"),
    "day": "date",
    "ts": "ts",
    "tz": "tz",
    "tm": "time",
    "b": "bool",
    "s": "text",
    "u": "text",
}
MORE_FAMILIES = {"id": "int", **FAMILIES, "l": "ints", "ls": "texts", "st": "rec", "m": "map"}
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "aB%",
    "a_b",
    "ß",
    "Zürich",
    "東京",
    "e\u0301",
    "é",
    "🦆x",
    "12",
    "-3",
    " 7 ",
    "1.5",
    "quote'd",
    "two\nlines",
]
TEXTS += ["x" * 300, "2024-02-29", "true", 'say "hi"', "\\", "NaN"]
EDGES: dict[str, list[Any]] = {
    "i8": [-128, 127],
    "i16": [-32768, 32767],
    "i32": [-(2**31), 2**31 - 1],
    "i64": [-(2**63), 2**63 - 1],
    "u8": [255],
    "u16": [65535],
    "u32": [2**32 - 1],
    "u64": [2**64 - 1, 2**63],
    "d4": [D("999.9"), D("-999.9")],
    "d15": [D("9999999999999.99"), D("-9999999999999.99")],
    "d30": [D("9" * 26 + ".9999"), D("-" + "9" * 26 + ".9999")],
    "f32": [float("nan"), float("inf"), -0.0, 1e30],
    "f64": [float("nan"), float("inf"), float("-inf"), -0.0, 1e200],
    "day": [dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(1969, 12, 31)],
    "ts": [dt.datetime(1, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 999999)],
    "tz": [dt.datetime(1900, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 3, 31, 1, 30, tzinfo=dt.UTC)],
    "tm": [dt.time(0), dt.time(23, 59, 59, 999999)],
}


def make_random_tables(folder: Path, seed: int, more: bool = False) -> dict[str, str]:
    """Write five tables below `folder`; name -> path as `connect(data=...)` takes it.

    `big` and `mid` have several files and row groups, `tiny` a few rows, `one` one and `none` no row. How many values are
    NULL and how many are extreme depends on the column.

    Args:
        more: with the columns of MORE_TYPES, too.
    """
    rng = random.Random(seed)
    shapes = {"big": (rng.randrange(400, 900), 3), "mid": (rng.randrange(30, 90), 2), "tiny": (rng.randrange(2, 9), 1)}
    shapes |= {"one": (1, 1), "none": (0, 1)}
    for name, (rows, files) in shapes.items():
        columns = [_column(rng, column, rows) for column in TYPES]
        table = pa.Table.from_arrays(columns, schema=pa.schema(list(TYPES.items())))
        if more:
            for column, kind in MORE_TYPES.items():
                table = table.append_column(column, _more(random.Random(f"{seed} {name} {column}"), column, kind, rows))
        path = folder / name
        path.mkdir(parents=True)
        size = -(-rows // files)
        for number in range(files):
            piece = table.slice(number * size, size)
            # Parquet's statistics leave NaN out; DuckDB takes them at their word, and answers by where it happens to look
            told = [c for c in TYPES if FAMILIES[c] != "flt"] + (["id"] if more else [])
            pq.write_table(piece, path / f"part-{number}.parquet", row_group_size=max(1, rows // 6), write_statistics=told)
    return {name: str(folder / name) for name in shapes}


def _column(rng: random.Random, name: str, rows: int) -> pa.Array:
    nulls = rng.choice([0.0, 0.1, 0.1, 0.5, 1.0 if rows < 10 else 0.2])
    edges = rng.choice([0.0, 0.0, 0.05])
    skewed = rng.random() < 0.3
    values: list[Any] = []
    for _ in range(rows):
        if rng.random() < nulls:
            values.append(None)
        elif skewed and values and rng.random() < 0.6:
            values.append(values[0])
        elif rng.random() < edges and name in EDGES:
            values.append(rng.choice(EDGES[name]))
        else:
            values.append(_value(rng, name))
    return pa.array(values, TYPES[name])


def _more(rng: random.Random, name: str, kind: pa.DataType, rows: int) -> pa.Array:
    if name == "id":
        return pa.array(range(rows), kind)
    nulls = rng.choice([0.0, 0.1, 0.3])
    return pa.array([None if rng.random() < nulls else _nested(rng, name) for _ in range(rows)], kind)


def _nested(rng: random.Random, name: str) -> Any:
    number = rng.choice([None, rng.randrange(-5, 20), rng.randrange(3)])
    match name:
        case "l":
            return [rng.choice([None, rng.randrange(-5, 20), 1, 2]) for _ in range(rng.randrange(5))]
        case "ls":
            return [rng.choice([None, *TEXTS[:9]]) for _ in range(rng.randrange(4))]
        case "st":
            return {"a": number, "b": rng.choice([None, *TEXTS[:9]])}
    keys = rng.sample(["a", "b", "", "Zürich"], rng.randrange(4))
    return [(key, rng.choice([None, 1, 2, 7])) for key in keys]


def _value(rng: random.Random, name: str) -> Any:
    match name:
        case "k":
            return rng.randrange(12)
        case "i8" | "i16" | "i32" | "i64":
            return rng.randrange(-20, 100)
        case "u8" | "u16" | "u32" | "u64":
            return rng.randrange(100)
        case "d4":
            return D(rng.randrange(-500, 500)).scaleb(-1)
        case "d15":
            return D(rng.randrange(-1000, 10**6)).scaleb(-2)
        case "d30":
            return D(rng.choice([rng.randrange(-100, 10**5), rng.randrange(10**20)])).scaleb(-4)
        case "f32" | "f64":
            return rng.randrange(-80, 800) / 8
        case "day":
            return dt.date(2024, 1, 1) + dt.timedelta(days=rng.randrange(-40, 400))
        case "ts" | "tz":
            moment = dt.datetime(2024, 1, 1) + dt.timedelta(seconds=rng.randrange(-(10**6), 3 * 10**7) // 3600 * 3600)
            return moment.replace(tzinfo=dt.UTC) if name == "tz" else moment
        case "tm":
            return dt.time(rng.randrange(24), rng.choice([0, 30]), 0, rng.choice([0, 1, 500000]))
        case "b":
            return rng.random() < 0.4
        case "s":
            return rng.choice(TEXTS)
    return f"{rng.randrange(20):08x}-0000-4000-8000-000000000000"
