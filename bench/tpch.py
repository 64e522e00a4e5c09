"""TPC-H's 22 queries over the agents beside DuckDB, cold and warm; see `bench/beside.py`.

    python bench/tpch.py --data FOLDER [--repeats 5] [--agents 2] [--json OUT]

FOLDER holds the tables as folders of Parquet files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.beside import compare

QUERIES = sorted((Path(__file__).parent / "accept" / "tpch" / "queries").glob("*.sql"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    compare(args.data, {path.stem: path.read_text() for path in QUERIES}, args.agents, args.repeats, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
