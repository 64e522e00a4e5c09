"""What a query makes of the fields of a CSV file."""

from __future__ import annotations

from pathlib import Path

import pytest

import sabot_sql


@pytest.mark.parametrize("route", ["local", "distributed"])
@pytest.mark.parametrize("end", ["", "where b = 'x'", "group by 1", "order by 1"])
def test_text_of_a_value_does_not_depend_on_how_the_file_spells_it(tmp_path: Path, route: str, end: str) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1.50,x\n")
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=1) as db:
        assert db.execute_sql(f"select a::varchar from t {end}", route=route).scalar() == "1.5"  # type: ignore[arg-type]
