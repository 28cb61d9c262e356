"""XGBoost's models in its own format: ``model.ubj``, with ``estimator.json`` for what the format leaves out.

A model is read twice: once here, to see that its trees stay within themselves, then by XGBoost, which looks at less.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from homeostat.domain.digests import canonical
from homeostat.domain.errors import BadScores
from homeostat.engine.registry.formats.base import (
    DETAILS,
    Array,
    Files,
    damaged,
    details,
    need,
    numbers,
    type_name,
)
from homeostat.engine.registry.formats.trees import LARGEST_CATEGORY, forks, reals, segments, whole
from homeostat.engine.registry.formats.ubjson import BadUbjson, parse

FILE: Final = "model.ubj"
KINDS: Final = {
    "xgboost.sklearn.XGBClassifier": "XGBClassifier",
    "xgboost.sklearn.XGBRFClassifier": "XGBRFClassifier",
    "xgboost.sklearn.XGBRegressor": "XGBRegressor",
    "xgboost.sklearn.XGBRFRegressor": "XGBRFRegressor",
    "xgboost.sklearn.XGBRanker": "XGBRanker",
    "xgboost.core.Booster": "Booster",
}
_WIDEST: Final = 1 << 20
_MOST_CLASSES: Final = 1000
_NO_NODE: Final = 2**31 - 1
_PROBABILITY: Final = ("binary:logistic", "reg:logistic", "multi:softprob")
_NUMBER: Final = (
    *("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:gamma"),
    *("reg:tweedie", "count:poisson", "survival:cox", "binary:logitraw", "binary:hinge", "multi:softmax"),
    *("rank:ndcg", "rank:pairwise", "rank:map", "reg:quantileerror"),
)


class Details(msgspec.Struct, frozen=True, tag="xgboost", tag_field="format"):
    """What a model was, and which value it takes as missing (None: NaN)."""

    kind: Literal[
        "XGBClassifier", "XGBRFClassifier", "XGBRegressor", "XGBRFRegressor", "XGBRanker", "Booster"
    ]
    missing: float | None = None


class _Asked:
    """A model of XGBoost, one thread a call.

    Args:
        model: The estimator or booster.
        missing: The value that counts as missing.
    """

    def __init__(self, model: Any, missing: float = math.nan) -> None:
        self.model = model
        self.missing = missing
        if hasattr(model, "classes_"):
            self.classes_ = model.classes_
        names = (model.get_booster() if hasattr(model, "get_booster") else model).feature_names
        if names:
            self.feature_names_in_ = list(names)

    def _ask(self, X: Any, method: str) -> Array:
        xgboost = need("xgboost", "xgboost", FILE)
        data = numbers(X)
        booster = isinstance(self.model, xgboost.Booster)
        if booster and isinstance(data, np.ndarray) and data.shape[1] != self.model.num_features():
            raise BadScores(f"the booster has {self.model.num_features()} features, not {data.shape[1]}")
        try:
            if booster:
                data = xgboost.DMatrix(data, missing=self.missing, nthread=1)
            ask = self.model.predict if booster else getattr(self.model, method)
            found: Array = ask(data, validate_features=False)
        except (xgboost.core.XGBoostError, ValueError) as error:
            # Such as a category that was in none of the training rows.
            raise BadScores(f"XGBoost cannot answer: {str(error).splitlines()[0]}") from error
        return found


class XgbModel(_Asked):
    """A model that answers with probabilities."""

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, or of class 1 alone where a booster says no more."""
        return self._ask(X, "predict_proba")


class XgbNumber(_Asked):
    """A model that answers with a number: regression, ranking, or a margin."""

    def predict(self, X: Any) -> Array:
        """The number of each row."""
        return self._ask(X, "predict")


def takes(model: Any) -> bool:
    """An estimator or a booster of XGBoost's own; a subclass may do anything."""
    return isinstance(model, _Asked) or type_name(model) in KINDS


def classifier(model: Any) -> Any:
    """A booster of probabilities with ``predict_proba``; anything else as it is."""
    return _wrapped(model) if type_name(model) == "xgboost.core.Booster" else model


