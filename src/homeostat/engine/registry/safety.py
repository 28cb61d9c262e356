"""Which types a model file may hold, and whether its trees can be walked.

skops reads a file without running code, but only builds types that it or its caller trusts. Its own list
leaves out private helpers of scikit-learn which nearly every model holds, so Homeostat adds a rule that no
file can bend: *classes, written in Python, that scikit-learn, NumPy or SciPy themselves define*.

* Classes, not functions: an estimator calls the functions in its parameters, and these packages have
  functions that run text (``numpy.testing.runstring``).
* Defined there, not merely found there: ``subprocess.Popen`` can be reached through modules of all three.
* Written in Python: what a compiled type holds is read without bounds checks.

skops leaves out ``TreePredictor`` and ``Tree`` for that last reason: their nodes are indices that
scikit-learn follows unchecked, so a crafted file could crash the server or read its memory. They are let
in because ``check_trees`` looks at every index first, for each estimator that holds the tree. It covers
the trees and not each field of each estimator (not what a histogram's preprocessor makes of its rows): it
makes a damaged file an error and an attack harder, but where a file comes from still matters. The losses
of scikit-learn, compiled too, hold no more than a number.
"""

from __future__ import annotations

import gc
import importlib
import sys
from abc import ABC
from collections import deque
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

import numpy as np

from homeostat.domain.errors import Unsafe

_PACKAGES: Final = ("sklearn", "numpy", "scipy")
CHECKED: Final = frozenset(
    {"sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"}
)
"""Trees, which ``check_trees`` looks at."""
_DESCRIPTIONS: Final = frozenset({"numpy.dtype"})  # compiled, but only says what an array's bytes mean
_LOSSES: Final = "sklearn._loss._loss.Cy"  # compiled, but what it holds is a number at most
_DICTIONARIES: Final = frozenset({"collections.OrderedDict"})  # a dictionary, whatever it is filled with
_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made while the program runs, as class statements do
_WALKS_MEMBERS: Final = ("sklearn.ensemble._forest", "sklearn.ensemble._gb")
_GROWERS: Final = frozenset(
    {
        "sklearn.tree._classes.BaseDecisionTree",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.BaseHistGradientBoosting",
    }
)
_CONTAINERS: Final = (dict, list, tuple, set, frozenset, deque, np.ndarray, np.void)
_ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes, np.float64, np.int64, np.str_})
_CODE: Final = (type, ModuleType, FunctionType)  # named in a file, never made by it


def is_known(name: str) -> bool:
    """Whether a model file may hold this type without the project naming it."""
    if name in CHECKED or name in _DESCRIPTIONS or name in _DICTIONARIES or name.startswith(_LOSSES):
        return True
    module, _, attribute = name.rpartition(".")
    if module.split(".")[0] not in _PACKAGES or any(
        part in module.split(".") for part in ("tests", "testing")
    ):
        return False
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    return isinstance(found, type) and all(
        _is_plain(base) for base in found.__mro__ if base not in (object, ABC)
    )


def makes_nothing_else(name: str) -> bool:
    """Whether a type only makes itself, whatever arguments it is called with."""
    return name in CHECKED or name in _DESCRIPTIONS or name.startswith(_LOSSES)


def _is_plain(found: type) -> bool:
    """Whether a class stands in Python source of one of the packages.

    Compiled types show in their module's file, or in being no heap type (``numpy.ndarray`` says
    that it is of ``numpy``, whose file is Python).
    """
    source = getattr(sys.modules.get(found.__module__), "__file__", None) or ""
    ours = found.__module__.split(".")[0] in _PACKAGES
    return ours and source.endswith(".py") and bool(found.__flags__ & _HEAP_TYPE)


