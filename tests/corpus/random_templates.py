"""What the queries of every kind are made of beside the expressions of random_selects: nested values, aggregates, windows.

Only what has one answer stands here. Left out are approx_quantile, reservoir_quantile and approx_top_k, which depend on the
order of rows; first, list, string_agg and mode stand with an ORDER BY, arg_min and arg_max with a second argument without ties.
"""

from __future__ import annotations

from tests.corpus.random_selects import AGGREGATES, LITERALS, TEMPLATES, _listed

# {sm} is an INTEGER, {icol} a column of small whole numbers, {keys} columns that no two rows share, {dir} a direction.
MORE_TEMPLATES = {
    "ints": _listed(
        r"""
        [{sm}, {sm}]  [{icol}, 1, NULL]  list_transform({ints}, lambda x: x + 1)  list_filter({ints}, lambda x: x > {sm})
        [x * 2 for x in {ints} if x IS NOT NULL]  list_transform({ints}, lambda x, i: x - i + {sm})  list_sort({ints})
        list_reverse({ints})  list_sort(list_distinct({ints}))  list_concat({ints}, {ints})  {ints}[1:2]  {ints}[2:]
        coalesce({ints}, {ints})  CASE WHEN {bool} THEN {ints} ELSE {ints} END  CASE WHEN {bool} THEN {ints} END
        list_append({ints}, {sm})  list_prepend({sm}, {ints})  flatten([{ints}, {ints}])  map_values({map})
        list_reverse_sort({ints}, 'NULLS LAST')  range(3)  nullif({ints}, {ints})
        list_transform({texts}, lambda s: length(s))  list_sort(list_intersect({ints}, {ints}))
        list_filter({ints}, lambda x: x IN ({sm}, 1))  greatest({ints}, {ints})  generate_series(1, abs({small}), 3)
        CAST(list_transform([{ints}, {ints}], lambda y: list_sum(list_transform(y, lambda z: z + {sm}))) AS INTEGER[])
        """
    ),
    "texts": _listed(
        r"""
        [{text}, {text}]  string_split({text}, 'a')  list_transform({ints}, lambda x: x::VARCHAR)  map_keys({map})
        list_sort({texts})  list_filter({texts}, lambda s: s LIKE {pattern})  list_concat({texts}, {texts})
        list_transform({texts}, lambda s, i: s || i || {text})  coalesce({texts}, {texts})  {texts}[:2]
        CASE WHEN {bool} THEN {texts} ELSE {texts} END  list_sort(list_distinct({texts}))  [s for s in {texts} if s > {text}]
        """
    ),
    "rec": _listed(
        r"""
        struct_pack(a := {sm}, b := {text})  CASE WHEN {bool} THEN {rec} ELSE {rec} END  coalesce({rec}, {rec})
        CASE WHEN {bool} THEN {rec} END  struct_pack(a := {icol}, b := {text})  nullif({rec}, {rec})
        [{rec}, {rec}][1]  least({rec}, {rec})
        """
    ),
    "map": _listed(
        r"""
        map([coalesce({text}, 'k')], [{sm}])  map(['a', 'b'], [{sm}, {sm}])  map_concat({map}, {map})  coalesce({map}, {map})
        CASE WHEN {bool} THEN {map} ELSE {map} END  CAST(map() AS MAP(VARCHAR, INTEGER))
        """
    ),
    "int": _listed(
        r"""
        len({ints})  {ints}[1]  {ints}[-1]  list_sum({ints})  list_max({ints})  list_position({ints}, {sm})  {rec}.a
        cardinality({map})  {map}['a']  list_reduce(list_prepend(0, {ints}), lambda a, b: a + b)  list_count({ints})
        len({texts})  list_unique({ints})  list_aggregate({ints}, 'min')  list_reduce({ints}, lambda a, b: a - b, {sm})
        len(list_filter({texts}, lambda s: s <> {text}))  list_first({ints})
        """
    ),
    "text": _listed(
        r"""
        {rec}.b  array_to_string({texts}, ',')  CAST({ints} AS VARCHAR)  CAST({rec} AS VARCHAR)  CAST({map} AS VARCHAR)
        {texts}[1]  list_min({texts})  CAST({texts} AS VARCHAR)
        """
    ),
    "bool": _listed(
        r"""
        list_contains({ints}, {sm})  ({ints} {cmp} {ints})  ({rec} {cmp} {rec})  ({texts} {cmp} {texts})  ({sm} = ANY({ints}))
        list_has_any({ints}, {ints})  list_has_all({texts}, {texts})  map_contains({map}, {text})  ({map} = {map})
        (({ts} - {ts}) {cmp} INTERVAL 3 DAY)  (TRY_CAST({text} AS UUID) IS NULL)  (encode({text}) {cmp} encode({text}))
        ({ints} IN ({ints}, {ints}))  ({rec} IN ({rec}, {rec}))  list_bool_or(list_transform({ints}, lambda x: x > {sm}))
        (({int}, {date}) {cmp} ({int}, {date}))  ({sm} IN (1, 2, NULL))  ({text} IN (SELECT s FROM one))
        """
    ),
}
# Values that no other expression reads.
ODD = _listed(
    r"""
    TRY_CAST({text} AS UUID)  encode({text})  ({ts} - {ts})  CAST({date} AS TIMESTAMP_S)  TRY_CAST({int} AS UTINYINT)
    struct_pack(x := {ints}, y := {rec})  [{rec}, {rec}]  map([coalesce({icol}, 0)], [{texts}])  [[{text}], {texts}]
    {time}::TIMETZ  [{dec}, {dec}]
    list_zip({ints}, {texts})  map_entries({map})  [{date}, {date}]  [{ts}, {ts}]  row({sm}, {text})
    {int}::HUGEINT  array_value({sm}, {sm})  CAST([{icol}, {icol}] AS INTEGER[2])  [{flt}, {flt}]
    list_transform({texts}, lambda x: [x, {text}])
    """
)
MORE_LITERALS = {
    "ints": ["[1, 2]", "CAST([] AS INTEGER[])", "[NULL, 3]", "CAST(NULL AS INTEGER[])"],
    "texts": ["['a']", "CAST([] AS VARCHAR[])", "['', NULL, 'Zürich']", "CAST(NULL AS VARCHAR[])"],
    "rec": [
        "struct_pack(a := 1, b := 'a')",
        "struct_pack(a := NULL::INTEGER, b := '')",
        "CAST(NULL AS STRUCT(a INTEGER, b VARCHAR))",
    ],
    "map": ["map(['a'], [1])", "CAST(map() AS MAP(VARCHAR, INTEGER))", "CAST(NULL AS MAP(VARCHAR, INTEGER))"],
}
# xor() is none of DuckDB's functions
ALL_TEMPLATES = {
    f: [t for t in TEMPLATES.get(f, []) if not t.startswith("xor")] + MORE_TEMPLATES.get(f, [])
    for f in (*TEMPLATES, *MORE_TEMPLATES)
}
# with CAST, as a subscript may follow
ALL_LITERALS = {
    **LITERALS,
    "text": [t.replace("NULL::VARCHAR", "CAST(NULL AS VARCHAR)") for t in LITERALS["text"]],
    **MORE_LITERALS,
}

