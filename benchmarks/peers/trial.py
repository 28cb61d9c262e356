"""What every drift tool is asked, each in its own environment: which windows page, and what a million rows take.

``python -m benchmarks.peers.drift_NAME '{"rows": 500, "shift": "none", "again": null, "repeats": 2, "windows": 50}'``
prints the windows at which each of the tool's rules pages; ``'{"held": 1000000}'`` prints what comparing them costs.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.peers.streams import HOUR, Columns, Stream, wide

if TYPE_CHECKING:
    import pandas as pd

Pages = dict[str, bool]  # by rule
Watch = Callable[[Iterable[Columns]], Iterator[Pages]]


def serve(fit: Callable[[Columns, int], Watch], held: Callable[[Columns], Callable[[], object]]) -> None:
    """Answer the question on the command line.

    Args:
        fit: From training rows and the rows of a window to what judges windows, one after the other.
        held: From rows to a call that compares them with their first tenth as the reference.
    """
    asked = json.loads(sys.argv[1])
    print(json.dumps(_cost(held(wide(asked["held"]))) if "held" in asked else _pages(fit, asked)))


def frame(columns: Columns) -> pd.DataFrame:
    """The columns that are compared, for the tools that read pandas."""
    import pandas as pd

    return pd.DataFrame({name: values for name, values in columns.items() if name != HOUR})


def _pages(fit: Callable[[Columns, int], Watch], asked: dict[str, Any]) -> dict[str, list[list[int]]]:
    stream = Stream(asked["rows"], asked["shift"], asked["again"])
    found: dict[str, list[list[int]]] = {}
    for turn in range(asked["repeats"]):
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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": cpu, "wall": wall, "beyond": (after - before) / 1024, "whole": after / 1024}
