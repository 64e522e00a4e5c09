"""`%sql` and `%%sql` in a real notebook kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from sabot_sql.client.magic import PARAMETER
from tests.server.live_server import LiveServer


def run(*cells: str) -> list[Any]:
    """The outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in ("%load_ext sabot_sql", *cells)])
    nbclient.NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells[1:]]


def test_a_notebook_asks_a_server(server: LiveServer) -> None:
    connected, shown, kept, used, line, failed, after = run(
        f"%sql connect {server.url}",
        "%%sql\nSELECT i, name FROM numbers WHERE i < $limit -- $ignored\nORDER BY i",
        "limit = 3",
        "%%sql few <<\nSELECT i FROM numbers WHERE i < $limit AND name <> '$limit' ORDER BY i",
        "few.to_pylist()",
        "%%sql\nSELECT nothing\nFROM numbers",
        "%sql SELECT count(*) AS n FROM numbers",
    )
    assert (connected, kept, used) == ([], [], [])
    assert "limit" in shown[0].traceback[0]  # it was no variable yet
    assert line[0].data["text/plain"] == "[{'i': 0}, {'i': 1}, {'i': 2}]"
    (error,) = failed
    assert (error.output_type, error.ename, len(error.traceback)) == ("error", "PlanError", 1)
    assert "SELECT nothing\n         ^^^^^^^" in error.traceback[0]
    assert "<td>10000</td>" in after[0].data["text/html"]


def test_a_notebook_opens_a_folder(data: Path) -> None:
    nowhere, none, _, counted, other = run(
        "%sql connect",
        "%sql connect /no/such/folder",
        f"%sql connect '{data}'",
        "%sql n << SELECT count(*) FROM people",
        "n.scalar(), n.to_pandas().shape",
    )
    assert [out[0].ename for out in (nowhere, none)] == ["ConfigError", "ConfigError"]
    assert counted == []
    assert other[0].data["text/plain"] == "(3, (1, 1))"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT $a, $b_1, $1", ["a", "b_1"]),
        ("SELECT '$a''$b', \"$c\", $$ $d $$, $t$ $e $t$, $f", ["f"]),
        ("SELECT 1 -- $a\n, $b /* $c\n */ + $d", ["b", "d"]),
    ],
)
def test_parameters_are_those_of_the_statement(text: str, names: list[str]) -> None:
    assert [m["name"] for m in PARAMETER.finditer(text) if m["name"]] == names
