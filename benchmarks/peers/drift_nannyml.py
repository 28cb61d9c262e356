"""NannyML's univariate drift calculator with its defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import nannyml
import pandas as pd

from benchmarks.peers.streams import Columns
from benchmarks.peers.trial import Pages, Watch, frame, serve


def fit(training: Columns, rows: int) -> Watch:
    """Judge windows as chunks of one table, as NannyML does."""
    before = frame(training)
    calculator = _calculator(before, rows).fit(before)

    def watch(windows: Iterable[Columns]) -> Iterator[Pages]:
        live = pd.concat([frame(window) for window in windows], ignore_index=True)
        found = calculator.calculate(live).filter(period="analysis").to_df()
        alerts = found[[name for name in found.columns if name[-1] == "alert"]]
        for page in alerts.any(axis=1):
            yield {"any column": bool(page)}

    return watch


def held(columns: Columns) -> Callable[[], object]:
    """All rows as one chunk against the first tenth."""
    live = frame(columns)
    columns.clear()
    before = live.head(len(live) // 10)
    return lambda: _calculator(before, len(live)).fit(before).calculate(live).to_df()


def _calculator(before: pd.DataFrame, rows: int) -> nannyml.UnivariateDriftCalculator:
    names = list(before.columns)
    texts = [name for name in names if name.startswith("c")]
    return nannyml.UnivariateDriftCalculator(column_names=names, treat_as_categorical=texts, chunk_size=rows)


if __name__ == "__main__":
    serve(fit, held)
