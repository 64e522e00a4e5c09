import pytest

from sabot_sql.planner.estimate import Estimate
from sabot_sql.planner.route import LEAST_THRESHOLD, auto_threshold, count, decide, size_text


def of(rows: int, confidence: str = "exact") -> Estimate:
    return Estimate(rows, 0, rows, 0, confidence)  # type: ignore[arg-type]


def choose(route="auto", threshold=10_000, rows=0, confidence="exact", bytes_scanned=0, agents=2, auto_rows=None):
    return decide(
        route,
        threshold,
        of(rows, confidence),
        bytes_scanned=bytes_scanned,
        local_max_bytes=1 << 30,
        cores=2,
        agents=agents,
        auto_rows=auto_rows,
    )


@pytest.mark.parametrize(("rows", "route"), [(0, "local"), (9_999, "local"), (10_000, "distributed"), (10_001, "distributed")])
def test_ten_thousand_rows_are_distributed_and_one_less_is_not(rows, route):
    assert choose(rows=rows).route == route


def test_a_callers_threshold_is_taken_as_it_is():
    assert choose(threshold=0, rows=0).route == "distributed"
    assert choose(threshold=1, rows=0).route == "local"
    assert choose(threshold=5, rows=5).threshold == 5


def test_reason_is_one_sentence():
    assert (
        choose(threshold="auto", rows=120_000, auto_rows=1_900_000).reason
        == "estimated 120,000 rows (exact) < threshold 1.9 M (auto)"
    )
    expected = "estimated 84.0 M rows (statistics) >= threshold 5.0 M (auto)"
    assert choose(threshold="auto", rows=84_000_000, confidence="statistics", auto_rows=5_000_000).reason == expected
    assert choose(rows=9_999).reason == "estimated 9,999 rows (exact) < threshold 10,000"


def test_intermediate_rows_count_as_work():
    big = Estimate(100, 50_000, 1, 0, "statistics")
    assert decide("auto", 10_000, big, bytes_scanned=0, local_max_bytes=1, cores=2, agents=2).route == "distributed"


@pytest.mark.parametrize("route", ["local", "distributed"])
def test_forced_route_is_obeyed_and_said(route):
    found = choose(route=route, rows=10**9, confidence="unknown")
    assert (found.route, found.reason) == (route, f'forced by route="{route}"')


def test_unknown_is_local_up_to_the_byte_limit():
    assert choose(confidence="unknown", bytes_scanned=1 << 30).route == "local"
    found = choose(confidence="unknown", bytes_scanned=(1 << 30) + 1)
    assert found.route == "distributed"
    assert "unknown" in found.reason


def test_without_agents_everything_is_local_and_the_reason_says_so():
    assert choose(rows=10**9, agents=0).route == "local"
    assert "no agents" in choose(rows=10**9, agents=0).reason
    assert choose(confidence="unknown", bytes_scanned=1 << 40, agents=0).route == "local"


def test_auto_threshold_keeps_the_overhead_under_a_tenth():
    rows = auto_threshold(cores=2, agents=2, overhead_ms=15, rows_per_ms=20_000)
    assert 0.1 * rows / (2 * 20_000) >= 15
    assert 0.1 * (rows - 1) / (2 * 20_000) < 15


def test_auto_threshold_is_lower_where_the_pool_is_larger():
    assert auto_threshold(cores=2, agents=16) < auto_threshold(cores=2, agents=2)


def test_auto_threshold_is_never_below_ten_thousand():
    assert auto_threshold(cores=1, agents=1, overhead_ms=0.0) == LEAST_THRESHOLD
    assert choose(threshold="auto", auto_rows=1).threshold == LEAST_THRESHOLD


def test_numbers_are_shown_short():
    assert [count(n) for n in (0, 999, 999_999, 1_000_000, 360_700_000_000)] == ["0", "999", "999,999", "1.0 M", "360.7 G"]
    assert [size_text(n) for n in (1, 1024, 1 << 30, 5 << 40)] == ["1 B", "1.0 KiB", "1.0 GiB", "5.0 TiB"]