# With the family of the result: "" for the argument's, "out" for what nothing else reads, "near" for what rounding may change.
ALL_AGGREGATES = [
    *AGGREGATES,
    ("count(DISTINCT ({any}, {any}))", "int"),
    ("count_if({bool})", "int"),
    ("bool_and({bool})", "bool"),
    ("bool_or({bool})", "bool"),
    ("bit_and({sm})", "int"),
    ("bit_or({icol})", "int"),
    ("bit_xor({sm})", "int"),
    ("approx_count_distinct({any})", "int"),
    ("min({rec})", "rec"),
    ("max({ints})", "ints"),
    ("arg_min({text}, ({any}, {keys}))", "text"),
    ("arg_max({int}, ({text}, {keys}))", "int"),
    ("arg_max({ints}, ({int}, {keys}) ORDER BY {keys})", "ints"),
    ("first({text} ORDER BY {keys})", "text"),
    ("last({date} ORDER BY {keys} DESC)", "date"),
    ("any_value({int} ORDER BY {keys})", "int"),
    ("first({rec} ORDER BY {any} {dir}, {keys})", "rec"),
    ("mode({text} ORDER BY {keys})", "text"),
    ("mode({int} ORDER BY {keys})", "int"),
    ("string_agg({text}, ',' ORDER BY {keys})", "text"),
    ("string_agg({text}, '' ORDER BY {any} {dir}, {keys})", "text"),
    ("list({sm} ORDER BY {keys})", "ints"),
    ("list({text} ORDER BY {any} {dir}, {keys})", "texts"),
    ("array_agg({icol} ORDER BY {keys} DESC)", "ints"),
    ("list({any} ORDER BY {keys})", "out"),
    ("median({icol})", "flt"),
    ("median({dec})", "out"),
    ("median({date})", "out"),
    ("quantile_cont({icol}, 0.25)", "flt"),
    ("quantile_cont({int}, [0.1, 0.5, 1])", "out"),
    ("quantile_cont({ts}, 0.75)", "ts"),
    ("quantile_disc({text}, 0.5)", "text"),
    ("quantile_disc({int}, [0, 0.9])", "out"),
    ("quantile_disc({flt}, 0.5)", "flt"),
    ("mad({icol})", "flt"),
    ("max({int}, 2)", "out"),
    ("min({text}, 3)", "out"),
    ("arg_max({text}, ({any}, {keys}), 2)", "out"),
    ("histogram({text})", "out"),
    ("histogram({icol})", "out"),
    ("stddev({icol})", "near"),
    ("var_pop({icol})", "near"),
    ("corr({icol}, {icol})", "near"),
    ("covar_samp({icol}, {icol})", "near"),
    ("regr_slope({icol}, {icol})", "near"),
    ("regr_count({icol}, {icol})", "int"),
    ("regr_r2({icol}, {icol})", "near"),
    ("skewness({icol} % 7)", "near"),
    ("kurtosis({icol} % 5)", "near"),
    ("entropy({icol})", "near"),
    ("product({icol} % 3)", "near"),
    # not over infinities, of which DuckDB's compensated sum makes NaN where it happens to merge two states
    ("fsum({dec})", "near"),
    ("favg({icol})", "near"),
    ("avg({date})", "out"),
    ("sum({bool})", "int"),
    ("bitstring_agg({icol}, -200, 300)", "out"),
]
# What DISTINCT changes, and for which it has one answer.
DISTINCT_AGGREGATES = [
    ("string_agg(DISTINCT {text}, ',' ORDER BY {same})", "text"),
    ("list(DISTINCT {sm} ORDER BY {same})", "ints"),
    ("list(DISTINCT {text} ORDER BY {same} DESC NULLS LAST)", "texts"),
    ("count(DISTINCT {rec})", "int"),
    ("median(DISTINCT {icol})", "flt"),
    ("sum(DISTINCT {dec})", "dec"),
]

