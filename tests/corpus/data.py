"""The corpus's tables: small, made anew in each run, with NULLs, NaN, infinities, negative zero, duplicates, skew, extreme
values, text outside ASCII, an empty table and a table of one row, over several files and row groups and three formats."""

from __future__ import annotations

import datetime as dt
import decimal
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tests.corpus.star import star_tables

SALES = pa.schema(
    [
        ("id", pa.int64()),
        ("day", pa.date32()),
        ("sold_at", pa.timestamp("us")),
        ("region", pa.string()),
        ("product", pa.int32()),
        ("qty", pa.int16()),
        ("price", pa.decimal128(12, 2)),
        ("cost", pa.decimal128(30, 4)),
        ("ratio", pa.float64()),
        ("score", pa.float32()),
        ("flag", pa.bool_()),
        ("note", pa.string()),
        ("big", pa.uint64()),
    ]
)
REGIONS = ["north", "south", "east", "west", "Zürich", "東京", ""]
RATIOS = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e-300, 1e300, 0.1, 2.5]
NOTES = ["", "a", "A", "ab%c", "under_score", "naïve café", "日本語", "x" * 40, "line\nbreak", "quote'd", "100% sure"]


# Names that need quotes: blanks, a quote, case, letters outside ASCII, a keyword, and what looks like a number or a wildcard.
ODD = pa.schema(
    [
        ("select", pa.int32()),
        ("a b", pa.string()),
        ('say "hi"', pa.int32()),
        ("Größe", pa.float64()),
        ("日付", pa.date32()),
        ("1st", pa.int64()),
        ("a.b", pa.string()),
        ("*", pa.int32()),
    ]
)
# Columns of nested types, and of plain ones that the other tables do not have.
KINDS = pa.schema(
    [
        ("id", pa.int32()),
        ("nums", pa.list_(pa.int32())),
        ("words", pa.list_(pa.string())),
        ("place", pa.struct([("city", pa.string()), ("pos", pa.struct([("x", pa.float64()), ("y", pa.float64())]))])),
        ("tags", pa.map_(pa.string(), pa.int32())),
        ("trips", pa.list_(pa.struct([("to", pa.string()), ("km", pa.int32())]))),
        ("at", pa.timestamp("us", tz="UTC")),
        ("clock", pa.time64("us")),
        ("raw", pa.binary()),
        ("tiny", pa.int8()),
        ("wide", pa.decimal128(38, 0)),
        ("ms", pa.timestamp("ms")),
        ("ns", pa.timestamp("ns")),
    ]
)


