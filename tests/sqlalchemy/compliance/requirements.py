"""What of SQLAlchemy's tests applies to a service that reads, and why the rest does not."""

from __future__ import annotations

from typing import Any

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

NO_CONSTRAINTS = (
    "primary_key_constraint_reflection", "reflects_pk_names", "foreign_key_constraint_reflection",
    "cross_schema_fk_reflection", "unique_constraint_reflection", "unique_constraints_reflect_as_index",
    "check_constraint_reflection", "inline_check_constraint_reflection", "duplicate_key_raises_integrity_error",
    "index_reflection", "index_ddl_if_exists", "comment_reflection", "identity_columns", "computed_columns",
)  # fmt: skip
WRITES = (
    "autoincrement_without_sequence", "empty_inserts", "insert_from_select", "insert_returning", "update_returning",
    "delete_returning", "implements_get_lastrowid", "emulated_lastrowid", "sane_rowcount", "sane_multi_rowcount",
    "sequences", "ctes_on_dml", "update_where_target_in_subquery", "server_defaults", "create_table_as",
    "create_temp_table_as", "supports_lastrowid",
)  # fmt: skip
NO_TEMPORARY_TABLES = (
    "has_temp_table", "temporary_tables", "temp_table_reflection", "temp_table_names", "temporary_views",
    "temp_table_comment_reflection", "temp_table_reflect_indexes",
)  # fmt: skip
NO_TRANSACTIONS = ("savepoints", "two_phase_transactions", "independent_connections")
OTHERWISE_IN_DUCKDB = {
    "fetch_percent": "a share of the rows is written LIMIT 10 PERCENT",
    "fetch_ties": "WITH TIES is not there",
    "time_timezone": "TIME WITH TIME ZONE has an offset that Arrow drops",
    "cast_precision_numerics_many_significant_digits": "a DECIMAL has at most 38 digits, a quotient is a double",
    "precision_numerics_enotation_large": "a DECIMAL has at most 38 digits",
    "numeric_received_as_decimal_untyped": "a quotient is a double",
    "view_reflection": "views have no text here",
    "window_range": "rows without ORDER BY come in another order",
    "window_range_numeric": "rows without ORDER BY come in another order",
}
HERE = (
    "schemas", "views", "view_column_reflection", "schema_reflection", "table_reflection", "ctes", "ctes_with_values",
    "window_functions", "window_range_non_numeric", "intersect", "except_", "tuple_in", "tuple_in_w_empty", "array_type",
    "json_type", "json_array_indexes", "uuid_data_type", "datetime_timezone", "datetime_microseconds",
    "timestamp_microseconds", "datetime_historic", "date_historic", "datetime_interval", "datetime_literals",
    "binary_literals", "regexp_match", "regexp_replace", "supports_distinct_on", "supports_is_distinct_from",
    "supports_bitwise_and", "supports_bitwise_or", "supports_bitwise_not", "supports_bitwise_xor", "supports_bitwise_shift",
    "fetch_first", "fetch_no_order_by", "fetch_expression", "table_value_constructor", "infinity_floats",
    "aggregate_order_by", "nullsordering", "order_by_col_from_union", "parens_in_union_contained_select_w_limit_offset",
    "unicode_ddl", "parens_in_union_contained_select_wo_limit_offset", "group_by_complex_expression",
    "precision_numerics_general", "precision_numerics_enotation_small", "precision_numerics_many_significant_digits",
    "float_is_numeric", "like_escapes", "precision_numerics_retains_significant_digits",
    "standalone_null_binds_whereclause", "get_isolation_level_values",
)  # fmt: skip


class Requirements(SuiteRequirements):
    """Every property that is named above, opened or closed with its reason."""


def _settle(names: Any, make: Any) -> None:
    for name in names:
        assert hasattr(SuiteRequirements, name), name
        setattr(Requirements, name, property(lambda self, make=make: make()))


_settle(NO_CONSTRAINTS, lambda: exclusions.closed("tables have no constraints, keys, indexes, comments or generated columns"))
_settle(WRITES, lambda: exclusions.closed("the service only reads"))
_settle(NO_TEMPORARY_TABLES, lambda: exclusions.closed("there are no temporary tables"))
_settle(NO_TRANSACTIONS, lambda: exclusions.closed("every statement stands for itself"))
for _name, _reason in OTHERWISE_IN_DUCKDB.items():
    _settle([_name], lambda reason=_reason: exclusions.closed(reason))
_settle(HERE, exclusions.open)
