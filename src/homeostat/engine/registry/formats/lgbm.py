"""LightGBM's models in its text format: ``model.txt``, with ``estimator.json`` for the classes.

LightGBM ends the process where a text has another length than it says, and follows indices without looking. So a text
is read here first, and LightGBM is given what was read, written anew: header and trees, number for number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from homeostat.domain.digests import canonical
from homeostat.domain.errors import BadScores, Unsafe
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
from homeostat.engine.registry.formats.trees import LARGEST_CATEGORY, segments

FILE: Final = "model.txt"
KINDS: Final = (
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "lightgbm.sklearn.LGBMRanker",
    "lightgbm.basic.Booster",
)
_PROBABILITY: Final = ("binary", "cross_entropy", "multiclass", "multiclassova")
_NUMBER: Final = (
    *("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"),
    *("cross_entropy_lambda", "lambdarank", "rank_xendcg"),
    "",  # of its own: the number as it is
)
_OBJECTIVE: Final = re.compile(r"^objective=(\w+)", re.MULTILINE)
_END: Final = "end of trees"

_INTEGER: Final = re.compile(r"-?\d{1,19}")
_REAL: Final = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf|nan)")
_WORDS: Final = re.compile(r"[^\n\r\0]*")
_HEADER: Final = {
    "version": re.compile(r"v[234]"),
    "num_class": _INTEGER,
    "num_tree_per_iteration": _INTEGER,
    "label_index": _INTEGER,
    "max_feature_idx": _INTEGER,
    "objective": re.compile(r"[a-z_]+(?: [a-z_]+(?::[\w.+-]+)?)*"),
    "feature_names": _WORDS,
    "monotone_constraints": re.compile(r"-?\d+(?: -?\d+)*"),
    "feature_infos": _WORDS,
}
_FLAGS: Final = frozenset({"average_output"})
# Of a tree with n leaves: what a line holds, and how many of it.
_INNER: Final = {
    "split_feature": _INTEGER,
    "split_gain": _REAL,
    "threshold": _REAL,
    "decision_type": _INTEGER,
    "left_child": _INTEGER,
    "right_child": _INTEGER,
    "internal_value": _REAL,
    "internal_weight": _REAL,
    "internal_count": _INTEGER,
}
_LEAVES: Final = {"leaf_value": _REAL, "leaf_weight": _REAL, "leaf_count": _INTEGER}
_ONE: Final = {"num_leaves": _INTEGER, "num_cat": _INTEGER, "is_linear": _INTEGER, "shrinkage": _REAL}
_CATEGORIES: Final = {"cat_boundaries": _INTEGER, "cat_threshold": _INTEGER}
_NEEDED: Final = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_CATEGORICAL: Final = 1  # the bit of decision_type
Tree = dict[str, list[str]]


class Details(msgspec.Struct, frozen=True, tag="lightgbm", tag_field="format"):
    """The classes of a classifier, in the order of its columns; empty: a booster, or what predicts a number."""

    classes: tuple[int | bool | str, ...] = ()


class _Asked:
    """A booster of LightGBM, one thread a call."""

    def __init__(self, booster: Any) -> None:
        self.model = booster
        names = booster.feature_name()
        if names != [f"Column_{place}" for place in range(len(names))]:  # as those of an array are called
            self.feature_names_in_ = names

    def _ask(self, X: Any) -> Array:
        data = numbers(X)
        if isinstance(data, np.ndarray) and data.shape[1] != self.model.num_feature():
            raise BadScores(f"the booster has {self.model.num_feature()} features, not {data.shape[1]}")
        return np.asarray(self.model.predict(data, num_threads=1))


class LgbModel(_Asked):
    """A booster that answers with probabilities.

    Args:
        booster: The booster.
        classes: The classes in the order of its columns.
    """

    def __init__(self, booster: Any, classes: Sequence[Any] = ()) -> None:
        super().__init__(booster)
        if classes:
            self.classes_ = np.asarray(classes)

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, or of class 1 alone where the classes are not known."""
        scores = self._ask(X)
        if scores.ndim == 1 and hasattr(self, "classes_"):
            return np.stack([1 - scores, scores], axis=1)
        return scores