def check_trees(estimator: Any) -> None:
    """Raise unless every decision tree in ``estimator`` stays within its own nodes, features and bitsets.

    Children stand behind their parent, so that a walk ends. A tree that several estimators hold is judged for each.

    Raises:
        Unsafe: an index leads outside, or what holds the tree says not how wide its rows are.
    """
    for owner, width, tree in _trees(estimator):
        if not _walks(owner) or not (
            _binned_holds(owner, tree, width)
            if hasattr(tree, "raw_left_cat_bitsets")
            else _holds(tree, width)
        ):
            raise Unsafe(
                f"model.skops holds a tree of {type(owner).__name__} that points outside itself",
                remedy="The file is damaged or made to harm: train the model again",
            )


def _walks(owner: Any) -> bool:
    """Whether this estimator looks how wide its rows are before it walks a tree: those of scikit-learn that grow trees.

    Classes from elsewhere are there because the project named them, and answer for themselves.
    """
    names = {f"{base.__module__}.{base.__name__}" for base in type(owner).__mro__}
    root = type(owner).__module__.split(".")[0]
    return bool(names & _GROWERS) or (root not in _PACKAGES and root not in sys.stdlib_module_names)


def _holds(tree: Any, width: int) -> bool:
    nodes = tree.__getstate__()["nodes"]
    if not 0 < tree.node_count <= len(nodes):
        return False
    nodes = nodes[: tree.node_count]
    split = nodes["left_child"] != -1
    return _inside(split, nodes["left_child"], nodes["right_child"], nodes["feature"], width)


def _binned_holds(owner: Any, tree: Any, width: int) -> bool:
    """As ``_holds``; categorical splits also look up bits, by ``bitset_idx`` and by feature."""
    nodes, bits = tree.nodes, tree.raw_left_cat_bitsets
    split = nodes["is_leaf"] == 0
    if not len(nodes) or not _inside(split, nodes["left"], nodes["right"], nodes["feature_idx"], width):
        return False
    categorical = nodes[split & (nodes["is_categorical"] != 0)]
    if not len(categorical):
        return True
    known = np.asarray(owner._bin_mapper.is_categorical_)
    return bool(
        bits.shape == (len(bits), 8)
        and (categorical["bitset_idx"] < len(bits)).all()
        and len(known) == width
        and known[categorical["feature_idx"]].all()
    )


def _inside(split: Any, left: Any, right: Any, feature: Any, width: int) -> bool:
    here = np.flatnonzero(split)
    children = np.stack([left[split], right[split]]).astype(np.int64)
    used = feature[split].astype(np.int64)
    return bool(((children > here) & (children < len(split))).all() and ((used >= 0) & (used < width)).all())


def _trees(estimator: Any) -> Iterator[tuple[Any, int, Any]]:
    """Every tree in a graph of objects, with what holds it and the width of the rows that walk it.

    The holder is the nearest object around a tree that is no container. Whatever is shared is met once for each of its
    holders and each width, so that nobody's trees pass because they were fine for another.
    """
    seen: dict[tuple[int, int, int], Any] = {}  # the values too: an id counts as long as its object lives
    rest: list[tuple[Any, Any, int]] = [(estimator, None, 0)]
    while rest:
        value, owner, width = rest.pop()
        if type(value) in _ATOMS or isinstance(value, _CODE):
            continue
        if f"{type(value).__module__}.{type(value).__name__}" in CHECKED:
            yield owner, width, value
            continue
        if not isinstance(value, _CONTAINERS):
            # Ensembles walk the trees of their members themselves, with rows as wide as their own.
            most = width if type(owner).__module__ in _WALKS_MEMBERS else sys.maxsize
            own = getattr(value, "__dict__", {}).get("n_features_in_")
            owner, width = value, min(most, int(own)) if isinstance(own, int | np.integer) else 0
        place = (id(value), id(owner), width)
        if place not in seen:
            seen[place] = value
            rest.extend((item, owner, width) for item in _held(value))


def _held(value: Any) -> list[Any]:
    """All that an object refers to, be it an attribute, an element or what a method is bound to."""
    found = gc.get_referents(value)
    if isinstance(value, np.ndarray | np.void) and value.dtype.hasobject:
        found += np.asarray(value).ravel().tolist()  # arrays do not show the collector what they hold
    return found
