"""JSON tables: framing, types and date formats found once give what plain `read_json` gives."""

from __future__ import annotations

import gzip

import pytest

from sabot_sql.catalog.sources import scan_sql
from sabot_sql.errors import NotSupported, ReadError
from tests.catalog.conftest import columns_of

TEXTS = {
    "lines": '{"a":1}\n{"a":2.5,"b":"x"}\n',
    "array": '[{"a":1,"d":"2024-01-02","x":{"y":[1,2.5]}},\n {"a":null,"d":"2024-01-03"}]',
    "array_on_one_line": '[{"a":1},{"a":2}]',
    "pretty": '{"a":1,\n "b":2}\n{"a":3,"b":4}',
    "one_object": '{"a":1}',
    "values": "1\n2\n3\n",
    "arrays": "[1,2]\n[3]\n",
    "nothing": "",
    "empty_array": "[]",
    "blank_lines": '{"a":1}\n\n{"a":3}\n',
    "times": '{"t":"2024-01-02T03:04:05Z","u":"2024-01-31 10:00:00","z":"10:11:12"}\n',
    "month_first": '{"d":"01-31-2024","t":"01-31-2024 10:00:00 PM"}\n',
    "day_first": '{"d":"31-01-2024","t":"31-01-2024 10:00:00"}\n',
    "short_year": '{"d":"24-01-31"}\n',
    "mixed": '{"a":1}\n{"a":"x"}\n{"a":[1]}\n',
    "map": "".join(f'{{"m":{{"k{i}":1}}}}\n' for i in range(300)),
    "odd_keys": '{"é\\"\'":1, "it\'s":"ü", "|row":1, "t":2}\n',
    "null": '{"a":null}\n',
    "large": '{"a":18446744073709551615,"b":1e400}\n',
    "empty_objects": "{}\n{}\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_fixed_description_reads_what_read_json_reads(tmp_path, oracle, open_catalog, name):
    path = tmp_path / f"{name}.json"
    path.write_text(TEXTS[name])
    table = open_catalog(tmp_path).table(name)
    assert oracle.columns(f"'{path}'") == oracle.columns(scan_sql(table.scan))
    assert [field.name for field in table.schema] == [found for found, _ in oracle.columns(f"'{path}'")]
    assert oracle.rows_of(table) == oracle.rows(f"'{path}'")
    assert not path.stat().st_size or "auto_detect=false" in scan_sql(table.scan)


def test_suffixes_and_gzip(tmp_path, oracle, open_catalog):
    for suffix in ("ndjson", "jsonl"):
        (tmp_path / f"{suffix}.{suffix}").write_text('{"a":1}\n')
    (tmp_path / "z.json.gz").write_bytes(gzip.compress(b'[{"a":1}]'))
    catalog = open_catalog(tmp_path)
    for name in ("ndjson", "jsonl", "z"):
        assert oracle.rows_of(catalog.table(name)) == oracle.rows("(SELECT 1 a)")


def test_files_of_several_framings_and_keys_are_one_table(tmp_path, oracle, open_catalog):
    (tmp_path / "t").mkdir()
    for i, text in enumerate(['{"a":1}\n{"a":2}\n', '[{"a":3,"b":"x"}]', '{"b":\n"y"}\n', ""]):
        (tmp_path / "t" / f"{i}.json").write_text(text)
    table = open_catalog(tmp_path).table("t")
    assert columns_of(table) == [("a", "BIGINT"), ("b", "VARCHAR")]
    assert oracle.rows_of(table) == oracle.rows("(VALUES (1, NULL), (2, NULL), (3, 'x'), (NULL, 'y')) t(a, b)")
    assert oracle.rows_of(table, [1]) == oracle.rows("(SELECT 3 a, 'x' b)")


def test_hive_folders_of_json_give_columns(tmp_path, oracle, open_catalog):
    for i in (1, 2):
        (tmp_path / f"t/y={i}").mkdir(parents=True)
        (tmp_path / f"t/y={i}/f.json").write_text('{"a":1}\n')
    table = open_catalog(tmp_path).table("t")
    assert columns_of(table) == oracle.columns(f"'{tmp_path}/t/*/*.json'")
    assert oracle.rows_of(table) == oracle.rows(f"'{tmp_path}/t/*/*.json'")


@pytest.mark.parametrize("text", ['{"a":1,\n', "not json", '{"a":1}\n{"a":'])
def test_file_that_is_no_json_is_named(tmp_path, open_catalog, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ReadError, match=r"bad\.json cannot be read as JSON") as caught:
        open_catalog(tmp_path).table("bad")
    assert caught.value.problem.code == "FILE_CORRUPT"


def test_keys_that_differ_in_case_only_are_not_supported(tmp_path, open_catalog):
    (tmp_path / "t.json").write_text('{"a":1,"A":2}\n')
    with pytest.raises(NotSupported, match=r"t\.json"):
        open_catalog(tmp_path).table("t")