class LgbNumber(_Asked):
    """A booster that answers with a number: regression, ranking, or an objective of its own."""

    def predict(self, X: Any) -> Array:
        """The number of each row."""
        return self._ask(X)


def takes(model: Any) -> bool:
    """An estimator or a booster of LightGBM's own; a subclass may do anything."""
    return isinstance(model, _Asked) or type_name(model) in KINDS


def classifier(model: Any) -> Any:
    """A booster of probabilities with ``predict_proba``; anything else as it is."""
    if type_name(model) != "lightgbm.basic.Booster":
        return model
    return LgbModel(model) if _probable(model.model_to_string(num_iteration=1)) else LgbNumber(model)


def dump(model: Any, trusted: Sequence[str]) -> Files:
    """The model's text, up to its best iteration where training stopped early, and its details.

    Raises:
        Unsafe: it has trees that this cannot check, was fitted on a frame's categories, or is a classifier whose
            objective is its own: what makes probabilities of its scores is not in the text.
    """
    classes: list[Any] = np.asarray(getattr(model, "classes_", ())).tolist()
    booster = model.model if isinstance(model, _Asked) else getattr(model, "booster_", model)
    if getattr(booster, "pandas_categorical", None):
        raise Unsafe(
            f"the fitted {type(model).__name__} cannot be kept in {FILE}: it knows categories by a frame's",
            remedy="Encode them as numbers, and name the columns in categorical_feature=",
        )
    best = getattr(booster, "best_iteration", -1)
    text = booster.model_to_string(num_iteration=best if best and best > 0 else None)
    kept = Details(tuple(classes))
    if classes and not _probable(text):
        raise Unsafe(
            f"the fitted {type(model).__name__} cannot be kept in {FILE}: its objective is its own, or none of "
            "probabilities",
            remedy=f"Use one of {', '.join(_PROBABILITY)}, or keep its booster, which gives a number",
        )
    sound(text)
    return {FILE: text.encode(), DETAILS: canonical(kept)}


def load(files: Mapping[str, bytes], trusted: Sequence[str]) -> LgbModel | LgbNumber:
    """The model.

    Raises:
        Unsafe: it is damaged, or points outside itself.
    """
    return restore(files[FILE], details(files, Details).classes)


def restore(data: bytes, classes: Sequence[Any] = ()) -> LgbModel | LgbNumber:
    """A model from its text; see ``load``."""
    lightgbm = need("lightgbm", "lightgbm", FILE)
    try:
        text = sound(data.decode())
    except UnicodeDecodeError as error:
        raise damaged(FILE, "is no text") from error
    try:
        booster = lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise damaged(FILE, f"is no model of LightGBM: {error}") from error
    return LgbModel(booster, classes) if _probable(text) else LgbNumber(booster)


def sound(text: str) -> str:
    """A model's text, checked and written anew.

    Raises:
        Unsafe: it is no model of LightGBM, or one that points outside itself.
    """
    head, trees = _read(text)
    objective = head.get("objective", "").partition(" ")[0]
    if objective not in _PROBABILITY + _NUMBER:
        raise damaged(FILE, f"has the objective {objective}, which LightGBM does not know")
    try:
        wrong = next(_faults(head, trees), "")
    except (KeyError, IndexError, ValueError, OverflowError) as error:
        raise damaged(FILE, f"is no model of LightGBM: {type(error).__name__}: {error}") from error
    if wrong:
        raise damaged(FILE, f"holds {wrong}")
    return _written(head, trees)


def _probable(text: str) -> bool:
    found = _OBJECTIVE.search(text.partition("\nTree=")[0])
    return found is not None and found[1] in _PROBABILITY


def _read(text: str) -> tuple[dict[str, str], list[Tree]]:
    lines = iter(text.split("\n"))
    if next(lines) != "tree":
        raise damaged(FILE, "is no model of LightGBM: it does not begin with the word tree")
    head: dict[str, str] = {}
    trees: list[Tree] = []
    for line in lines:
        name, equals, value = line.partition("=")
        if line == _END:
            return head, trees
        if not line or name == "tree_sizes":
            continue
        if equals and name == "Tree":
            if value != str(len(trees)):
                raise damaged(FILE, f"has {line} in the place of tree {len(trees)}")
            trees.append({})
        elif trees:
            _put(trees[-1], name, value)
        elif line in _FLAGS or (name in _HEADER and name not in head and _HEADER[name].fullmatch(value)):
            head[name] = value
        else:
            raise damaged(FILE, f"has the line {line[:80]!r}, which LightGBM does not write")
    raise damaged(FILE, "ends within its trees")


