"""Labels and predictions as numbers, the same wherever a task is trained, judged, compared or watched.

A label is a number: 0 or 1, the place of its class, or itself. Predictions are as ``registry.scores`` has them; the
prediction log keeps the one number that stands for each in ``score``, and of several classes all ``probabilities``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.declarations.tasks import Forecast, Ranking, Regression, Task
from homeostat.domain.errors import BadRequest
from homeostat.engine.control.losses import LogLoss, Loss, Pinball, SquaredError
from homeostat.engine.registry import ranking
from homeostat.engine.registry.metrics import NAIVE_ERROR
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
    if isinstance(task, Ranking):
        return pl.when(number.is_finite() & (number >= 0)).then(number)
    return pl.when(number.is_finite()).then(number) if task.type == "regression" else number


def key_of(columns: Sequence[str]) -> pl.Expr:
    """The key of a request as the prediction log has it, ``key``, of the columns that it is made of.

    A column that is null is empty in it, as in the log; where all are, there is no key.
    """
    text = pl.concat_str(pl.col(columns).cast(pl.String).fill_null(""), separator="|")
    return pl.when(pl.any_horizontal(pl.col(columns).is_not_null())).then(text).alias("key")


def unit_of(task: Task | None, logged: Collection[str]) -> pl.Expr | None:
    """What rows of the prediction log cannot be judged apart by; None where each can.

    Args:
        task: The model's; None: it is not known.
        logged: The columns of the log.
    """
    return column_of(logged, task.query) if isinstance(task, Ranking) else None


def sent_label(task: Task, column: str) -> pl.Expr:
    """Numbers that came by prediction id, as labels; null where one is none: the outcome of an A/B test may be any."""
    found = pl.col(column).cast(pl.Float64)
    if isinstance(task, Ranking):
        return pl.when(found >= 0).then(found)
    if task.type == "regression":
        return found
    places = [float(place) for place in range(len(task.classes) or 2)]
    return pl.when(found.is_in(places)).then(found.cast(dtype_of(task), strict=False))


def code(task: Task | None, value: Any) -> float:
    """One label as a number.

    Raises:
        BadRequest: it is none of the classes, no finite number, or less than any relevance is.
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
    if isinstance(task, Ranking) and float(value) < 0:
        raise BadRequest(
            f"the label {value!r} is no relevance", field="labels", remedy="Send 0 for what was not relevant"
        )
    return float(value)


def column_of(logged: Collection[str], name: str) -> pl.Expr:
    """A column of the request: one of those that the log has, or in the request's JSON."""
    return pl.col(name) if name in logged else pl.col("request").str.json_path_match(f"$['{name}']")


def together(task: Task, rows: pl.DataFrame) -> npt.NDArray[np.int64] | None:
    """Which rows belong together, as numbers; None where each is by itself.

    Args:
        task: The model's.
        rows: Requests, or rows of the prediction log.
    """
    if task.together is None:
        return None
    logged = "prediction_id" in rows.columns and task.together == task.request.time
    name = "time" if logged else task.together
    found = rows.select(column_of(rows.columns, name).cast(pl.String).rank("dense").fill_null(0))
    return found.to_series().cast(pl.Int64).to_numpy()


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


def losses(
    task: Task,
    measured: Mapping[str, float],
    y: npt.NDArray[Any],
    p: npt.NDArray[Any],
    together: npt.NDArray[np.int64] | None,
) -> Array:
    """What each answer cost; of a ranking what its query lacks of the best order, NaN where nothing in it is relevant.

    Args:
        task: The model's.
        measured: The metrics of the version that others are compared with.
        y: Labels as numbers.
        p: Predictions.
        together: Which rows belong together.
    """
    if not isinstance(task, Ranking):
        return loss_of(task, measured).of(y, p)
    assert together is not None
    places = np.unique(together, return_inverse=True)[1]
    lost: Array = 1 - ranking.by_query(y, p, together, task.k)["ndcg"][places]
    return lost


def constant(task: Task, y: npt.NDArray[Any]) -> float | Array:
    """What a model that knows no features would answer: a rate, the shares of the classes, a mean or a quantile."""
    if task.classes:
        shares: Array = np.bincount(y, minlength=len(task.classes)) / max(len(y), 1)
        return shares
    if isinstance(task, Regression) and task.quantile is not None:
        return float(np.quantile(y, task.quantile))
    return float(y.mean())


def told(task: Task, y: npt.NDArray[Any], X: pl.DataFrame | None = None) -> dict[str, float]:
    """What is kept of the training labels with a run, by name; of their features how far a naive forecast is off."""
    if task.classes:
        return {"train_largest_share": float(np.max(constant(task, y)))}
    if task.type == "regression":
        found = {"train_mean": float(y.mean()), DEVIATION: float(y.std())}
        if X is not None and isinstance(task, Forecast) and task.naive is not None:
            if task.naive not in X.columns:
                raise task.error(f"naive={task.naive!r} is no feature", f"Name one of {', '.join(X.columns)}")
            errors = np.abs(y - X[task.naive].cast(pl.Float64).to_numpy())
            known = errors[~np.isnan(errors)]
            if len(known) and np.isfinite(known).all():  # else nothing says how far a naive forecast is off
                found |= {NAIVE_ERROR: float(known.mean())}
        return found
    return {"train_base_rate": float(y.mean())}
