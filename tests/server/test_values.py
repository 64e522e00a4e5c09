from __future__ import annotations

import json
import os
from pathlib import Path

from tests.client.test_json_values import CASES
from tests.server.live_server import LiveServer

GOLDEN = Path(__file__).parent / "goldens" / "values.json"


def test_values_over_http_are_those_of_the_golden(server: LiveServer) -> None:
    columns = ", ".join(f'{expression} AS "c{number}"' for number, expression in enumerate(CASES))
    found = server.sql(f"SELECT {columns}")
    value_of = dict(zip(CASES, found["rows"][0]))
    typed = {e: [c["type"], value_of[e]] for e, c in zip(CASES, found["columns"])}
    if os.environ.get("WRITE_GOLDENS"):
        lines = [f" {json.dumps(e, ensure_ascii=False)}: {json.dumps(v, ensure_ascii=False)}" for e, v in typed.items()]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    assert typed == json.loads(GOLDEN.read_text())
    assert value_of == CASES
