from __future__ import annotations

from tests.jobs.store_stops import jobs_with_stops


def test_jobs_end_once_though_their_database_stops_again_and_again() -> None:
    wrong, states, told = jobs_with_stops(60, seed=1, pause_s=(0.5, 2.0))
    assert wrong == [], told
    assert states == {"SUCCESS": 60}, told
