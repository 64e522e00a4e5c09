from __future__ import annotations

from pathlib import Path

import pytest

from sabot_sql.errors import Overloaded
from sabot_sql.server.rates import Rates
from tests.server.live_server import live_server


def test_each_user_has_requests_a_second_and_what_was_saved() -> None:
    now = [0.0]
    rates = Rates(2.0, clock=lambda: now[0])

    def many(user: str) -> int:
        for taken in range(100):
            try:
                rates.take(user)
            except Overloaded:
                return taken
        return 100

    assert (many("ada"), many("zoe")) == (4, 4)
    now[0] = 1.0
    assert many("ada") == 2
    now[0] = 60.0
    assert many("ada") == 4


def test_less_than_one_request_a_second() -> None:
    now = [0.0]
    rates = Rates(0.1, clock=lambda: now[0])
    rates.take("ada")
    with pytest.raises(Overloaded, match="in 10 s"):
        rates.take("ada")
    now[0] = 10.0
    rates.take("ada")


def test_a_user_who_asks_too_much_is_told(data: Path) -> None:
    with live_server(data, "--agents", "0", SABOT_SERVER__REQUESTS_PER_S="1") as server:
        answers = [server.request("GET", "/v1/tables") for _ in range(6)]
        assert {a.status for a in answers} == {200, 429}
        refused = answers[-1]
        assert (refused.json()["code"], refused.json()["retryable"], "Retry-After" in refused.headers) == (
            "TOO_MANY_QUERIES", True, True,
        )  # fmt: skip
        assert all(server.request("GET", "/livez").status == 200 for _ in range(6))
