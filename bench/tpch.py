"""TPC-H's 22 queries over the agents beside DuckDB, cold and warm, or over two agents beside one; see `bench/beside.py`.

    python bench/tpch.py --data FOLDER [--repeats 5] [--agents 2] [--json OUT]
    python bench/tpch.py --data FOLDER --scaling [--repeats 5] [--json OUT]

FOLDER holds the tables as folders of Parquet files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.beside import compare, scaling

QUERIES = sorted((Path(__file__).parent / "accept" / "tpch" / "queries").glob("*.sql"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--json", default="")
    parser.add_argument("--scaling", action="store_true")
    args = parser.parse_args()
    queries = {path.stem: path.read_text() for path in QUERIES}
    if args.scaling:
        scaling(args.data, queries, args.repeats, args.json)
    else:
        compare(args.data, queries, args.agents, args.repeats, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
