"""What every drift tool is asked, each in its own environment: which windows page, and what a million rows take.

``python -m benchmarks.peers.drift_NAME QUESTION`` answers a question in JSON. ``{"streams": [{"rows": 500, "shift":
"none", "again": null, "turns": [0, 2], "windows": 50}]}``: of each stream, for each repetition from the first to before
the last, the windows at which each of the tool's rules pages. ``{"held": 1000}``: what comparing so many rows costs.
``{"file": "rows.parquet"}``: what comparing those of a file costs.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.streams import HOUR, Columns, Stream, wide

if TYPE_CHECKING:
    import pandas as pd

Pages = dict[str, bool]  # by rule
Watch = Callable[[Iterable[Columns]], Iterator[Pages]]


def serve(
    fit: Callable[[Columns, int], Watch],
    held: Callable[[Columns], Callable[[], object]],
    file: Callable[[Path], Callable[[], object]] | None = None,
) -> None:
    """Answer the question on the command line.

    Args:
        fit: From training rows and the rows of a window to what judges windows, one after the other.
        held: From rows to a call that compares them with their first tenth as the reference.
        file: The same of the rows of a Parquet file.
    """
    asked = json.loads(sys.argv[1])
    if file is not None and "file" in asked:
        print(json.dumps(_cost(file(Path(asked["file"])))))
        return
    if "held" in asked:
        print(json.dumps(_cost(held(wide(asked["held"])))))
        return
    print(json.dumps([_pages(fit, one) for one in asked["streams"]]))


def frame(columns: Columns) -> pd.DataFrame:
    """The columns that are compared, for the tools that read pandas."""
    import pandas as pd

    return pd.DataFrame({name: values for name, values in columns.items() if name != HOUR})


def _pages(fit: Callable[[Columns, int], Watch], asked: dict[str, Any]) -> dict[str, list[list[int]]]:
    stream = Stream(asked["rows"], asked["shift"], asked["again"])
    found: dict[str, list[list[int]]] = {}
    for turn in range(*asked["turns"]):
        watch = fit(stream.training(turn), stream.rows)
        each: dict[str, list[int]] = {}
        windows = stream.windows(turn, asked["windows"])
        for at, pages in enumerate(watch(windows), 1):
            for rule, page in pages.items():
                each.setdefault(rule, []).extend([at] if page else [])
        for rule, pages_at in each.items():
            found.setdefault(rule, []).append(pages_at)
    return found


def _cost(work: Callable[[], object]) -> dict[str, float]:
    gc.collect()
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # from here on the peak is this work's, not that of making the rows
    before = _memory("VmRSS")
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    most = _memory("VmHWM")
    return {"cpu": cpu, "wall": wall, "beyond": most - before, "whole": most}


def _memory(of: str) -> float:
    """Megabytes of this process, as Linux tells them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{of}:"))
