"""Whether decision trees of another library stay within themselves.

XGBoost and LightGBM follow the indices of a loaded tree without looking: one that leads outside ends the process, or
reads its memory. The checks here take arrays of one tree and say what is wrong with them, or nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LARGEST_CATEGORY: Final = 1 << 24
"""Categories are looked up in a set of bits as long as the largest of them; 2 MiB a split is enough."""


def whole(values: Any) -> Array | None:
    """``values`` as an array of whole numbers in one dimension; None where they are something else."""
    try:
        found = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        return None
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        return None
    return found.astype(np.int64)


def reals(values: Any, count: int) -> bool:
    """Whether ``values`` are ``count`` numbers."""
    try:
        found = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        return False
    return found.shape == (count,) and (found.size == 0 or found.dtype.kind in "iuf")


def forks(left: Array, right: Array, inner: Array, least: int = 0) -> bool:
    """Whether the children of the nodes at ``inner`` are nodes, and no node is the child of two.

    The root, node 0, is a child of none: then a walk from it cannot come to a node again, and ends.
    """
    children = np.concatenate([left[inner], right[inner]])
    return bool(
        len(left) == len(right)
        and ((children > least) & (children < len(left))).all()
        and len(np.unique(children)) == len(children)
    )


def segments(starts: Array, sizes: Array, length: int) -> bool:
    """Whether each segment lies within ``length`` and holds something."""
    return bool(
        len(starts) == len(sizes)
        and ((starts >= 0) & (sizes > 0) & (starts <= length) & (sizes <= length)).all()
        and (starts + sizes <= length).all()
    )


def nodes_once(keys: Array, children: Array) -> bool:
    """As ``forks``, where nodes have names instead of places: each child is a node, and none the child of two."""
    return bool(
        len(np.unique(keys)) == len(keys)
        and len(np.unique(children)) == len(children)
        and np.isin(children, keys).all()
    )
