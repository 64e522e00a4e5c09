"""TPC-H's tables as the catalog would describe them at scale factor 0.1: schemas, statistics and splits, without data."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from sabot_sql.catalog.table import ColumnStatistics, DataFile, ScanSpec, Table, TableStatistics
from sabot_sql.types import Field, parse_type

DATES = (dt.date(1992, 1, 1), dt.date(1998, 12, 1))

# name: rows, files, columns with their type and, where known, smallest and largest value
TABLES: dict[str, tuple[int, int, dict[str, tuple[str, Any, Any]]]] = {
    "region": (5, 1, {
        "r_regionkey": ("BIGINT", 0, 4), "r_name": ("VARCHAR", None, None), "r_comment": ("VARCHAR", None, None)}),
    "nation": (25, 1, {
        "n_nationkey": ("BIGINT", 0, 24), "n_name": ("VARCHAR", None, None), "n_regionkey": ("BIGINT", 0, 4),
        "n_comment": ("VARCHAR", None, None)}),
    "supplier": (1000, 2, {
        "s_suppkey": ("BIGINT", 1, 1000), "s_name": ("VARCHAR", None, None), "s_address": ("VARCHAR", None, None),
        "s_nationkey": ("BIGINT", 0, 24), "s_phone": ("VARCHAR", None, None),
        "s_acctbal": ("DECIMAL(15,2)", Decimal(-999), Decimal(9999)),
        "s_comment": ("VARCHAR", None, None)}),
    "customer": (15000, 2, {
        "c_custkey": ("BIGINT", 1, 15000), "c_name": ("VARCHAR", None, None), "c_address": ("VARCHAR", None, None),
        "c_nationkey": ("BIGINT", 0, 24), "c_phone": ("VARCHAR", None, None),
        "c_acctbal": ("DECIMAL(15,2)", Decimal(-999), Decimal(9999)),
        "c_mktsegment": ("VARCHAR", None, None), "c_comment": ("VARCHAR", None, None)}),
    "part": (20000, 2, {
        "p_partkey": ("BIGINT", 1, 20000), "p_name": ("VARCHAR", None, None), "p_mfgr": ("VARCHAR", None, None),
        "p_brand": ("VARCHAR", None, None), "p_type": ("VARCHAR", None, None), "p_size": ("INTEGER", 1, 50),
        "p_container": ("VARCHAR", None, None), "p_retailprice": ("DECIMAL(15,2)", Decimal(900), Decimal(2000)),
        "p_comment": ("VARCHAR", None, None)}),
    "partsupp": (80000, 2, {
        "ps_partkey": ("BIGINT", 1, 20000), "ps_suppkey": ("BIGINT", 1, 1000), "ps_availqty": ("INTEGER", 1, 9999),
        "ps_supplycost": ("DECIMAL(15,2)", Decimal(1), Decimal(1000)), "ps_comment": ("VARCHAR", None, None)}),
    "orders": (150000, 2, {
        "o_orderkey": ("BIGINT", 1, 600000), "o_custkey": ("BIGINT", 1, 14999), "o_orderstatus": ("VARCHAR", None, None),
        "o_totalprice": ("DECIMAL(15,2)", Decimal(850), Decimal(480000)), "o_orderdate": ("DATE", *DATES),
        "o_orderpriority": ("VARCHAR", None, None), "o_clerk": ("VARCHAR", None, None), "o_shippriority": ("INTEGER", 0, 0),
        "o_comment": ("VARCHAR", None, None)}),
    "lineitem": (600572, 2, {
        "l_orderkey": ("BIGINT", 1, 600000), "l_partkey": ("BIGINT", 1, 20000), "l_suppkey": ("BIGINT", 1, 1000),
        "l_linenumber": ("INTEGER", 1, 7), "l_quantity": ("DECIMAL(15,2)", Decimal(1), Decimal(50)),
        "l_extendedprice": ("DECIMAL(15,2)", Decimal(900), Decimal(105000)),
        "l_discount": ("DECIMAL(15,2)", Decimal(0), Decimal("0.1")),
        "l_tax": ("DECIMAL(15,2)", Decimal(0), Decimal("0.08")), "l_returnflag": ("VARCHAR", None, None),
        "l_linestatus": ("VARCHAR", None, None), "l_shipdate": ("DATE", *DATES), "l_commitdate": ("DATE", *DATES),
        "l_receiptdate": ("DATE", *DATES), "l_shipinstruct": ("VARCHAR", None, None), "l_shipmode": ("VARCHAR", None, None),
        "l_comment": ("VARCHAR", None, None)}),
}  # fmt: skip


def tpch_tables() -> dict[str, Table]:
    """Every table by name."""
    found = {}
    for name, (rows, count, columns) in TABLES.items():
        each = -(-rows // count)
        files = tuple(
            DataFile(f"/data/{name}/part-{i}.parquet", each * 40, 1, min(each, rows - i * each), (min(each, rows - i * each),))
            for i in range(count)
        )
        schema = tuple(Field(c, parse_type(t)) for c, (t, _, _) in columns.items())
        statistics = {c: ColumnStatistics(low, high, 0, None, True) for c, (_, low, high) in columns.items()}
        spec = ScanSpec("parquet", schema, files)
        found[name] = Table(name, spec, TableStatistics(rows, rows * 40, "exact", statistics), 1)
    return found
