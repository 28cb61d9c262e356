"""The training set: what a project's ``train`` is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.errors import BadRequest


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Rows with their answers, features computed as they would have been at the time of each.

    Args:
        X: Features, one row a labelled request, oldest first.
        y: Labels, aligned with ``X``: 0 and 1 (int8); of several classes their places in ``classes`` (int16); of a
            regression numbers (float64).
        keys: The key columns of the same rows.
        times: The event time of the same rows; None when requests have none.
        params: The parameters of this run.
        metrics: What ``log`` was told.
        classes: The classes of a multi-class task, in the order of their numbers.
        queries: Of a ranking the number of the query that each row belongs to, from 0 and ascending: XGBoost's ``qid``,
            and ``np.bincount(data.queries)`` is LightGBM's ``group``.
    """

    X: pl.DataFrame
    y: npt.NDArray[Any]
    keys: pl.DataFrame = field(default_factory=pl.DataFrame)
    times: pl.Series | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    classes: tuple[Any, ...] = ()
    queries: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.y)
        known = labels.dtype in (np.int16, np.float64)
        object.__setattr__(self, "y", labels if known else labels.astype(np.int8))
        if self.y.shape != (len(self.X),):
            raise BadRequest(
                f"{len(self.X)} rows and labels of shape {self.y.shape}", remedy="Give one label a row"
            )

    def __len__(self) -> int:
        return len(self.X)

    @property
    def columns(self) -> list[str]:
        """The names of the features."""
        return self.X.columns

    def log(self, name: str, value: float) -> None:
        """Keep a number with the run, such as a validation score; a later value of the same name replaces it.

        Raises:
            BadRequest: the value is not finite.
        """
        number = float(value)
        if not math.isfinite(number):
            raise BadRequest(f"metric {name!r} is {number}", field=name, remedy="Log a finite number")
        self.metrics[name] = number
