"""The loop's answers against those that the first model would have given to the same requests.

The first model is loaded from its package and asked with the features that were logged for each request, which is
what it would have been asked with had it never been replaced.
"""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.app.reading import read
from homeostat.domain.contracts import SEQ
from homeostat.domain.records import ModelVersion
from homeostat.engine.registry import package
from homeostat.engine.registry.metrics import evaluate

MODEL = "flight-delay"
LOG = f"{MODEL}.predictions"
NEW_YORK = "America/New_York"


class Quality(msgspec.Struct, frozen=True):
    """How good some answers were: nats per flight, area under the ROC curve, probability; None: no value."""

    rows: int
    log_loss: float | None
    auc: float | None
    calibration_error: float | None


class Scores(msgspec.Struct, frozen=True):
    """The same for the whole replay, for each month and each week (by its Monday) of New York."""

    rows: int
    log_loss: float | None
    auc: float | None
    calibration_error: float | None
    by_month: dict[str, Quality] = {}
    by_week: dict[str, Quality] = {}


class Frozen:
    """The first model, which nobody replaces."""

    def __init__(self, container: Container) -> None:
        first = container.store.get(ModelVersion, MODEL, 1)
        assert first is not None
        self._package = package.load(container.blobs, first.manifest, expect=first.digest)
        self._features = [column.name for column in self._package.signature.features]

    def scores(self, log: pl.DataFrame) -> pl.DataFrame:
        """Its answers to the requests of the log: ``prediction_id`` and ``frozen``."""
        asked = log.filter(pl.col("status") == 200)
        if not asked.height:
            return pl.DataFrame(schema={"prediction_id": pl.String, "frozen": pl.Float64})
        scores = self._package.predict(asked.select(self._features))
        return asked.select("prediction_id", frozen=pl.Series(scores))


def logged(container: Container, after: int = 0) -> pl.DataFrame:
    """The prediction log behind a batch, as far as it has been written."""
    return read(container, LOG).filter(pl.col(SEQ) > after).collect()


def compared(container: Container, answers: pl.DataFrame) -> pl.DataFrame:
    """Each answer that has a label: ``flight``, ``sched_dep``, ``score``, ``frozen``, ``late``.

    Args:
        container: The demo's home.
        answers: What the deployment said: ``flight``, ``sched_dep``, ``prediction_id``, ``score``.
    """
    labels = read(container, "landings").select("flight", pl.col("late").cast(pl.Int8)).collect()
    frozen = Frozen(container).scores(logged(container))
    return answers.join(frozen, on="prediction_id").join(labels, on="flight").sort("sched_dep", "flight")


def scores(rows: pl.DataFrame, column: str) -> Scores:
    """The quality of ``column`` on rows with ``late`` and ``sched_dep``."""
    local = pl.col("sched_dep").dt.convert_time_zone(NEW_YORK)
    dated = rows.with_columns(
        month=local.dt.strftime("%Y-%m"), week=local.dt.truncate("1w").dt.strftime("%Y-%m-%d")
    )
    return Scores(
        **msgspec.structs.asdict(quality(rows, column)),
        by_month=_grouped(dated, "month", column),
        by_week=_grouped(dated, "week", column),
    )


def quality(rows: pl.DataFrame, column: str) -> Quality:
    """The quality of ``column`` on rows with ``late``."""
    found = evaluate(rows["late"].to_numpy(), rows[column].to_numpy())
    return Quality(rows.height, found.get("log_loss"), found.get("auc"), found.get("calibration_error"))


def _grouped(rows: pl.DataFrame, by: str, column: str) -> dict[str, Quality]:
    parts: dict[tuple[Any, ...], pl.DataFrame] = rows.partition_by(by, as_dict=True, maintain_order=True)
    return {str(name): quality(part, column) for (name,), part in parts.items()}