def make_tables(folder: Path, rows: int = 3000) -> dict[str, str]:
    """Write every table below `folder`; name -> path as `connect(data=...)` takes it."""
    rng = random.Random(20261121)
    sales = [_sale(rng, i) for i in range(rows)]
    _parquet(folder / "sales", SALES, sales, files=3, group=rows // 6)
    products = [_product(rng, i) for i in range(1, 201)]
    schema = pa.schema(
        [
            ("product", pa.int32()),
            ("name", pa.string()),
            ("category", pa.string()),
            ("weight", pa.float64()),
            ("launched", pa.date32()),
        ]
    )
    _parquet(folder / "products", schema, products, files=2, group=60)
    people = pa.table({
        "region": ["north", "south", "east", "Zürich", "東京", "nowhere"],
        "country": ["N", "S", "E", "CH", "JP", None],
        "people": [10, 2_000_000, None, 434_335, 13_960_000, 0],
    })  # fmt: skip
    pyarrow.csv.write_csv(people, folder / "regions.csv")
    lines = [f'{{"user": {i % 7}, "kind": "{"click" if i % 3 else "view"}", "ms": {i * 1.5}}}' for i in range(100)]
    (folder / "events.json").write_text("\n".join(lines))
    _parquet(
        folder / "nothing",
        pa.schema([("a", pa.int32()), ("b", pa.string()), ("c", pa.decimal128(10, 2))]),
        [],
        files=1,
        group=1,
    )
    _parquet(folder / "single", pa.schema([("x", pa.int32()), ("y", pa.string())]), [{"x": 7, "y": "only"}], files=1, group=1)
    _parquet(folder / "odd", ODD, [_odd(i) for i in range(12)], files=2, group=3)
    _parquet(folder / "kinds", KINDS, [_kind(random.Random(i), i) for i in range(60)], files=2, group=20)
    star = star_tables()
    for name, table in star.items():
        _parquet(folder / name, table.schema, table.to_pylist(), files=2, group=max(1, table.num_rows // 3))
    files = {"regions": "regions.csv", "events": "events.json"}
    names = ("sales", "products", "regions", "events", "nothing", "single", "odd", "kinds", *star)
    return {n: str(folder / files.get(n, n)) for n in names}


def _maybe(rng: random.Random, value: Any, share: float = 0.1) -> Any:
    return None if rng.random() < share else value


def _sale(rng: random.Random, i: int) -> dict[str, Any]:
    day = dt.date(2024, 1, 1) + dt.timedelta(days=rng.randrange(400))
    return {
        "id": i,
        "day": _maybe(rng, day, 0.05),
        "sold_at": _maybe(rng, dt.datetime(2024, 1, 1) + dt.timedelta(microseconds=rng.randrange(10**13)), 0.05),
        "region": _maybe(rng, REGIONS[min(rng.randrange(14), 6)]),
        "product": _maybe(rng, rng.randrange(1, 221), 0.03),
        "qty": _maybe(rng, rng.choice([0, 1, 2, 3, 5, 8, -1, 32767, -32768])),
        "price": _maybe(rng, decimal.Decimal(rng.randrange(-(10**6), 10**8)).scaleb(-2)),
        "cost": _maybe(rng, decimal.Decimal(rng.randrange(-(10**25), 10**25)).scaleb(-4)),
        "ratio": _maybe(rng, rng.choice(RATIOS) if rng.random() < 0.2 else rng.uniform(-100, 100)),
        "score": _maybe(rng, float(rng.randrange(-4, 5)) / 4),
        "flag": _maybe(rng, rng.random() < 0.3),
        "note": _maybe(rng, rng.choice(NOTES)),
        "big": _maybe(rng, rng.choice([0, 1, 2**63, 2**64 - 1, rng.randrange(2**64)])),
    }


def _product(rng: random.Random, i: int) -> dict[str, Any]:
    return {
        "product": _maybe(rng, i, 0.02),
        "name": f"product {i:03d}",
        "category": _maybe(rng, rng.choice(["tools", "food", "books", "ünïcode"])),
        "weight": _maybe(rng, round(rng.uniform(0, 50), 3)),
        "launched": _maybe(rng, dt.date(2020, 1, 1) + dt.timedelta(days=i * 7)),
    }


def _odd(i: int) -> dict[str, Any]:
    values = (
        i % 3,
        f"t{i % 4}" if i % 5 else None,
        i * i,
        i / 4 if i % 6 else None,
        dt.date(2024, 1, 1 + i),
        i << 40,
        f"x.{i}",
        -i,
    )
    return dict(zip(ODD.names, values))


def _kind(rng: random.Random, i: int) -> dict[str, Any]:
    words = [rng.choice(["red", "Grün", "青", "", "blue"]) for _ in range(rng.randrange(4))]
    trips = [{"to": rng.choice(["north", "south", "東京"]), "km": rng.randrange(90)} for _ in range(rng.randrange(3))]
    at = dt.datetime(2024, 3, 30, tzinfo=dt.UTC) + dt.timedelta(minutes=rng.randrange(4000))
    return {
        "id": i,
        "nums": _maybe(rng, [_maybe(rng, rng.randrange(9)) for _ in range(rng.randrange(5))]),
        "words": _maybe(rng, words),
        "place": _maybe(rng, {"city": rng.choice(["Zürich", "Oslo"]), "pos": _maybe(rng, {"x": i / 2, "y": -1.0 * (i % 4)})}),
        "tags": _maybe(rng, [(k, _maybe(rng, rng.randrange(5))) for k in ("a", "b", "ü")[: rng.randrange(4)]]),
        "trips": _maybe(rng, trips),
        "at": _maybe(rng, at),
        "clock": _maybe(rng, dt.time(rng.randrange(24), rng.randrange(60), rng.randrange(60), rng.randrange(10**6))),
        "raw": _maybe(rng, bytes(rng.randrange(256) for _ in range(rng.randrange(5)))),
        "tiny": _maybe(rng, rng.choice([-128, 127, 0, 5])),
        "wide": _maybe(rng, decimal.Decimal(rng.randrange(-(10**38) + 1, 10**38))),
        "ms": _maybe(rng, dt.datetime(2024, 1, 1) + dt.timedelta(milliseconds=rng.randrange(10**9))),
        "ns": _maybe(rng, dt.datetime(2024, 1, 1) + dt.timedelta(microseconds=rng.randrange(10**9))),
    }


def _parquet(folder: Path, schema: pa.Schema, rows: list[dict[str, Any]], files: int, group: int) -> None:
    folder.mkdir(parents=True)
    size = -(-len(rows) // files) if rows else 1
    for number in range(files):
        piece = pa.Table.from_pylist(rows[number * size : (number + 1) * size], schema=schema)
        pq.write_table(piece, folder / f"part-{number}.parquet", row_group_size=group)
