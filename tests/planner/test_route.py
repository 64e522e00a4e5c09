import pytest

from sabot_sql.planner.estimate import Estimate
from sabot_sql.planner.past import Past, learnt
from sabot_sql.planner.route import LEAST_THRESHOLD, Machine, Speed, auto_threshold, count, decide, size_text

MEASURED = Speed(20_000, 15.0, "calibrated")


def of(rows: int, confidence: str = "exact") -> Estimate:
    return Estimate(rows, 0, rows, 0, confidence)  # type: ignore[arg-type]


def choose(
    route="auto", threshold=10_000, rows=0, confidence="exact", bytes_scanned=0, slots=2, cores=2, speed=MEASURED, past=None
):
    return decide(
        route,
        threshold,
        of(rows, confidence),
        bytes_scanned=bytes_scanned,
        local_max_bytes=1 << 30,
        machine=Machine(cores, slots, speed),
        past=past,
    )


@pytest.mark.parametrize(("rows", "route"), [(0, "local"), (9_999, "local"), (10_000, "distributed"), (10_001, "distributed")])
def test_ten_thousand_rows_are_distributed_and_one_less_is_not(rows, route):
    assert choose(rows=rows).route == route


def test_a_callers_threshold_is_taken_as_it_is():
    assert choose(threshold=0, rows=0).route == "distributed"
    assert choose(threshold=1, rows=0).route == "local"
    assert choose(threshold=5, rows=5).threshold == 5


def test_reason_is_one_sentence():
    assert choose(threshold="auto", rows=120_000).reason == "estimated 120,000 rows (exact) < threshold 6.0 M (auto)"
    expected = "estimated 84.0 M rows (statistics) >= threshold 6.0 M (auto)"
    assert choose(threshold="auto", rows=84_000_000, confidence="statistics").reason == expected
    assert choose(rows=9_999).reason == "estimated 9,999 rows (exact) < threshold 10,000"


def test_reason_says_where_figures_are_from_until_they_are_measured():
    assert choose(threshold="auto", rows=5, speed=Speed()).reason.endswith("threshold 6.0 M (auto, default figures)")
    assert choose(threshold="auto", rows=5, speed=Speed(origin="stored")).reason.endswith("(auto, stored figures)")
    assert choose(threshold=7, rows=5, speed=Speed()).reason.endswith("threshold 7")


def test_intermediate_rows_count_as_work():
    big = Estimate(100, 50_000, 1, 0, "statistics")
    assert decide("auto", 10_000, big, bytes_scanned=0, local_max_bytes=1, machine=Machine(2, 2)).route == "distributed"


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
    assert choose(rows=10**9, slots=0).route == "local"
    assert "no agents" in choose(rows=10**9, slots=0).reason
    assert choose(confidence="unknown", bytes_scanned=1 << 40, slots=0).route == "local"


def test_auto_threshold_keeps_the_overhead_under_a_tenth():
    rows = auto_threshold(cores=2, agents=2, overhead_ms=15, rows_per_ms=20_000)
    assert 0.1 * rows / (2 * 20_000) >= 15
    assert 0.1 * (rows - 1) / (2 * 20_000) < 15


def test_auto_threshold_is_lower_where_the_pool_is_larger():
    assert auto_threshold(cores=2, agents=16) < auto_threshold(cores=2, agents=2)


def test_auto_threshold_is_never_below_ten_thousand():
    assert auto_threshold(cores=1, agents=1, overhead_ms=0.0) == LEAST_THRESHOLD
    assert Machine(1, 64, Speed(1.0, 0.001, "calibrated")).threshold == LEAST_THRESHOLD


def test_a_slow_machine_has_a_low_threshold_and_a_large_overhead_a_high_one():
    thresholds = [Machine(2, 2, Speed(rows, ms)).threshold for rows, ms in ((2_000, 15), (20_000, 15), (20_000, 60))]
    assert thresholds == [600_000, 6_000_000, 24_000_000]


def test_a_query_that_was_slow_locally_has_a_threshold_of_its_own():
    slow, fast = Past(5, local_ms=900.0, local_runs=5), Past(5, local_ms=10.0, local_runs=5)
    found = choose(threshold="auto", rows=1_000_000, past=slow)
    assert (found.route, found.reason.split(" >= ")[1]) == ("distributed", "threshold 166,852 (auto, by its earlier runs)")
    assert choose(threshold="auto", rows=1_000_000, past=fast).route == "local"


@pytest.mark.parametrize(("local_ms", "route"), [(100.0, "distributed"), (95.0, "distributed"), (90.0, "local")])
def test_where_both_times_are_known_the_faster_route_wins_and_the_agents_by_a_tenth(local_ms, route):
    found = choose(threshold="auto", rows=1_000_000, past=Past(9, local_ms=local_ms, distributed_ms=104.0))
    expected = f"estimated 1.0 M rows (exact), and earlier runs took {local_ms:.1f} ms locally, 104.0 ms distributed"
    assert (found.route, found.reason) == (route, expected)


def test_what_the_local_engine_does_within_the_overhead_of_a_job_is_no_work_for_agents():
    past = Past(9, local_ms=5.0, distributed_ms=4.0)
    assert choose(threshold="auto", rows=1_000_000, past=past).route == "local"


def test_a_query_that_was_slow_on_the_agents_is_tried_locally():
    found = choose(threshold="auto", rows=8_000_000, past=Past(3, distributed_ms=400.0))
    assert (found.route, "locally it should take 201.0 ms" in found.reason) == ("local", True)
    assert choose(threshold="auto", rows=8_000_000, past=Past(3, distributed_ms=215.0)).route == "distributed"


def test_earlier_times_change_nothing_below_ten_thousand_rows_or_for_a_threshold_that_was_asked_for():
    past = Past(9, local_ms=5_000.0, distributed_ms=1.0)
    assert choose(threshold="auto", rows=9_999, past=past).route == "local"
    assert choose(threshold=2_000_000, rows=1_000_000, past=past).route == "local"


def test_counted_rows_replace_estimated_ones_but_not_exact_ones():
    past = Past(4, rows_out=3, rows_scanned=50, work=70)
    found = learnt(Estimate(1_000, 9_000, 500, 0, "statistics"), past)
    assert (found.rows_scanned, found.work, found.rows_out, found.confidence) == (50, 70, 3, "history")
    found = learnt(Estimate(1_000, 0, 500, 0, "exact"), past)
    assert (found.work, found.rows_out, found.confidence) == (1_000, 3, "exact")
    assert learnt(of(9, "unknown"), past).confidence == "history"


def test_a_past_without_rows_leaves_the_estimate_as_it_is():
    guess = of(9, "statistics")
    assert learnt(guess, Past(4, local_ms=3.0)) is guess


def test_numbers_are_shown_short():
    assert [count(n) for n in (0, 999, 999_999, 1_000_000, 360_700_000_000)] == ["0", "999", "999,999", "1.0 M", "360.7 G"]
    assert [size_text(n) for n in (1, 1024, 1 << 30, 5 << 40)] == ["1 B", "1.0 KiB", "1.0 GiB", "5.0 TiB"]
