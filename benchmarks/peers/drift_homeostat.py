"""Homeostat's test beside the rule that many use: any feature whose population stability index is above a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.peers.streams import HOUR, LETTERS, TRAINED, WINDOWS, Columns
from benchmarks.peers.trial import Pages, Watch, serve
from homeostat.engine.monitoring.drift import drift, psi
from homeostat.engine.monitoring.evidence import Evidence, Monitor, judge, look, monitor
from homeostat.engine.monitoring.reference import Profile, Reference, merge, profile, reference

ALPHA = 0.02
TEST = "test"
_BOUNDS = (0.1, 0.25)
_BATCH = 1 << 16
_known: dict[int, tuple[Reference, Monitor]] = {}


def fit(training: Columns, rows: int) -> Watch:
    """Judge each window by the test, and by the bare index."""
    against, test = _fitted(training)

    def watch(windows: Iterable[Columns]) -> Iterator[Pages]:
        evidence = Evidence()
        for window in windows:
            live, hours = _frame(window)
            seen = profile(against, live, hours)
            evidence = look(test, evidence, seen)
            worst = max(
                psi(np.array(against.features[name].counts, float), np.array(counts, float))
                for name, counts in seen.counts.items()
            )
            yield {
                TEST: judge(test, evidence).drifted,
                **{f"PSI > {bound}": worst > bound for bound in _BOUNDS},
            }

    return watch


def held(columns: Columns) -> Callable[[], object]:
    """The profile of all rows against the first tenth, with effect sizes."""
    live, _ = _frame(columns)
    columns.clear()
    against = reference(live.head(live.height // 10))
    return lambda: drift(against, profile(against, live))


def file(path: Path) -> Callable[[], object]:
    """The profile of a file's rows, a batch after the other, against the first tenth."""
    rows = pl.scan_parquet(path)
    count = int(rows.select(pl.len()).collect().item())
    against = reference(rows.head(count // 10).collect())

    def work() -> object:
        seen = Profile()
        for first in range(0, count, _BATCH):
            seen = merge(seen, profile(against, rows.slice(first, _BATCH).collect()))
        return drift(against, seen)

    return work


def _fitted(training: Columns) -> tuple[Reference, Monitor]:
    """The same training rows come again each `TRAINED` repetitions."""
    key = hash(training["x0"].tobytes())
    if key not in _known:
        if len(_known) == TRAINED:  # those of other streams
            _known.clear()
        rows, hours = _frame(training)
        against = reference(rows, seasons=hours)
        _known[key] = against, monitor(against, against.features, false_alarm=ALPHA, looks=WINDOWS)
    return _known[key]


def _frame(columns: Columns) -> tuple[pl.DataFrame, pl.Series | None]:
    hours = pl.Series(columns[HOUR]).cast(pl.String) if HOUR in columns else None
    return pl.DataFrame({name: _column(values) for name, values in columns.items() if name != HOUR}), hours


def _column(values: np.ndarray) -> pl.Series:
    """Letters as texts: making each of them anew would take longer than counting them."""
    if values.dtype.kind != "U":
        return pl.Series(values)
    return pl.Series(LETTERS)[values.view(np.uint32) - ord(LETTERS[0])]


if __name__ == "__main__":
    serve(fit, held, file)
