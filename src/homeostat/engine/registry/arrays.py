"""Estimators that are asked with arrays: a frame costs more than the model itself where a batch is a few dozen rows.

Most estimators look at a frame's names only to compare them with those that they were fitted on. For those that are
known to do nothing else, a copy without the names gives the same answers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from homeostat.domain.errors import HomeostatError
from homeostat.engine.registry import formats

_OWN: Final = f"{formats.__name__}."
_NAMES: Final = "feature_names_in_"
_FAMILIES: Final = tuple(
    f"sklearn.{family}."
    for family in (
        "discriminant_analysis",
        "ensemble._forest",
        "ensemble._gb",
        "linear_model",
        "naive_bayes",
        "neighbors",
        "neural_network",
        "svm",
        "tree",
    )
)
"""Whose estimators hold no others that were fitted on the same frame."""


def by_position(estimator: Any, columns: Sequence[str]) -> Any:
    """The estimator as one that takes arrays of ``columns``, float64, NaN where a value is missing.

    None where it may look at names or types; and where it gives something else for an array after all.
    """
    module = f"{type(estimator).__module__}."
    if not module.startswith((_OWN, *_FAMILIES)):
        return None
    if hasattr(estimator, _NAMES):
        if list(getattr(estimator, _NAMES)) != list(columns):
            return None
        bare = copy.copy(estimator)
        if _NAMES not in vars(bare):
            return None
        delattr(bare, _NAMES)
    else:
        bare = estimator
    X = np.asfortranarray(np.outer([0.0, 1.0], np.ones(len(columns))))
    # One that was fitted without names warns of them, unless it is ours, which makes an array of a frame by itself.
    named = bare is not estimator or module.startswith(_OWN)
    frame = pl.DataFrame(X, schema=list(columns)) if named else X
    try:
        same = all(
            np.array_equal(np.asarray(getattr(estimator, ask)(frame)), np.asarray(getattr(bare, ask)(X)))
            for ask in ("predict_proba", "predict")
            if hasattr(estimator, ask)
        )
    except (HomeostatError, ValueError, TypeError, AttributeError):
        return None
    return bare if same else None


def array_of(rows: Iterable[tuple[float | None, ...]], width: int) -> Any:
    """Rows of numbers as an array of shape ``(n, width)``, laid out as that of a frame is, so that sums agree."""
    return np.asfortranarray(np.array(list(rows), dtype=np.float64).reshape(-1, width))
