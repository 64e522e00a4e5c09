"""Values of NumPy, pandas, polars and Arrow as Python's own, without importing any of these."""

from __future__ import annotations

from typing import Any

from sabot_sql.errors import QueryError

OWN = frozenset((type(None), bool, int, float, str, bytes))


def own_value(value: Any, name: str) -> Any:
    """`value` as Python has it: scalars unwrapped, arrays and series as lists, NaT and pandas' NA as None.

    Args:
        name: of the parameter, for messages.

    Raises:
        QueryError: INVALID_PARAMETER where Python has no such value (nanoseconds, years beyond 9999).

    Example:
        >>> import numpy
        >>> own_value([numpy.int64(1), numpy.array([1.5, 2])], "p")
        [1, [1.5, 2.0]]
    """
    kind = type(value)
    if kind in OWN:
        return value
    if kind is list or kind is tuple:
        return [own_value(item, name) for item in value]
    if kind is dict:
        return {key: own_value(item, name) for key, item in value.items()}
    match kind.__module__.partition(".")[0]:
        case "numpy":
            return _from_numpy(value, name)
        case "pandas":
            return _from_pandas(value, name)
        case "pyarrow":
            return value.as_py() if hasattr(value, "as_py") else _listed(value, "to_pylist", name)
        case "polars":
            return _listed(value, "to_list", name)
    return value


def is_series(value: Any) -> bool:
    """Whether `value` is an array or series of one of these libraries."""
    home = type(value).__module__.partition(".")[0]
    return (
        home in ("numpy", "pandas", "pyarrow", "polars") and hasattr(value, "__len__") and not isinstance(value, (str, bytes))
    )


def _listed(value: Any, method: str, name: str) -> Any:
    make = getattr(value, method, None)
    return value if make is None else own_value(make(), name)


def _from_numpy(value: Any, name: str) -> Any:
    if type(value).__name__ == "ndarray" and value.ndim:
        # datetimes one by one: tolist() gives their nanoseconds as integers
        return [own_value(item, name) for item in (value if value.dtype.kind in "mM" else value.tolist())]
    if value.dtype.kind in "mM":
        return _moment(value, name)
    found = value.item()
    return found if type(found).__module__ == "numpy" else own_value(found, name)


def _moment(value: Any, name: str) -> Any:
    """The date, datetime or timedelta that a datetime64 or timedelta64 is."""
    if str(value) == "NaT":
        return None
    found = value.item()
    if isinstance(found, int):
        exact = value.astype(f"{value.dtype.kind}8[us]")
        found = exact.item() if exact == value else None
    if found is None or isinstance(found, int):
        raise QueryError(
            f"parameter {name} is {value}, which Python's datetime cannot hold",
            code="INVALID_PARAMETER",
            hint="round it to microseconds, or pass it as text and cast it in the statement (TIMESTAMP_NS)",
        )
    return found


def _from_pandas(value: Any, name: str) -> Any:
    match type(value).__name__:
        case "NaTType" | "NAType":
            return None
        case "Timestamp" | "Timedelta":
            if value.nanosecond if hasattr(value, "nanosecond") else value.nanoseconds:
                return _moment(value.to_numpy(), name)
            return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value.to_pytimedelta()
    return _listed(value, "tolist", name)
