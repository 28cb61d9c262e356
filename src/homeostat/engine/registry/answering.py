"""Any model as one that can be served by itself: what it takes, and everything that it gives for a row.

A classifier gives ``label`` and ``probabilities``, another model ``prediction``, an ONNX graph and a model that answers
with a table its outputs by their own names. What it takes follows from the names of its features, else from their
number.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from homeostat.domain.contracts import Column
from homeostat.domain.errors import BadScores
from homeostat.engine.registry.formats.base import Array, numbers
from homeostat.engine.registry.formats.graphs import OnnxModel
from homeostat.engine.registry.texts import texts

TABLE: Final = "input"
"""The name of the tensor of a model that knows no names of its features."""

_LABEL: Final = "label"
_PROBABILITIES: Final = "probabilities"
_PREDICTION: Final = "prediction"
_KINDS: Final[Mapping[str, Any]] = {"f": "float", "i": "integer", "u": "integer", "b": "boolean"}


class Answering:
    """A model that answers with all it knows.

    Args:
        model: An estimator, a booster or a graph, as a format reads it.
        columns: What it takes, where its package says so.

    Raises:
        BadScores: neither the package nor the model says what it takes, or it cannot be asked.
    """

    def __init__(self, model: Any, columns: Sequence[Column] = ()) -> None:
        if not callable(getattr(model, "predict", None)) and not hasattr(model, "predict_proba"):
            raise BadScores(f"{type(model).__name__} has no predict", remedy="Serve a fitted model")
        self.model = model
        self.table = ""
        self.columns = tuple(columns) or self._columns()
        self._framed = hasattr(model, "feature_names_in_")
        fitted = hasattr(model, "__sklearn_tags__")
        self._texts = [one.name for one in self.columns if fitted and one.type == "string" and one.nullable]
        self.parameters: Mapping[str, Any] = getattr(model, "parameters", {})
        """What may be given beside the rows, by name, and of which type."""

    def given(self, values: Mapping[str, Any]) -> Answering:
        """The same asked with parameters, of those that it names."""
        other = copy.copy(self)
        other.model = self.model.given(values)
        return other

    def ask(self, X: pl.DataFrame) -> dict[str, Array]:
        """Everything that the model gives, by name; each of shape ``(n,)`` or ``(n, width)``.

        Raises:
            BadScores: it gave something for another number of rows.
        """
        given = self._ask(_missing(X, self._texts) if self._framed else numbers(X))
        return {name: _flat(name, np.asarray(found), len(X)) for name, found in given.items()}

    def labels(self, name: str, width: int) -> tuple[str, ...]:
        """What the values of an answer stand for: those of probabilities, where the model tells its classes."""
        classes = getattr(self.model, "classes_", ()) if name == _PROBABILITIES else ()
        return tuple(map(str, classes)) if len(classes) == width else ()

    def score(self, given: Mapping[str, Array]) -> list[float]:
        """The one number that stands for each answer.

        The probability of class 1 of two, else the highest probability; a number that is predicted; of classes without
        probabilities, the place of the class among all; 0 of anything else.
        """
        found = given.get(_PROBABILITIES)
        if found is None:
            found = next((one for one in reversed(list(given.values())) if one.dtype.kind == "f"), None)
        if found is None:
            found = next(iter(given.values()))
        if found.ndim == 2:
            found = found[:, 1] if found.shape[1] == 2 else found.max(axis=1)
        if found.dtype.kind not in "fiub":
            known = getattr(self.model, "classes_", None)
            if known is None:
                return [0.0] * len(found)
            classes = np.unique(np.asarray(known))
            found = np.searchsorted(classes, found.astype(classes.dtype))
        scores: list[float] = found.astype(np.float64).tolist()
        return scores

    def _ask(self, X: Any) -> dict[str, Any]:
        model = self.model
        if isinstance(model, OnnxModel):
            return model.answers(X)
        probabilities = model.predict_proba(X) if hasattr(model, "predict_proba") else None
        if callable(getattr(model, "predict", None)):
            label = model.predict(X)
        elif probabilities is not None and np.ndim(probabilities) == 2 and hasattr(model, "classes_"):
            label = np.asarray(model.classes_)[np.argmax(probabilities, axis=1)]
        else:
            return {_PREDICTION: probabilities}
        if probabilities is None:
            return {_LABEL: label} if hasattr(model, "classes_") else _named(label)
        # Of several labels, as scikit-learn's classifiers of more than one give.
        if isinstance(probabilities, list) and np.ndim(probabilities[0]) == 2:
            each = {f"{_PROBABILITIES}_{place}": found for place, found in enumerate(probabilities)}
            return {_LABEL: label, **each}
        return {_LABEL: label, _PROBABILITIES: probabilities}

    def _columns(self) -> tuple[Column, ...]:
        model = self.model
        if isinstance(model, OnnxModel) and (found := model.columns()):
            return found
        missing = _takes_missing(model)
        names = getattr(model, "feature_names_in_", None)
        if names is not None:
            told = texts(model)
            return tuple(
                told.get(str(name)) or Column(name=str(name), type="float", nullable=missing)
                for name in names
            )
        width = _width(model)
        if not width:
            raise BadScores(
                f"{type(model).__name__} does not say how many features it takes",
                remedy="Save it as an MLflow model with a signature, or serve a class of your own that asks it",
            )
        self.table = TABLE
        return tuple(Column(name=f"x{n}", type="float", nullable=missing) for n in range(width))


def _missing(X: pl.DataFrame, texts: Sequence[str]) -> pl.DataFrame:
    """Texts as scikit-learn knows them: one that is missing is NaN."""
    holes = [name for name in texts if X[name].null_count()]
    return X.with_columns(
        pl.Series(name, [np.nan if one is None else one for one in X[name]], dtype=pl.Object)
        for name in holes
    )


def _named(given: Any) -> dict[str, Any]:
    """What a model gave by name: the columns of a frame or a mapping as they are called, else one prediction."""
    if isinstance(given, Mapping):
        return {str(name): found for name, found in given.items()}
    columns = getattr(given, "columns", ())
    if len(columns) and all(isinstance(name, str) for name in columns):
        return {name: given[name] for name in columns}
    return {_PREDICTION: given}


def kind_of(found: Array) -> Any:
    """The type of a column that holds such values."""
    return _KINDS.get(found.dtype.kind, "string")


def _width(model: Any) -> int:
    if isinstance(model, OnnxModel):
        return model.width
    for one in (model, getattr(model, "model", None)):
        for name in ("n_features_in_", "num_features", "num_feature"):
            found = getattr(one, name, None)
            if found is not None:
                return int(found() if callable(found) else found)
    return 0


def _takes_missing(model: Any) -> bool:
    """Whether a missing number is a value for the model: boosters take it, most estimators do not."""
    if isinstance(model, OnnxModel):
        return False
    if not hasattr(model, "__sklearn_tags__"):
        return hasattr(model, "model")
    from sklearn.utils import get_tags

    return bool(get_tags(model).input_tags.allow_nan)


def _flat(name: str, found: Array, rows: int) -> Array:
    if found.ndim == 0 or len(found) != rows:
        raise BadScores(f"the model gave {name} of shape {found.shape} for {rows} rows")
    if found.ndim > 1:
        found = found.reshape(rows, -1)
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