def dump(model: Any, trusted: Sequence[str]) -> Files:
    """The model in UBJSON and its details."""
    missing = getattr(model, "missing", math.nan)
    inner = model.model if isinstance(model, _Asked) else model
    kind = KINDS[type_name(inner)]
    booster = inner if kind == "Booster" else inner.get_booster()
    data = bytes(booster.save_raw("ubj"))
    if missing is None or math.isnan(missing):
        missing = None
    found = Details(kind, missing)  # type: ignore[arg-type]  # one of KINDS
    return {FILE: data, DETAILS: canonical(found)}


def load(files: Mapping[str, bytes], trusted: Sequence[str]) -> XgbModel | XgbNumber:
    """The model.

    Raises:
        Unsafe: it is damaged, or points outside itself.
    """
    kept = details(files, Details)
    return restore(files[FILE], kept.kind, math.nan if kept.missing is None else kept.missing)


def restore(data: bytes, kind: str, missing: float = math.nan) -> XgbModel | XgbNumber:
    """A model from its bytes, UBJSON or JSON; see ``load``."""
    xgboost = need("xgboost", "xgboost", FILE)
    check(data)
    model = xgboost.Booster() if kind == "Booster" else getattr(xgboost, kind)(n_jobs=1, missing=missing)
    try:
        model.load_model(bytearray(data))
    except (xgboost.core.XGBoostError, ValueError, KeyError, TypeError) as error:
        raise damaged(FILE, f"is no model of XGBoost: {str(error).splitlines()[0]}") from error
    booster = model if kind == "Booster" else model.get_booster()
    booster.set_param({"nthread": 1})
    return _wrapped(model, missing)


def _wrapped(model: Any, missing: float = math.nan) -> XgbModel | XgbNumber:
    booster = not hasattr(model, "get_booster")
    objective = json.loads(model.save_config())["learner"]["objective"]["name"] if booster else ""
    probable = objective in _PROBABILITY if booster else hasattr(model, "predict_proba")
    return XgbModel(model, missing) if probable else XgbNumber(model, missing)


