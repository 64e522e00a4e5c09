"""A star schema in small: sales in stores and on the web, their returns, and the dates, items, stores and customers of them."""

from __future__ import annotations

import datetime as dt
import decimal
import random
from typing import Any

import pyarrow as pa

MONEY = pa.decimal128(7, 2)
FIRST_DAY = dt.date(1999, 1, 1)
NUM_DAYS = 3 * 365


def star_tables() -> dict[str, pa.Table]:
    """Every table by name."""
    rng = random.Random(1999)
    store = [_sale(rng, i, 0.03) for i in range(1500)]
    web = [_sale(rng, i, 0.02) for i in range(700)]
    sale = pa.schema(
        [
            ("ticket", pa.int64()),
            ("date_sk", pa.int32()),
            ("item_sk", pa.int32()),
            ("customer_sk", pa.int32()),
            ("store_sk", pa.int32()),
            ("quantity", pa.int32()),
            ("sales_price", MONEY),
            ("net_profit", MONEY),
        ]
    )
    returned = [
        {"ticket": s["ticket"], "item_sk": s["item_sk"], "date_sk": None if s["date_sk"] is None else s["date_sk"] + 9,
         "return_amt": s["sales_price"]}
        for s in store if s["ticket"] % 6 == 0
    ]  # fmt: skip
    returns = pa.schema([("ticket", pa.int64()), ("item_sk", pa.int32()), ("date_sk", pa.int32()), ("return_amt", MONEY)])
    return {
        "store_sales": pa.Table.from_pylist(store, schema=sale),
        "web_sales": pa.Table.from_pylist(web, schema=sale),
        "store_returns": pa.Table.from_pylist(returned, schema=returns),
        "date_dim": pa.Table.from_pylist([_day(i) for i in range(NUM_DAYS)], schema=DAY),
        "item": pa.Table.from_pylist([_item(rng, i) for i in range(1, 61)], schema=ITEM),
        "store": pa.Table.from_pylist([_store(i) for i in range(1, 7)], schema=STORE),
        "customer": pa.Table.from_pylist([_customer(rng, i) for i in range(1, 101)], schema=CUSTOMER),
    }


DAY = pa.schema(
    [
        ("date_sk", pa.int32()),
        ("d_date", pa.date32()),
        ("d_year", pa.int32()),
        ("d_moy", pa.int32()),
        ("d_qoy", pa.int32()),
        ("d_day_name", pa.string()),
        ("d_week_seq", pa.int32()),
    ]
)
ITEM = pa.schema(
    [
        ("item_sk", pa.int32()),
        ("i_item_id", pa.string()),
        ("i_brand", pa.string()),
        ("i_class", pa.string()),
        ("i_category", pa.string()),
        ("i_current_price", MONEY),
    ]
)
STORE = pa.schema([("store_sk", pa.int32()), ("s_name", pa.string()), ("s_state", pa.string()), ("s_county", pa.string())])
CUSTOMER = pa.schema(
    [
        ("customer_sk", pa.int32()),
        ("c_first", pa.string()),
        ("c_last", pa.string()),
        ("c_birth_year", pa.int32()),
        ("c_state", pa.string()),
        ("c_gender", pa.string()),
    ]
)


def _sale(rng: random.Random, i: int, nulls: float) -> dict[str, Any]:
    price = decimal.Decimal(rng.randrange(100, 20_000)).scaleb(-2)

    def known(value: int) -> int | None:
        return None if rng.random() < nulls else value

    return {
        "ticket": i // 3,
        "date_sk": known(rng.randrange(NUM_DAYS)),
        "item_sk": rng.randrange(1, 61),
        "customer_sk": known(rng.randrange(1, 111)),
        "store_sk": known(min(rng.randrange(1, 10), 6)),
        "quantity": known(rng.randrange(1, 100)),
        "sales_price": price,
        "net_profit": price - decimal.Decimal(rng.randrange(0, 15_000)).scaleb(-2),
    }


def _day(i: int) -> dict[str, Any]:
    day = FIRST_DAY + dt.timedelta(days=i)
    name = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[day.weekday()]
    quarter = (day.month + 2) // 3
    values = (i, day, day.year, day.month, quarter, name, (i + 4) // 7)
    return dict(zip(DAY.names, values))


def _item(rng: random.Random, i: int) -> dict[str, Any]:
    category = ("Books", "Music", "Home", None)[i % 4]
    price = decimal.Decimal(rng.randrange(100, 10_000)).scaleb(-2)
    values = (i, f"ITEM{i // 2:04d}", f"brand #{i % 7}", f"class {i % 5}", category, price if i % 11 else None)
    return dict(zip(ITEM.names, values))


def _store(i: int) -> dict[str, Any]:
    return dict(
        zip(
            STORE.names,
            (i, ("ought", "able", "ese", "anti", "cally", "ation")[i - 1], "TN" if i < 5 else "GA", f"county {i % 2}"),
        )
    )


def _customer(rng: random.Random, i: int) -> dict[str, Any]:
    first = rng.choice(["Ann", "Bob", "Zoë", "Łukasz", None])
    values = (i, first, f"Last{i % 17}", rng.choice([1950, 1960, 1975, None]), rng.choice(["TN", "GA", "CA"]), "MF"[i % 2])
    return dict(zip(CUSTOMER.names, values))
