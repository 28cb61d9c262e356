"""The training set: what a project's ``train`` is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

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

    def sample(self, rows: int, *, seed: int = 0) -> Self:
        """At most so many of the rows, in their order, drawn at random: often as good to learn from, and sooner.

        Args:
            rows: How many; of a ranking those of whole queries, one at least.
            seed: Another draws others.

        Raises:
            BadRequest: ``rows`` is less than 1.
        """
        if rows < 1:
            raise BadRequest(f"{rows} rows are none", field="rows", remedy="Draw 1 or more")
        if rows >= len(self):
            return self
        order = np.random.default_rng(seed).permutation
        if self.queries is None:
            places, queries = np.sort(order(len(self))[:rows]), None
        else:
            numbers, sizes = np.unique(self.queries, return_counts=True)
            drawn = order(len(numbers))
            enough = max(1, int(np.searchsorted(np.cumsum(sizes[drawn]), rows, side="right")))
            places = np.flatnonzero(np.isin(self.queries, numbers[drawn[:enough]]))
            queries = np.unique(self.queries[places], return_inverse=True)[1]
        return replace(
            self,
            X=self.X[places],
            y=self.y[places],
            keys=self.keys[places] if len(self.keys) else self.keys,
            times=None if self.times is None else self.times[places],
            queries=queries,
        )

    def log(self, name: str, value: float) -> None:
        """Keep a number with the run, such as a validation score; a later value of the same name replaces it.

        Raises:
            BadRequest: the value is not finite.
        """
        number = float(value)
        if not math.isfinite(number):
            raise BadRequest(f"metric {name!r} is {number}", field=name, remedy="Log a finite number")
        self.metrics[name] = number
