"""Evidently's drift preset with its defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from benchmarks.peers.streams import Columns
from benchmarks.peers.trial import Pages, Watch, frame, serve


def fit(training: Columns, rows: int) -> Watch:
    """Judge each window by one report."""
    before = _dataset(training)

    def watch(windows: Iterable[Columns]) -> Iterator[Pages]:
        for window in windows:
            found = Report([DataDriftPreset()]).run(_dataset(window), before).dict()["metrics"]
            columns = [_drifted(one) for one in found if one["metric_name"].startswith("ValueDrift")]
            yield {"any column": any(columns), "half of the columns": 2 * sum(columns) >= len(columns)}

    return watch


def held(columns: Columns) -> Callable[[], object]:
    """All rows against the first tenth."""
    tenth = len(columns["x0"]) // 10
    before, now = _dataset({name: values[:tenth] for name, values in columns.items()}), _dataset(columns)
    columns.clear()
    return lambda: Report([DataDriftPreset()]).run(now, before).dict()


def _drifted(metric: dict[str, object]) -> bool:
    config: dict[str, object] = metric["config"]  # type: ignore[assignment]
    value, threshold = float(metric["value"]), float(config["threshold"])  # type: ignore[arg-type]
    return value < threshold if "p_value" in str(config["method"]) else value >= threshold


def _dataset(columns: Columns) -> Dataset:
    rows = frame(columns)
    texts = [name for name in rows.columns if name.startswith("c")]
    numbers = [name for name in rows.columns if name not in texts]
    return Dataset.from_pandas(rows, DataDefinition(numerical_columns=numbers, categorical_columns=texts))


if __name__ == "__main__":
    serve(fit, held)