def _put(tree: Tree, name: str, value: str) -> None:
    form = {**_ONE, **_INNER, **_LEAVES, **_CATEGORIES}.get(name)
    values = value.split(" ") if value else []
    if form is None or name in tree or not all(map(form.fullmatch, values)):
        raise damaged(FILE, f"has the line {f'{name}={value}'[:80]!r}, which LightGBM does not write")
    tree[name] = values


def _faults(head: dict[str, str], trees: list[Tree]) -> Iterator[str]:
    width = int(head["max_feature_idx"]) + 1
    for name in ("feature_names", "feature_infos"):
        if len(head[name].split(" ")) != width:
            yield f"other {name} than {width} features have"
    if "monotone_constraints" in head and len(head["monotone_constraints"].split(" ")) != width:
        yield "constraints of other features"
    each, classes = int(head["num_tree_per_iteration"]), int(head["num_class"])
    if not 0 < classes <= 1000 or each != classes or len(trees) % each:
        yield f"{len(trees)} trees for {classes} classes"
    for number, tree in enumerate(trees):
        if not _holds(tree, width):
            yield f"a tree, number {number}, that points outside itself"


def _holds(tree: Tree, width: int) -> bool:
    leaves, sets = int(tree["num_leaves"][0]), int(tree["num_cat"][0])
    if any(len(tree[name]) != 1 for name in _ONE if name in tree) or leaves < 1:
        return False
    if tree.get("is_linear", ["0"]) != ["0"]:  # its leaves hold more indices, which nothing here looks at
        return False
    if leaves == 1:
        return sets == 0 and len(tree["leaf_value"]) == 1 and not any(map(tree.get, (*_INNER, *_CATEGORIES)))
    if any(len(tree[name]) != leaves - 1 for name in _INNER if name in tree or name in _NEEDED):
        return False
    if any(len(tree[name]) != leaves for name in _LEAVES if name in tree or name == "leaf_value"):
        return False
    left, right, feature, decision = (
        _integers(tree[name]) for name in ("left_child", "right_child", "split_feature", "decision_type")
    )
    return bool(
        _reaches(np.concatenate([left, right]), leaves)
        and ((feature >= 0) & (feature < width)).all()
        and ((decision >= 0) & (decision < 16)).all()
        and _categories_hold(tree, np.flatnonzero(decision & _CATEGORICAL), sets)
    )


def _integers(texts: list[str]) -> Array:
    return np.asarray([int(text) for text in texts], np.int64)


def _reaches(children: Array, leaves: int) -> bool:
    """Whether the children are the inner nodes but the root and the leaves (as -1 - number), each once."""
    return bool((np.sort(children) == np.delete(np.arange(-leaves, leaves - 1), leaves)).all())


def _categories_hold(tree: Tree, categorical: Array, sets: int) -> bool:
    if not sets:
        return not len(categorical) and not set(tree) & set(_CATEGORIES)
    bounds, bits = _integers(tree["cat_boundaries"]), _integers(tree["cat_threshold"])
    which = [float(tree["threshold"][node]) for node in categorical]
    return bool(
        len(bounds) == sets + 1
        and segments(bounds[:-1], np.diff(bounds), len(bits))
        and bounds[-1] == len(bits) <= LARGEST_CATEGORY
        and ((bits >= 0) & (bits < 1 << 32)).all()
        and all(math.isfinite(one) and one == int(one) and 0 <= one < sets for one in which)
    )


def _written(head: dict[str, str], trees: list[Tree]) -> str:
    blocks = [
        f"Tree={number}\n" + "".join(f"{name}={' '.join(values)}\n" for name, values in tree.items()) + "\n\n"
        for number, tree in enumerate(trees)
    ]
    top = [name if name in _FLAGS else f"{name}={value}" for name, value in head.items()]
    sizes = " ".join(str(len(block.encode())) for block in blocks)
    return "\n".join(["tree", *top, f"tree_sizes={sizes}", "", ""]) + "".join(blocks) + f"{_END}\n"
