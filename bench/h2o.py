"""db-benchmark's ten group-by questions over the agents beside DuckDB, cold and warm; see `bench/beside.py`.

    python bench/h2o.py --data FOLDER [--rows 10000000] [--repeats 3] [--agents 2] [--json OUT]

The table G1 (100 groups in its small keys, no NULL) is made in FOLDER where it is not there yet.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.beside import compare

QUESTIONS = Path(__file__).parent / "accept" / "h2o" / "groupby.sql"
FILES = 8
GROUPS = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    folder = args.data / f"g1-{args.rows}"
    make(folder / "x", args.rows)
    texts = [text.strip() for text in QUESTIONS.read_text().split(";") if text.strip()]
    compare(folder, {f"q{i:02d}": text for i, text in enumerate(texts, 1)}, args.agents, args.repeats, args.json)
    return 0


def make(folder: Path, rows: int) -> None:
    """The table as Parquet files, each row drawn as db-benchmark's generator draws it."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    with duckdb.connect() as con:
        con.execute("SELECT setseed(0.108)").fetchall()
        for number in range(FILES):
            count = rows // FILES
            con.execute(f"""
                COPY (SELECT printf('id%03d', 1 + (random() * {GROUPS})::INT % {GROUPS}) id1,
                             printf('id%03d', 1 + (random() * {GROUPS})::INT % {GROUPS}) id2,
                             printf('id%010d', 1 + (random() * {rows // GROUPS})::INT % {rows // GROUPS}) id3,
                             1 + (random() * {GROUPS})::INT % {GROUPS} id4, 1 + (random() * {GROUPS})::INT % {GROUPS} id5,
                             1 + (random() * {rows // GROUPS})::INT % {rows // GROUPS} id6,
                             1 + (random() * 5)::INT % 5 v1, 1 + (random() * 15)::INT % 15 v2, round(random() * 100, 6) v3
                      FROM range({count}))
                TO '{folder}/part-{number}.parquet'""")


if __name__ == "__main__":
    sys.exit(main())
