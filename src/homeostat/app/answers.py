"""Labels and predictions as numbers, the same wherever a task is trained, judged, compared or watched.

A label is a number: 0 or 1, the place of its class, or itself. Predictions are as ``registry.scores`` has them; the
prediction log keeps the one number that stands for each in ``score``, and of several classes all ``probabilities``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.declarations.tasks import Regression, Task
from homeostat.domain.errors import BadRequest
from homeostat.engine.control.losses import LogLoss, Loss, Pinball, SquaredError
from homeostat.engine.serving.predictions import PROBABILITIES

Array = npt.NDArray[np.float64]

DEVIATION: Final = "train_deviation"
_DTYPES: Final[Mapping[str, Any]] = {
    "binary": pl.Int8(),
    "multiclass": pl.Int16(),
    "regression": pl.Float64(),
}
_KINDS: Final[Mapping[type, Any]] = {str: pl.String(), int: pl.Int64(), bool: pl.Boolean()}


def dtype_of(task: Task) -> Any:
    """The type of a column of labels as numbers."""
    return _DTYPES[task.type]


def coded(task: Task) -> pl.Expr:
    """The label's column as numbers; null where there is none, or one that is no answer to the task."""
    found = pl.col(task.label)
    if task.classes:
        places = {one: place for place, one in enumerate(task.classes)}
        typed = found.cast(_KINDS[type(task.classes[0])])
        return typed.replace_strict(
            list(places), list(places.values()), default=None, return_dtype=dtype_of(task)
        )
    number = found.cast(dtype_of(task))
    return pl.when(number.is_finite()).then(number) if task.type == "regression" else number


def sent_label(task: Task, column: str) -> pl.Expr:
    """Numbers that came by prediction id, as labels; null where one is none: the outcome of an A/B test may be any."""
    found = pl.col(column).cast(pl.Float64)
    if task.type == "regression":
        return found
    places = [float(place) for place in range(len(task.classes) or 2)]
    return pl.when(found.is_in(places)).then(found.cast(dtype_of(task), strict=False))


def code(task: Task | None, value: Any) -> float:
    """One label as a number.

    Raises:
        BadRequest: it is none of the classes, or no finite number.
    """
    if task is not None and task.classes:
        if value not in task.classes:
            known = ", ".join(map(str, task.classes))
            raise BadRequest(
                f"the label {value!r} is no class", field="labels", remedy=f"Send any of {known}"
            )
        return float(task.classes.index(value))
    if isinstance(value, str) or not np.isfinite(float(value)):
        raise BadRequest(f"the label {value!r} is no number", field="labels", remedy="Send finite numbers")
    return float(value)


def predictions(task: Task, log: pl.DataFrame, whose: Literal["", "shadow_"] = "") -> Array:
    """What was predicted in rows of the log: shape ``(n,)``, or ``(n, classes)``; NaN where there is nothing.

    Args:
        task: The model's.
        log: Rows of the prediction log, with the columns ``score`` or ``probabilities``.
        whose: Of what answered, or of its shadow.
    """
    if not task.classes:
        scores: Array = log[f"{whose}score"].cast(pl.Float64).to_numpy()
        return scores
    width, name = len(task.classes), f"{whose}{PROBABILITIES}"
    out = np.full((log.height, width), np.nan)
    if name in log.columns:
        there = log.select((pl.col(name).list.len() == width).fill_null(False)).to_series().to_numpy()
        if there.any():
            out[there] = np.array(log[name].filter(pl.Series(there)).to_list(), dtype=np.float64)
    return out


def loss_of(task: Task, measured: Mapping[str, float]) -> Loss:
    """What an answer costs, in the unit that a version's training labels give.

    Args:
        task: The model's.
        measured: The metrics of the version that others are compared with.
    """
    scale = measured.get(DEVIATION) or 1.0
    if not isinstance(task, Regression):
        return LogLoss()
    return SquaredError(scale) if task.quantile is None else Pinball(task.quantile, scale)


def constant(task: Task, y: npt.NDArray[Any]) -> float | Array:
    """What a model that knows no features would answer: a rate, the shares of the classes, a mean or a quantile."""
    if task.classes:
        shares: Array = np.bincount(y, minlength=len(task.classes)) / max(len(y), 1)
        return shares
    if isinstance(task, Regression) and task.quantile is not None:
        return float(np.quantile(y, task.quantile))
    return float(y.mean())


def told(task: Task, y: npt.NDArray[Any]) -> dict[str, float]:
    """What is kept of the training labels with a run, by name."""
    if task.classes:
        return {"train_largest_share": float(np.max(constant(task, y)))}
    if task.type == "regression":
        return {"train_mean": float(y.mean()), DEVIATION: float(y.std())}
    return {"train_base_rate": float(y.mean())}
