"""Random queries, DuckDB against the distributed route: `make fuzz SEED=1 QUERIES=5000`.

Prints progress and how many queries had which outcome, and each bad one made small; the exit code is 1 if there was any.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sabot_sql.planner import adapt, lower, small_work
from sabot_sql.planner.rules import push_aggregates
from tests.corpus.random_queries import Queries
from tests.corpus.random_routes import BAD, Outcome, open_routes, smallest
from tests.corpus.random_selects import Choices

CHUNK = 250  # queries over the same tables and agents
HANG_S = 400


@contextmanager
def watched(what: str) -> Iterator[None]:
    """Ends the process when its block takes too long, saying what hangs."""

    def give_up() -> None:
        print(f"\nHANG: no answer after {HANG_S} s\n{what}", flush=True)
        os._exit(2)

    timer = threading.Timer(HANG_S, give_up)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run(seed: int, first: int, queries: int, most: int) -> int:
    """Run `queries` of them from the number `first` on, or until `most` are bad; how many are."""
    print(f"seed {seed}, {queries:,} queries{f' from {first:,} on' if first else ''}", flush=True)
    began = time.monotonic()
    counts: Counter[Outcome] = Counter()
    bad = 0
    titles: set[str] = set()  # of errors that have been shown small
    for start in range(first // CHUNK * CHUNK, first + queries, CHUNK):
        # few rows are no few groups: both ways to merge partial aggregates run
        lower.GATHERED_GROUPS = (20_000, 3)[start // CHUNK % 2]
        push_aggregates.LEAST_ROWS, push_aggregates.LEAST_SHARE = ((200_000, 0.5), (0, 0.0))[start // CHUNK // 2 % 2]
        small_work.SMALL_ROWS, adapt.SMALL_BYTES = ((25_000, 256 << 10), (-1, -1))[start // CHUNK // 4 % 2]
        lower.SCANNED_ROWS = (100_000, 0)[start // CHUNK // 8 % 2]
        agents = 1 + start // CHUNK % 3
        with tempfile.TemporaryDirectory() as folder, open_routes(Path(folder), seed * 1000 + start // CHUNK, agents) as routes:
            for number in range(max(start, first), min(start + CHUNK, first + queries)):
                choices = Choices(seed * 1_000_000 + number)
                with watched(Queries(Choices(seed * 1_000_000 + number)).statement()[0]):
                    verdict = routes.verdict(choices, "distributed")
                counts[verdict.outcome] += 1
                if verdict.outcome not in BAD:
                    continue
                bad += 1
                title = verdict.complaint.split("\n")[0]
                known = verdict.outcome != "different" and title in titles
                small = verdict if known else smallest(choices.taken, lambda c: routes.verdict(c, "distributed"))
                titles.add(title)
                print(
                    f"\n{small.outcome.upper()} query {number} of seed {seed}, {agents} agents: {small.complaint}", flush=True
                )
                if bad >= most:
                    break
        done = f"{sum(counts.values()):,}/{queries:,} in {time.monotonic() - began:.0f} s"
        print(f"{done}, {agents} agents: {', '.join(f'{k} {n:,}' for k, n in sorted(counts.items()))}", flush=True)
        if bad >= most:
            break
    print(f"seed {seed}: {'OK' if not bad else f'{bad} BAD'}, " + ", ".join(f"{k} {n:,}" for k, n in sorted(counts.items())))
    return bad


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first query")
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--most", type=int, default=20, help="bad queries after which it stops")
    given = parser.parse_args()
    faulthandler.enable()
    sys.exit(1 if run(given.seed, given.first, given.queries, given.most) else 0)
