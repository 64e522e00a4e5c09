"""Draws the reports of the benches as SVG: docs/benchmarks/NAME.json becomes docs/benchmarks/NAME.svg.

    python bench/plots.py [FOLDER]

The figures are those of the reports alone; under each plot stand the machine and how busy it was.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
OURS, THEIRS, THIRD, FOURTH = "#2a78d6", "#8a8a85", "#eb6834", "#4a3aa7"
COLOURS = {"DuckDB": THEIRS, "local": OURS, "pool": THIRD, "cold": FOURTH}
NAMES = {
    "DuckDB": "DuckDB in process",
    "local": "local route (fast path)",
    "pool": "agents, warm pool",
    "cold": "agents, started for it",
}
SPANS = ("parse_ms", "estimate_ms", "bind_ms", "optimize_ms", "stage_1_ms", "stage_2_ms", "collect_ms", "record_ms", "other_ms")
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sabot-sql",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e3df",
    "figure.facecolor": "white",
}
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}

Report = dict[str, Any]


def sizes(axes: Axes, report: Report) -> None:
    """Time over rows, a line for each way."""
    rows = sorted(map(int, report["sizes"]))
    for way, name in NAMES.items():
        figures = [report["sizes"][str(n)][way]["p50"] for n in rows]
        axes.plot(rows, figures, marker="o", linewidth=2, color=COLOURS[way], label=name)
    axes.set(
        xscale="log", yscale="log", xlabel="rows", ylabel="ms, median", title="A grouped sum over Parquet, by size and route"
    )
    axes.legend(frameon=False)


def tpch(axes: Axes, report: Report) -> None:
    """Bars of DuckDB and of the agents for each query, warm."""
    queries = sorted(report["warm"])
    places = range(len(queries))
    for side, (name, colour) in enumerate((("DuckDB, 2 threads", THEIRS), ("2 agents of one thread, warm", OURS))):
        axes.bar([x + 0.4 * side for x in places], [report["warm"][q][side] for q in queries], 0.38, color=colour, label=name)
    total = [sum(report["warm"][q][side] for q in queries) for side in (0, 1)]
    axes.set(
        ylabel="ms, best of the repeats", title=f"TPC-H, scale factor 1: all 22 take {total[1] / total[0]:.2f} of DuckDB's time"
    )
    axes.set_xticks([x + 0.2 for x in places], queries, rotation=60)
    axes.legend(frameon=False)


def scaling(axes: Axes, report: Report) -> None:
    """How much faster two are than one, for the queries that take the longest."""
    names = report["heaviest"]
    for side, (who, colour) in enumerate((("DuckDB", THEIRS), ("agents", OURS))):
        one, two = report[who]
        label = "DuckDB, 2 threads against 1" if who == "DuckDB" else "2 agents against 1"
        axes.bar([x + 0.4 * side for x in range(len(names))], [one[n] / two[n] for n in names], 0.38, color=colour, label=label)
    axes.axhline(1, color="#0b0b0b", linewidth=1)
    axes.set(ylabel="times as fast", title="Two beside one, the queries of TPC-H that take the longest")
    axes.set_xticks([x + 0.2 for x in range(len(names))], names)
    axes.legend(frameon=False)


def service(axes: Axes, report: Report) -> None:
    """Median and 99th percentile over the number of clients."""
    loads = {int(key.split(", ")[1].split()[0]): found for key, found in report.items() if key.startswith("sabot-sql, ")}
    clients = sorted(loads)
    for share, colour in (("p50", OURS), ("p99", THIRD)):
        axes.plot(clients, [loads[n][share] for n in clients], marker="o", linewidth=2, color=colour, label=share)
    for n in clients:
        axes.annotate(f"{loads[n]['per_s']:.0f} q/s", (n, loads[n]["p50"]), (0, 8), textcoords="offset points", ha="center")
    axes.set(xscale="log", yscale="log", xlabel="clients", ylabel="ms", title="Small queries over HTTP, each with a new text")
    axes.set_xticks(clients, [str(n) for n in clients])
    axes.minorticks_off()
    axes.legend(frameon=False)


def overhead(axes: Axes, report: Report) -> None:
    """What a two-stage job spends its time on."""
    found = report["one at a time"]
    values = [found[span]["p50"] for span in SPANS]
    axes.barh([span.removesuffix("_ms").replace("_", " ") for span in SPANS], values, color=OURS)
    for y, value in enumerate(values):
        axes.annotate(f"{value:.2f}", (value, y), (4, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    wall, duck = found["wall_ms"]["p50"], found["DuckDB_ms"]["p50"]
    axes.set(xlabel="ms, median", title=f"A job of two stages on a warm pool: {wall:.1f} ms, DuckDB alone {duck:.1f} ms")


PLOTS: dict[str, Callable[[Axes, Report], None]] = {
    "sizes": sizes,
    "tpch": tpch,
    "scaling": scaling,
    "service": service,
    "overhead": overhead,
}


def draw(name: str, report: Report, path: Path) -> None:
    """Draws one report; the same report gives the same bytes."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        PLOTS[name](figure.subplots(), report)
        machine, *_ = report["machine"].partition(", duckdb")
        figure.supxlabel(f"{machine}; load before: {report['load_before']}", fontsize=8, color="#52514e")
        figure.savefig(path, format="svg", metadata=NO_METADATA)


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name in PLOTS:
        source = folder / f"{name}.json"
        if source.exists():
            draw(name, json.loads(source.read_text(encoding="utf-8")), source.with_suffix(".svg"))
            print(source.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