def check(data: bytes) -> None:
    """Raise unless a model stays within itself.

    Raises:
        Unsafe: it does not, or is no model of XGBoost.
    """
    try:
        found = _parse(data)
        learner = found["learner"]
        parameters = learner["learner_model_param"]
        width = int(parameters["num_feature"])
        classes = max(int(parameters.get("num_class", 0)), 1)
        targets = max(int(parameters.get("num_target", 1)), 1)
        groups = max(classes, targets)
        if not (0 < width <= _WIDEST and groups <= _MOST_CLASSES and min(classes, targets) == 1):
            raise ValueError(f"it has {width} features, {classes} classes, {targets} targets")
        wrong = next(_faults(learner["gradient_booster"], width, groups), "")
        objective = learner["objective"]["name"]
    except (BadUbjson, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise damaged(FILE, f"is no model of XGBoost: {type(error).__name__}: {error}") from error
    if wrong:
        raise damaged(FILE, f"holds {wrong}")
    if objective not in _PROBABILITY + _NUMBER:
        raise damaged(FILE, f"has the objective {objective!r}, which is not known here")


def _parse(data: bytes) -> Any:
    # XGBoost tells the two apart by the second byte as well: JSON has a quote or space there.
    if data[:1] == b"{" and data[1:2] in (b'"', b" ", b"\n", b"\t", b"\r"):
        return json.loads(data, object_pairs_hook=_once)
    return parse(data)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadUbjson("a key stands twice in an object")
    return found


def _faults(booster: dict[str, Any], width: int, groups: int) -> Iterator[str]:
    """What is wrong with a booster, one after the other."""
    name = booster["name"]
    if name == "gblinear":
        if not reals(booster["model"]["weights"], (width + 1) * groups):
            yield f"other weights than {width} features have"
        return
    if name == "dart":
        trees = len(booster["gbtree"]["model"]["trees"])
        if not reals(booster["weight_drop"], trees):
            yield f"other weights than {trees} trees have"
        booster = booster["gbtree"]
    elif name != "gbtree":
        yield f"a booster of an unknown kind: {name!r}"
        return
    model = booster["model"]
    trees = len(model["trees"])
    group, parts = whole(model["tree_info"]), whole(model.get("iteration_indptr", [0, trees]))
    if group is None or len(group) != trees or ((group < 0) | (group >= groups)).any():
        yield "trees of a class that it has not"
    if int(model["gbtree_model_param"]["num_trees"]) != trees:
        yield "another number of trees than it says"
    if parts is None or not len(parts) or parts[0] or parts[-1] != trees or (np.diff(parts) < 0).any():
        yield "rounds that do not follow each other"
    yield from _category_faults(model.get("cats") or {}, width)
    for number, tree in enumerate(model["trees"]):
        if not _holds(tree, number, width):
            yield f"a tree, number {number}, that points outside itself"


def _holds(tree: dict[str, Any], number: int, width: int) -> bool:
    nodes = int(tree["tree_param"]["num_nodes"])
    left, right = whole(tree["left_children"]), whole(tree["right_children"])
    feature, kind = whole(tree["split_indices"]), whole(tree["split_type"])
    parents, default = whole(tree["parents"]), whole(tree["default_left"])
    parts = [left, right, feature, kind, parents, default]
    if nodes < 1 or any(part is None or len(part) != nodes for part in parts):
        return False
    assert left is not None
    assert right is not None
    assert feature is not None
    assert kind is not None
    assert parents is not None
    if not all(
        reals(tree[name], nodes)
        for name in ("split_conditions", "base_weights", "loss_changes", "sum_hessian")
    ):
        return False
    inner = np.flatnonzero(left != -1)
    return bool(
        int(tree["tree_param"]["size_leaf_vector"]) in (0, 1)  # more: a tree that answers several questions
        and int(tree["tree_param"]["num_feature"]) == width
        and int(tree["tree_param"]["num_deleted"]) >= 0
        and int(tree["id"]) == number
        and (right[left == -1] == -1).all()
        and forks(left, right, inner)
        and parents[0] == _NO_NODE
        and (parents[left[inner]] == inner).all()
        and (parents[right[inner]] == inner).all()
        and ((parents[1:] >= 0) & (parents[1:] < nodes)).all()
        and ((feature[inner] >= 0) & (feature[inner] < width)).all()
        and ((kind == 0) | (kind == 1)).all()
        and _categories_hold(tree, np.flatnonzero((kind == 1) & (left != -1)), nodes)
    )


def _categories_hold(tree: dict[str, Any], categorical: Array, nodes: int) -> bool:
    at, starts = whole(tree["categories_nodes"]), whole(tree["categories_segments"])
    sizes, values = whole(tree["categories_sizes"]), whole(tree["categories"])
    if at is None or starts is None or sizes is None or values is None or len(at) != len(starts):
        return False
    return bool(
        segments(starts, sizes, len(values))
        and ((at >= 0) & (at < nodes)).all()
        and (np.diff(at) > 0).all()
        and np.isin(categorical, at).all()
        and ((values >= 0) & (values < LARGEST_CATEGORY)).all()
    )


def _category_faults(kept: dict[str, Any], width: int) -> Iterator[str]:
    """What is wrong with the names of categories, by which a frame's are found again."""
    encodings = kept.get("enc", [])
    parts, order = whole(kept.get("feature_segments", [])), whole(kept.get("sorted_idx", []))
    if not len(encodings):
        if parts is None or order is None or len(order) or parts.any():
            yield "categories without names"
        return
    if len(encodings) != width or parts is None or order is None or len(parts) != width + 1:
        yield "categories of other features"
        return
    for number, one in enumerate(encodings):
        offsets = whole(one["offsets"]) if "offsets" in one else None
        values = one["values"]
        count = int(parts[number + 1] - parts[number])
        own = order[parts[number] : parts[number + 1]] if 0 <= parts[number] <= len(order) else order[:0]
        names = max(len(offsets) - 1, 0) if offsets is not None else len(values)
        inside = offsets is None or not len(offsets) or _ordered(offsets, len(values))
        if count != names or len(own) != count or sorted(own) != list(range(count)) or not inside:
            yield f"categories of feature {number} that point outside themselves"
            return
    if parts[0] or parts[-1] != len(order):
        yield "categories of no feature"


def _ordered(offsets: Array, length: int) -> bool:
    return bool(offsets[0] == 0 and offsets[-1] == length and (np.diff(offsets) >= 0).all())
