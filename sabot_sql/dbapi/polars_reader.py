"""`polars.read_database` over Arrow instead of rows."""

from __future__ import annotations

import sys

REGISTRY = "polars.io.database._arrow_registry"
READER = {
    "fetch_all": "fetch_arrow_table",
    "fetch_batches": "fetch_record_batch",
    "exact_batch_size": True,
    "repeat_batch_calls": False,
    "minimum_version": None,
}


def offer_arrow_to_polars() -> None:
    """Enters our cursors in the list of drivers that Polars reads Arrow from, where a Polars with such a list is loaded.

    The list is not of Polars' public interface. Without an entry `read_database` takes rows and the SQL types of
    `cursor.description`, which gives the same frame more slowly.
    """
    drivers = getattr(sys.modules.get(REGISTRY), "ARROW_DRIVER_REGISTRY", None)
    if isinstance(drivers, dict):
        drivers.setdefault("sabot_sql", [dict(READER)])
