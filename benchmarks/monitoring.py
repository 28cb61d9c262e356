"""Drift: false reports, delays, and what comparing a million rows takes, beside the field's tools on the same rows.

Each tool runs in a process of its own, its peers in environments of their own, which are made at the first time; one
that does not install here is left out. Windows are drawn with fixed seeds, so every tool sees the same rows; slow
tools see fewer repetitions of them, and each figure says how many. Streams are watched by as many processes of
one thread as there are processors, ours in parts; what is timed comes afterwards, one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from benchmarks.measure import Line, Section, duration
from benchmarks.peers.drift_homeostat import ALPHA, TEST
from benchmarks.peers.environments import DRIFT, python_of, version_of
from benchmarks.peers.streams import SHIFTS, TRAINED, WINDOWS, Stream, wide

# Delays are told up to here; without drift all windows are judged.
SHIFTED_WINDOWS = 10
HELD = 1_000_000
OURS = "Homeostat"
_REPEATS = {OURS: 200, "NannyML": 4, "whylogs": 4, "Evidently": 1}
_MOST_WINDOWS = {"Evidently": 10}  # at two CPU seconds each
_PATIENCE = 1200  # seconds that a process may take
_ROOT = Path(__file__).parents[1]
_QUIET = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONWARNINGS": "ignore"}
_ONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
_STREAMS = {
    **{
        f"windows of {rows:,}, shift {shift}": Stream(rows, shift) for rows in (500, 5000) for shift in SHIFTS
    },
    **{
        f"seasons of an hour, neighbours correlated by {again:g}, windows of 500, shift {shift}": Stream(
            500, shift, again
        )
        for again in (0.0, 0.5)
        for shift in ("none", "medium")
    },
}


@dataclass(frozen=True)
class Tool:
    """A drift tool: its name, its release, and the interpreter that has it."""

    name: str
    release: str
    python: str

    def answer(self, asked: dict[str, Any]) -> Any:
        """What the tool answers to a question; None where it takes too long."""
        command = [self.python, "-m", f"benchmarks.peers.drift_{self.name.lower()}", json.dumps(asked)]
        path = {"PYTHONPATH": str(_ROOT / "src")} if self.name == OURS else {}
        threads = _ONE if "streams" in asked else {}
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | _QUIET | path | threads
        try:
            done = subprocess.run(
                command, cwd=_ROOT, env=environment, check=True, timeout=_PATIENCE, stdout=subprocess.PIPE
            )
        except subprocess.TimeoutExpired:
            return None
        return json.loads(done.stdout.splitlines()[-1])


def run() -> Section:
    tools = list(_tools())
    return Section(
        "Monitoring",
        f"{WINDOWS} windows of 20 features (or 8 with seasons), against 50,000 training rows that were drawn {TRAINED} "
        f"times; Homeostat's test promises any false report with a probability of at most {ALPHA:g}. Small: "
        "0.15 standard deviations in two features and 4% of the mass of a category in a third; medium: 0.35 and 10%; "
        "with seasons 0.35 in one. Falsely: the share of repetitions with any page in all windows, and the share of "
        f"windows that page. Delays in windows, 1 being the first that is shifted, looked at up to {SHIFTED_WINDOWS}. "
        "Peers judge by their defaults, on the same rows: any column, and for Evidently also half of the columns; no "
        "peer knows seasons. Repetitions and windows stand with each. Beyond: memory beyond the rows that are held; "
        "in all: of the whole process, rows included.",
        [*_streams(tools), _held(tools), _file(tools[0])],
        bare=", ".join(f"{one.name} {one.release}".strip() for one in tools[1:]) + ", PSI",
    )


def _tools() -> Iterator[Tool]:
    yield Tool(OURS, "", sys.executable)
    for name in DRIFT:
        python = python_of(name)
        if python is None:
            print(f"{name} does not install here, and is left out", file=sys.stderr)
        else:
            yield Tool(name, version_of(name), str(python))


def _streams(tools: list[Tool]) -> Iterator[Line]:
    processors = os.cpu_count() or 1
    parts = [(tool, [0, _REPEATS[tool.name]]) for tool in tools[1:]]
    step = -(-_REPEATS[OURS] // processors)
    parts += [
        (tools[0], [first, min(first + step, _REPEATS[OURS])]) for first in range(0, _REPEATS[OURS], step)
    ]
    print(f"  {len(_STREAMS)} streams …", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(processors) as beside:
        answers = beside.map(lambda part: part[0].answer({"streams": _asked(*part)}), parts)
        found: dict[str, list[Any]] = {}
        for (tool, _), answer in zip(parts, answers, strict=True):
            found.setdefault(tool.name, []).append(answer)
    for place, (what, stream) in enumerate(_STREAMS.items()):
        ours, peers = "", []
        for tool in tools:
            if None in found[tool.name]:
                peers.append(f"{tool.name}: more than {_PATIENCE} s")
                continue
            windows = _looked(tool, stream)
            for rule in found[tool.name][0][place]:
                pages = [pages for part in found[tool.name] for pages in part[place][rule]]
                told = f"{_told(pages, stream.shift, windows)} ({len(pages)} × {windows})"
                if rule == TEST:
                    ours = told
                else:
                    peers.append(f"{rule if tool.name == OURS else f'{tool.name}, {rule}'}: {told}")
        yield Line(what, ours, "; ".join(peers))


def _asked(tool: Tool, turns: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "rows": one.rows,
            "shift": one.shift,
            "again": one.again,
            "turns": turns,
            "windows": _looked(tool, one),
        }
        for one in _STREAMS.values()
    ]


def _looked(tool: Tool, stream: Stream) -> int:
    """How many windows a tool is shown."""
    windows = WINDOWS if stream.shift == "none" else SHIFTED_WINDOWS
    return min(windows, _MOST_WINDOWS.get(tool.name, windows))


def _told(pages: list[list[int]], shift: str, windows: int) -> str:
    found = sum(bool(one) for one in pages) / len(pages)
    if shift == "none":
        return f"falsely in {found:.1%}, {sum(map(len, pages)) / windows / len(pages):.1%} of windows"
    delays = sorted(one[0] if one else windows + 1 for one in pages)
    middle = median(delays)
    return f"found in {found:.1%}, median {f'{middle:g}' if middle <= windows else 'later'}"


def _held(tools: list[Tool]) -> Line:
    each = {}
    for tool in tools:
        print(f"  {HELD:,} rows: {tool.name} …", file=sys.stderr, flush=True)
        each[tool.name] = tool.answer({"held": HELD})
    ours = each.pop(OURS)
    assert ours is not None
    peers = [
        f"{name}: more than {_PATIENCE} s" if one is None else f"{name}: {_cost(one)}"
        for name, one in each.items()
    ]
    rate = f"{_cost(ours)}; {HELD / ours['cpu']:,.0f} rows a CPU second"
    return Line(f"{HELD:,} rows of 20 columns, 4 of texts, against a reference", rate, "; ".join(peers))


def _file(ours: Tool) -> Line:
    print(f"  {HELD:,} rows of a file …", file=sys.stderr, flush=True)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        pl.DataFrame(wide(HELD)).write_parquet(path, row_group_size=1 << 16)
        found = ours.answer({"file": str(path)})
    assert found is not None
    return Line("the same from a Parquet file, 65,536 rows at a time, reading included", _cost(found))


def _cost(one: dict[str, float]) -> str:
    return (
        f"{duration(one['cpu'])} CPU, {duration(one['wall'])} wall, {one['beyond']:,.0f} MB beyond the rows, "
        f"{one['whole']:,.0f} MB in all"
    )
