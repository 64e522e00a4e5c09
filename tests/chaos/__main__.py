"""Agents are struck in the middle of queries: `make chaos SEEDS=2`.

Every query runs once for each fault, place and seed, struck at a random moment, and must give its answer: first with agents on
this machine, then with agents in network namespaces of their own, whose links can be cut (where such can be made). Each fault
and place has a twin without retries, which must fail: the proof that the fault was real. Prints a table; the exit code is 1
where one of them does not hold.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import statistics
import sys
import time
from pathlib import Path

from tests.agents.network import is_possible
from tests.chaos.queries import QUERIES, make
from tests.chaos.strikes import PLACES, Cluster, Fault, Outcome, Place, Strike, machines, one_machine, without_retries

DETECTION_S = {"kill": 0.0, "stop": 10.0, "cut off": 10.0, "cut link": 10.0}
MOST_TWINS = 5
"""Times that a twin is tried: its agent may have ended its task just before."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--only", default="", help="a part of `on one machine`, `on machines of their own`")
    parser.add_argument("--data", type=Path, default=Path(".data/chaos"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # namespaces and agents do not stay behind
    logging.getLogger("sabot_sql").setLevel(logging.ERROR)  # not each agent that is gone
    make(args.data, args.rows)
    seeds, bad = range(args.first_seed, args.first_seed + args.seeds), 0
    for name, world in (("on one machine", one_machine), ("on machines of their own", machines)):
        if args.only not in name:
            continue
        if world is machines and not is_possible():
            print("BAD network namespaces cannot be made here: no link was cut")
            bad += 1
            continue
        with world(args.data, args.agents) as found:
            for sql in QUERIES.values():
                found.learn(sql)
            typical_s = statistics.median(found.undisturbed_s.values())
            print(f"{args.agents} agents {name}, {args.rows:,} rows, undisturbed {typical_s:.2f} s in the middle", flush=True)
            for fault in found.world.faults:
                for place in PLACES:
                    bad += struck(found, fault, place, seeds)
            with without_retries():
                for fault in found.world.faults:
                    for place in PLACES:
                        bad += not fails(found, fault, place)
    print("OK" if not bad else f"{bad} BAD")
    return 1 if bad else 0


def struck(found: Cluster, fault: Fault, place: Place, seeds: range) -> int:
    """Run all queries struck there; how many did not hold."""
    outcomes: list[tuple[str, Outcome, float]] = []
    began, bad = time.monotonic(), 0
    for seed in seeds:
        for name, sql in QUERIES.items():
            moment = random.Random(f"{seed} {name} {fault} {place}").random()
            outcome = found.run(sql, Strike(fault, place, moment, seed))
            if not outcome.pid:
                continue  # it has no such stage, or was done with it
            most_s = 2 * found.undisturbed_s[sql] + 5 + DETECTION_S[fault]
            outcomes.append((name, outcome, outcome.elapsed_s / (found.undisturbed_s[sql] + DETECTION_S[fault])))
            if complaint := outcome.wrong or outcome.error or ("too late" if outcome.elapsed_s > most_s else ""):
                bad += 1
                print(f"BAD {name}, {fault} in {place}, seed {seed}, at {moment:.2f}: {complaint} ({outcome.elapsed_s:.1f} s)")
    ratios = [ratio for _, _, ratio in outcomes]
    retried = sum(outcome.retries > 0 for _, outcome, _ in outcomes)
    print(
        f"{fault:8} {place:9} {len(outcomes):4} runs, {len(outcomes) - bad} right and in time, {retried} ran tasks again, "
        f"time {statistics.median(ratios):.2f} x in the middle, {max(ratios):.2f} x at most, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return bad


def fails(found: Cluster, fault: Fault, place: Place) -> bool:
    """Whether a query that is struck there without retries fails."""
    for seed, (name, sql) in enumerate(list(QUERIES.items())[:MOST_TWINS]):
        outcome = found.run(sql, Strike(fault, place, 0.3, seed))
        if outcome.error == "AGENT_LOST":
            print(f"{fault:8} {place:9} without retries: {name} fails with {outcome.error}", flush=True)
            return True
    print(f"BAD {fault} in {place} without retries: {MOST_TWINS} queries did not fail", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
