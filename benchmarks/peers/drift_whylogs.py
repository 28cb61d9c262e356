"""whylogs' drift scores of profiles, with their defaults: Kolmogorov-Smirnov and chi-square at p < 0.05."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import whylogs
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

from benchmarks.peers.streams import Columns
from benchmarks.peers.trial import Pages, Watch, frame, serve


def fit(training: Columns, rows: int) -> Watch:
    """Judge the profile of each window against that of the training rows."""
    before = _view(frame(training))

    def watch(windows: Iterable[Columns]) -> Iterator[Pages]:
        for window in windows:
            found = calculate_drift_scores(_view(frame(window)), before, with_thresholds=True)
            yield {"any column": any(one and one["drift_category"] == "DRIFT" for one in found.values())}

    return watch


def held(columns: Columns) -> Callable[[], object]:
    """The profile of all rows against that of the first tenth."""
    live = frame(columns)
    columns.clear()
    before = _view(live.head(len(live) // 10))
    return lambda: calculate_drift_scores(_view(live), before, with_thresholds=True)


def _view(rows: Any) -> Any:
    return whylogs.log(rows).view()


if __name__ == "__main__":
    serve(fit, held)
