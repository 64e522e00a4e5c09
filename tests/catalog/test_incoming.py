"""Bodies that were damaged on their way, or made to do harm: an error in words, and the process lives on."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from sabot_sql.catalog.incoming import Format, Importer, Stop
from sabot_sql.errors import QueryTimeout, SabotError, ServiceError
from tests.server.bodies import arrow, parquet

NESTED = pa.table(
    {
        "i": range(50), "s": [f"t{i}" for i in range(50)], "l": [[i, None] for i in range(50)],
        "d": pa.array(["a", "b"] * 25).dictionary_encode(), "st": [{"x": i, "y": "z"} for i in range(50)],
        "m": pa.array([[("k", i)] for i in range(50)], pa.map_(pa.string(), pa.int32())),
        "t": pa.array(range(50), pa.timestamp("us", "UTC")),
    }
)  # fmt: skip
ONLY_ARROW = NESTED.append_column("v", pa.array(["x" * i for i in range(50)], pa.string_view())).append_column(
    "r", pa.RunEndEncodedArray.from_arrays([25, 50], ["p", "q"])
)
LINES = b"i,s,d\n" + b"".join(b'%d,"t""%d",2026-01-%02d\n' % (i, i, i % 28 + 1) for i in range(40))
BODIES: dict[str, tuple[Format, bytes]] = {
    "arrow": ("arrow", arrow(ONLY_ARROW)),
    "arrow zstd": ("arrow", arrow(NESTED, "zstd")),
    "arrow lz4": ("arrow", arrow(NESTED, "lz4")),
    "parquet": ("parquet", parquet(NESTED)),
    "csv": ("csv", LINES),
}


def damaged(body: bytes, chance: random.Random) -> bytes:
    """`body` with some of its bytes changed, taken out or written twice."""
    found = bytearray(body)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at, what = chance.randrange(len(found)), chance.random()
        if what < 0.6:
            found[at] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        elif what < 0.75:
            found[at : at + 4] = chance.choice([b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff" * 4, b"\0" * 4])
        elif what < 0.9:
            del found[at : at + chance.randrange(1, 40)]
        else:
            found[at:at] = found[chance.randrange(len(found)) :][: chance.randrange(1, 40)]
        found = found or bytearray(b"x")
    return bytes(found)


def take_damaged(folder: Path, name: str, times: int) -> None:
    """Has an importer take damaged bodies; what is not an error of ours ends it."""
    kind, whole = BODIES[name]
    chance, importer = random.Random(name), Importer(folder)
    taken, told = 0, ""
    for _ in range(times):
        (folder / "body").write_bytes(damaged(whole, chance))
        try:
            importer.write("t", folder / "body", kind, folder / "made.parquet", None, Stop(time.monotonic() + 60))
            taken += 1
        except SabotError as error:
            told += str(error.to_problem())
    assert str(folder) not in told
    (folder / "body").write_bytes(whole)
    assert importer.write("t", folder / "body", kind, folder / "made.parquet", None, Stop(time.monotonic() + 60)) in (40, 50)
    importer.close()
    print(taken)


@pytest.mark.parametrize("name", BODIES)
def test_damaged_bodies_are_refused_and_do_no_harm(tmp_path: Path, name: str) -> None:
    code = "import sys; from pathlib import Path; from tests.catalog.test_incoming import take_damaged as t; "
    command = [sys.executable, "-c", f"{code} t(Path(sys.argv[1]), sys.argv[2], 150)", str(tmp_path), name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stderr
    assert 0 <= int(done.stdout) < 150


def test_what_takes_too_long_or_is_closed_is_stopped(tmp_path: Path) -> None:
    importer = Importer(tmp_path)
    body = tmp_path / "body"
    body.write_bytes(b"a\n" + b"1\n" * 20_000_000)
    with pytest.raises(QueryTimeout):
        importer.write("t", body, "csv", tmp_path / "made", None, Stop(time.monotonic() + 0.2))
    stop = Stop(time.monotonic() + 60)
    stop.closing.set()
    with pytest.raises(ServiceError, match="closing"):
        importer.write("t", body, "csv", tmp_path / "made", None, stop)
    importer.close()