# Window functions with one answer where ties in the order are not broken.
PEER_WINDOWS = [("rank()", "int"), ("dense_rank()", "int"), ("percent_rank()", "flt"), ("cume_dist()", "flt")]
# Window functions whose order must be one of the rows.
ROW_WINDOWS = [
    ("row_number()", "int"),
    ("ntile({few})", "int"),
    ("lag({any})", ""),
    ("lead({int}, {few})", "int"),
    ("lag({text}, 2, {text})", "text"),
    ("lead({any} IGNORE NULLS)", ""),
    ("lag({date}, {small} IGNORE NULLS)", "date"),
    ("lead({int} ORDER BY {any}, {keys})", "int"),
    ("row_number(ORDER BY {any} {dir}, {keys})", "int"),
    ("fill({icol})", "int"),
]
# Window functions that read a frame and the order of its rows.
VALUE_WINDOWS = [
    ("first_value({any})", ""),
    ("last_value({any})", ""),
    ("nth_value({any}, {few})", ""),
    ("first_value({int} IGNORE NULLS)", "int"),
    ("last_value({text} IGNORE NULLS)", "text"),
    ("nth_value({date}, 2 IGNORE NULLS)", "date"),
    ("first_value({text} ORDER BY {any} {dir}, {keys})", "text"),
    ("last_value({int} ORDER BY {keys} IGNORE NULLS)", "int"),
    ("list({sm} ORDER BY {keys})", "ints"),
    ("string_agg({text}, ',' ORDER BY {keys})", "text"),
    ("arg_max({text}, ({int}, {keys}))", "text"),
    ("first({int} ORDER BY {keys} DESC)", "int"),
]
# Window functions that read a frame as a bag.
BAG_WINDOWS = [
    ("count(*)", "int"),
    ("count({any})", "int"),
    ("sum({int})", "int"),
    ("sum({dec})", "dec"),
    ("avg({icol})", "flt"),
    ("avg({dec})", "near"),
    ("min({any})", ""),
    ("max({any})", ""),
    ("sum({fcol})", "near"),
    ("count(DISTINCT {any})", "int"),
    ("sum(DISTINCT {icol})", "int"),
    ("bool_or({bool})", "bool"),
    ("stddev({icol})", "near"),
    ("median({icol})", "flt"),
    ("quantile_disc({int}, 0.3)", "int"),
    ("bit_xor({sm})", "int"),
    ("mad({icol})", "flt"),
    ("approx_count_distinct({text})", "int"),
]
