"""CSV tables: the dialect found once gives what plain `read_csv` gives."""

from __future__ import annotations

import gzip

import pytest

from sabot_sql.catalog.sources import scan_sql
from sabot_sql.errors import ReadError
from tests.catalog.conftest import columns_of

DIALECTS = {
    "semicolon": "a;b;c\n" + "".join(f"{i};'x;{i}';0{i % 9 + 1}/03/2024\n" for i in range(30)),
    "pipe": 'a|b|c\n1|"q""q"|2024-01-01 10:00:00\n2|z|2024-01-02 10:00:00\n',
    "zoned": "a,t\n1,2024-01-01T10:00:00Z\n2,2024-01-02T10:00:00+02:00\n",
    "day_first": "a,t,s\n1,31/12/2024,31/12/2024 10:11:12\n2,30/11/2024,01/02/2024 00:00:00\n",
    "month_first": "a,t,s\n1,12/31/2024,12/31/2024 10:11:12 PM\n2,11/30/2024,01/02/2024 01:00:00 AM\n",
    "crlf": "a,b\r\n1,x\r\n2,y\r\n",
    "cr": "a,b\r1,x\r2,y\r",
    "no_header": "1,x\n2,y\n3,z\n",
    "bom": "\ufeffa,b\n1,x\n",
    "newline_in_quotes": 'a,b\n1,"x\ny"\n2,"z"\n',
    "backslash": 'a,b\n1,"x\\"y"\n2,"z"\n',
    "comment": "# hello\n# you\na,b\n1,2\n3,4\n",
    "title": "some title\n\na,b,c\n1,2,3\n4,5,6\n",
    "nulls": 'a,b\n1,\n,x\n3,""\n',
    "one_column": "a\n1\n2\n",
    "equal_names": "a,a,A\n1,2,3\n",
    "no_name": "a,,c\n1,2,3\n",
    "large_numbers": "a,b\n99999999999999999999,12345678901234567890\n1,2\n",
    "beyond_ascii": "naïve,ü\nå,1\nß,2\n",
    "leading_zero": "zip,x\n01234,1\n00123,2\n",
    "ragged": "a,b,c\n1,2\n1,2,3\n4,5\n",
    "trailing": "a,b,\n1,2,\n3,4,\n",
    "header_only": "a,b\n",
    "empty": "",
    "blank": "\n",
    "special_floats": "a\nnan\ninf\n1.5\n",
}


@pytest.mark.parametrize("name", DIALECTS)
def test_fixed_dialect_reads_what_read_csv_reads(tmp_path, oracle, open_catalog, name):
    path = tmp_path / f"{name}.csv"
    path.write_text(DIALECTS[name], newline="")
    table = open_catalog(tmp_path).table(name)
    assert columns_of(table) == oracle.columns(f"'{path}'") == oracle.columns(scan_sql(table.scan))
    assert oracle.rows_of(table) == oracle.rows(f"'{path}'")
    assert "auto_detect=false" in scan_sql(table.scan)
    assert (table.statistics.rows, table.statistics.confidence) == (None, "unknown")


def test_tsv_and_gzip_are_read(tmp_path, oracle, open_catalog):
    (tmp_path / "t.TSV").write_text("a\tb\n1\tx y\n")
    (tmp_path / "z.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n2,y\n"))
    catalog = open_catalog(tmp_path)
    assert oracle.rows_of(catalog.table("t")) == oracle.rows(f"read_csv('{tmp_path}/t.TSV')")
    assert oracle.rows_of(catalog.table("z")) == oracle.rows(f"'{tmp_path}/z.csv.gz'")


SEVERAL = {
    "same": ["a,b\n1,x\n", "a,b\n2,y\n"],
    "wider_number": ["a,b\n1,x\n", "a,b\n2.5,y\n"],
    "date_then_text": ["a,b\n1,31/12/2024\n", "a,b\n2,hello\n"],
    "no_rows_first": ["a,b\n", "a,b\n3,4\n"],
    "truth_then_number": ["a\ntrue\n", "a\n2\n"],
    "delimiters": ["a;b\n1;x\n", "a,b\n2,y\n"],
    "nulls_first": ["a,b\n1,\n2,\n", "a,b\n3,4\n"],
}


