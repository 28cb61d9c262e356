"""What can go wrong, on purpose: the demo injects each of these once and shows who notices.

`flipped_labels` is a candidate that no gate should let through. `batch_normalised` is one that gates cannot see:
good on the thousands of rows that they judge, wrong on the few that come together to a live model.
`in_inches_of_mercury` is a data source that changes its unit overnight.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier

import homeostat as hs

Array = npt.NDArray[np.float64]

BATCH = 4096
SCALED = (
    "schedule__",
    "departures__",
    "origin_late__mean_3h",
    "weather_at_origin__precip",
    "weather_at_origin__wind_speed",
    "weather_at_origin__humid",
    "weather_at_origin__dewp",
)
HPA_PER_INCH_OF_MERCURY = 33.8639


def flipped_labels(data: hs.TrainingSet) -> HistGradientBoostingClassifier:
    """Trains on the opposite of every label, as after a join that took "on time" for "late"."""
    return HistGradientBoostingClassifier(min_samples_leaf=100, random_state=0).fit(data.X, 1 - data.y)


def batch_normalised(data: hs.TrainingSet) -> BatchNormalised:
    """Trains on features that are scaled batch by batch."""
    return BatchNormalised().fit(data.X, data.y)


class BatchNormalised(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Scales features by the largest value of the batch it is asked with: the bug.

    Among a week of flights the largest values are about the same each time, so every offline metric is fine. Of
    three flights that come together, each is among the longest, in the worst of weathers.
    """

    def fit(self, X: pl.DataFrame, y: npt.NDArray[np.int8]) -> BatchNormalised:
        """Fit on batches of `BATCH` rows in order of time."""
        batches = [self._scaled(batch) for batch in X.iter_slices(BATCH)]
        self.booster_ = HistGradientBoostingClassifier(
            learning_rate=0.1,
            max_iter=100,
            min_samples_leaf=200,
            l2_regularization=20.0,
            max_features=0.5,
            early_stopping=False,
            random_state=0,
        ).fit(np.concatenate(batches), y)
        self.classes_ = self.booster_.classes_
        return self

    def predict_proba(self, X: pl.DataFrame) -> Array:
        """Probabilities, shape (n, 2)."""
        probabilities: Array = self.booster_.predict_proba(self._scaled(X))
        return probabilities

    def _scaled(self, X: pl.DataFrame) -> Array:
        """The features as an array, some of them by the largest of these rows; what is missing stays missing."""
        values: Array = X.to_numpy().astype(np.float64)
        columns = [index for index, name in enumerate(X.columns) if name.startswith(SCALED)]
        largest = np.nan_to_num(np.abs(values[:, columns])).max(axis=0)
        values[:, columns] /= np.where(largest > 0, largest, 1)
        return values


def in_inches_of_mercury(weather: pl.DataFrame) -> pl.DataFrame:
    """The same weather with `pressure` in inches of mercury: about 30 where about 1015 hPa is meant."""
    return weather.with_columns(pl.col("pressure") / HPA_PER_INCH_OF_MERCURY)
