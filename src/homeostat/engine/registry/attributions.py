"""What each feature adds to an answer, exactly, by the models that know it.

TreeSHAP of LightGBM and XGBoost (Lundberg et al., "From local explanations to global understanding with explainable AI
for trees", Nature Machine Intelligence 2, 2020), in the unit of the trees' sum; and linear models, whose Shapley values
against the mean are coefficients times differences.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from homeostat.engine.registry.formats.base import Array, numbers
from homeostat.engine.registry.formats.lgbm import LgbModel, LgbNumber
from homeostat.engine.registry.formats.xgb import XgbModel, XgbNumber

ANSWER: Final = "the answer"
LOG_ODDS: Final = "log-odds"
TREES: Final = "the sum of the trees"
_LINEAR: Final = (
    *(
        "LogisticRegression",
        "LogisticRegressionCV",
        "LinearRegression",
        "Ridge",
        "RidgeCV",
        "Lasso",
        "LassoCV",
    ),
    *("ElasticNet", "ElasticNetCV", "QuantileRegressor", "HuberRegressor"),
)


class Exact(NamedTuple):
    """Values of shape (rows, features), what they are added to by row, their unit, and how they were found."""

    values: Array
    base: Array
    unit: str
    method: str


def exact(estimator: Any, X: pl.DataFrame, background: pl.DataFrame, classes: Array | None) -> Exact | None:
    """Exact values, where the model gives them; else None.

    Args:
        estimator: As a package has it.
        X: The rows.
        background: Rows whose mean linear models are compared with.
        classes: Of several classes, the place of the one to explain by row; None for one number.
    """
    if isinstance(estimator, LgbModel | LgbNumber):
        found = np.asarray(estimator.model.predict(numbers(X), pred_contrib=True, num_threads=1))
        unit = LOG_ODDS if isinstance(estimator, LgbModel) else TREES
        return _of_class(found, X.width, classes, unit, "TreeSHAP by LightGBM")
    if isinstance(estimator, XgbModel | XgbNumber):
        import xgboost

        model = estimator.model
        booster = model if isinstance(model, xgboost.Booster) else model.get_booster()
        data = xgboost.DMatrix(numbers(X), missing=estimator.missing, nthread=1)
        found = np.asarray(
            booster.predict(data, pred_contribs=True, validate_features=False), dtype=np.float64
        )
        unit = LOG_ODDS if isinstance(estimator, XgbModel) else TREES
        return _of_class(found.reshape(X.height, -1), X.width, classes, unit, "TreeSHAP by XGBoost")
    name = type(estimator)
    if name.__module__.startswith("sklearn.linear_model") and name.__name__ in _LINEAR:
        return _linear(estimator, X, background, classes)
    return None


def _of_class(found: Array, width: int, classes: Array | None, unit: str, method: str) -> Exact | None:
    """The columns of the class that is explained: each has those of all features and the base."""
    if found.shape[1] != width + 1:
        if classes is None or found.shape[1] % (width + 1):
            return None
        whole = found.reshape(len(found), -1, width + 1)
        if classes.max(initial=0) >= whole.shape[1]:
            return None  # a class that training had no row of
        found = whole[np.arange(len(found)), classes.astype(np.int64)]
    return Exact(found[:, :-1], found[:, -1], unit, method)


def _linear(estimator: Any, X: pl.DataFrame, background: pl.DataFrame, classes: Array | None) -> Exact | None:
    if classes is not None:
        return None
    rows, around = numbers(X), numbers(background)
    if not (isinstance(rows, np.ndarray) and isinstance(around, np.ndarray)):
        return None
    weights = np.asarray(estimator.coef_, dtype=np.float64).reshape(-1)
    if len(weights) != X.width:
        return None
    middle = around.mean(axis=0)
    base = float(np.asarray(estimator.intercept_).reshape(-1)[0] + middle @ weights)
    unit = LOG_ODDS if hasattr(estimator, "predict_proba") else ANSWER
    return Exact((rows - middle) * weights, np.full(len(rows), base), unit, "linear, exact")
