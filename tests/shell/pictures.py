"""Pictures of the shell in docs/pictures, each made of a real session at a real terminal: `make pictures`.

The data is TPC-H at scale factor 0.01, in a folder `shop`.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.shell.terminal import MORE, PROMPT, Terminal

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "pictures"
COLUMNS = 100
KERNELS = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")}  # as compiled by `make setup`
TITLE = "sabot-sql shell shop"

# rich's own names a font to be fetched; a reader's own is good enough, and its width is given with each line
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; white-space: pre; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

Scene = Callable[[Terminal], None]


def tour(terminal: Terminal) -> None:
    """Which tables there are, a question, and why it ran where it ran."""
    lines(terminal, "\\dt", "select r_name as region, count(*) as customers, sum(c_acctbal) as balance", "from customer")
    lines(terminal, "  join nation on c_nationkey = n_nationkey join region on n_regionkey = r_regionkey")
    lines(terminal, "group by all order by balance desc;")
    terminal.wait("(5 rows)")


def completion(terminal: Terminal) -> None:
    """Tab, in the middle of a statement."""
    terminal.type("select o_orderpriority, count(*) from orders where o_order\t")
    terminal.wait("o_orderstatus", idle=False)
    terminal.settle()


def mistakes(terminal: Terminal) -> None:
    """What is wrong, where, and what was meant."""
    terminal.run("select c_name, c_adress from customer;", "error:")
    lines(terminal, "select n_name, sum(o_totalprice) from orders o", "join nation on n_nationkey = o.o_nationkey group by 1;")
    terminal.wait("o_nationkey", "error:", "^")


def distributed(terminal: Terminal) -> None:
    """A question for the agents, and the stages of its plan."""
    terminal.run("select count(*) from lineitem;", "(1 row)", "route distributed")  # the agents have started
    terminal.run("select l_shipmode, sum(l_quantity) as n from lineitem group by 1 order by 1 limit 3;", "(3 rows)")
    lines(terminal, "\\plan")
    terminal.wait("stage 1")


def formats(terminal: Terminal) -> None:
    """A row as a list, rows as Markdown, and a file."""
    lines(terminal, "select * from nation limit 1 \\gx", "\\pset format markdown", "select * from region limit 2;")
    lines(terminal, "\\copy (select * from region) to regions.parquet")
    terminal.wait("written to regions.parquet")


SCENES: dict[str, tuple[Scene, int]] = {
    "tour": (tour, 31),
    "completion": (completion, 12),
    "mistakes": (mistakes, 14),
    "distributed": (distributed, 32),
    "formats": (formats, 20),
}


def lines(terminal: Terminal, *typed: str) -> None:
    """Types lines, each when the one before has been taken and what it asked for is on the screen."""
    for line in typed:
        terminal.type(line)
        terminal.settle()
        terminal.type("\r")
        terminal.settle()
        while terminal.line not in (PROMPT, MORE):
            terminal.pause(0.1)


def record(name: str, home: Path) -> str:
    """Plays a scene in `home`, which holds `shop`, and gives the picture of its last screen."""
    scene, height = SCENES[name]
    options = ["--route", "distributed"] if scene is distributed else []
    with Terminal("shop", "--agents", "2", *options, home=home, columns=COLUMNS, lines=height, **KERNELS) as terminal:
        scene(terminal)
        terminal.settle()
        return svg(terminal)


def svg(terminal: Terminal) -> str:
    """The screen as SVG, without the empty lines under it."""
    console = Console(record=True, width=terminal.screen.columns, file=_Nowhere(), legacy_windows=False)
    last = max(y for y, line in enumerate(terminal.screen.display) if line.strip())
    for y in range(last + 1):
        console.print(drawn(terminal, y), no_wrap=True, overflow="crop", end="\n")
    return console.export_svg(title=TITLE, theme=MONOKAI, code_format=SVG)


def drawn(terminal: Terminal, y: int) -> Text:
    """A line of the screen with its colours."""
    text = Text()
    cells = (terminal.screen.buffer[y][x] for x in range(terminal.screen.columns))
    for look, run in itertools.groupby(cells, lambda cell: cell[1:]):
        fg, bg, bold, italic, underline, _, reverse, *_ = look
        style = Style(color=colour(fg), bgcolor=colour(bg), bold=bold, italic=italic, underline=underline, reverse=reverse)
        text.append("".join(cell.data for cell in run), style)
    text.rstrip()
    return text


def colour(name: str) -> str | None:
    """pyte's name of a colour as rich's."""
    if name == "default":
        return None
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    bright = name.startswith("bright")
    plain = {"brown": "yellow"}.get(name.removeprefix("bright"), name.removeprefix("bright"))
    return f"bright_{plain}" if bright else plain


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def make_shop(folder: Path) -> None:
    """The data of the pictures."""
    command = [str(Path(sys.executable).parent / "tpchgen-cli"), "parquet", "-s", "0.01", "--parts=2", f"--output-dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sabot-pictures-") as home:
        make_shop(Path(home) / "shop")
        for name in SCENES:
            (FOLDER / f"{name}.svg").write_text(record(name, Path(home)), encoding="utf-8")
            print(f"docs/pictures/{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