@pytest.mark.parametrize("name", SEVERAL)
def test_files_with_the_same_columns_read_as_read_csv_reads_them_together(tmp_path, oracle, open_catalog, name):
    (tmp_path / name).mkdir()
    for i, text in enumerate(SEVERAL[name]):
        (tmp_path / name / f"{i}.csv").write_text(text)
    table = open_catalog(tmp_path).table(name)
    assert columns_of(table) == oracle.columns(f"'{tmp_path}/{name}/*.csv'")
    assert oracle.rows_of(table) == oracle.rows(f"'{tmp_path}/{name}/*.csv'")


@pytest.mark.parametrize(
    "texts", [["a,b\n1,x\n", "b,c\ny,2\n"], ["a,b\n1,x\n", "A,B\n2,y\n"], ["a;b\n1;x\n", "b\ny\n", "a;b\n2;y\n"]]
)
def test_files_with_other_columns_unite_by_name(tmp_path, oracle, open_catalog, texts):
    (tmp_path / "t").mkdir()
    for i, text in enumerate(texts):
        (tmp_path / "t" / f"{i}.csv").write_text(text)
    table = open_catalog(tmp_path).table("t")
    united = f"read_csv('{tmp_path}/t/*.csv', union_by_name=true)"
    assert columns_of(table) == oracle.columns(united)
    assert oracle.rows_of(table) == oracle.rows(united)
    assert oracle.columns(scan_sql(table.scan, [1])) == columns_of(table)


def test_each_file_keeps_its_own_date_format(tmp_path, oracle, open_catalog):
    (tmp_path / "t").mkdir()
    (tmp_path / "t/0.csv").write_text("a\n31/12/2024\n")
    (tmp_path / "t/1.csv").write_text("a\n2024-01-02\n")
    assert oracle.rows_of(open_catalog(tmp_path).table("t")) == oracle.rows(
        "(SELECT unnest([DATE '2024-12-31', '2024-01-02']) a)"
    )


def test_empty_file_among_others_adds_nothing(tmp_path, oracle, open_catalog):
    (tmp_path / "t").mkdir()
    (tmp_path / "t/0.csv").write_text("")
    (tmp_path / "t/1.csv").write_text("a,b\n3,z\n")
    table = open_catalog(tmp_path).table("t")
    assert columns_of(table) == [("a", "BIGINT"), ("b", "VARCHAR")]
    assert oracle.rows_of(table) == oracle.rows("(SELECT 3::BIGINT a, 'z' b)")


@pytest.mark.parametrize("texts", [["a,b\n1,x\n"] * 2, ["a,b\n1,x\n", "b,c\ny,2\n"]])
def test_hive_folders_of_csv_give_columns(tmp_path, oracle, open_catalog, texts):
    for i, text in enumerate(texts):
        (tmp_path / f"t/y={i}").mkdir(parents=True)
        (tmp_path / f"t/y={i}/f.csv").write_text(text)
    table = open_catalog(tmp_path).table("t")
    plain = f"read_csv('{tmp_path}/t/**/*.csv', union_by_name=true)"
    assert columns_of(table) == oracle.columns(plain)
    assert oracle.rows_of(table) == oracle.rows(plain)


def test_partition_column_wins_over_one_of_the_file(tmp_path, oracle, open_catalog):
    (tmp_path / "t/a=7").mkdir(parents=True)
    (tmp_path / "t/a=7/f.csv").write_text("a,b\n1,2\n")
    table = open_catalog(tmp_path).table("t")
    assert oracle.rows_of(table) == oracle.rows(f"'{tmp_path}/t/*/*.csv'") == oracle.rows("(SELECT 7 a, 2 b)")


def test_file_that_is_no_csv_is_named(tmp_path, open_catalog):
    (tmp_path / "bad.csv").write_bytes(b"a,b\n\xff\xfe\x00\x80,\xc3\x28\n" * 10)
    with pytest.raises(ReadError, match=r"bad\.csv cannot be read as CSV: line 2: .* not utf-8 encoded") as caught:
        open_catalog(tmp_path).table("bad")
    assert caught.value.problem.code == "FILE_CORRUPT"
