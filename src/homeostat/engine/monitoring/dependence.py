"""How much more the sums of neighbouring rows vary than those of independent rows, and the scores they are sums of.

Rows of one hour often belong together: a flight that is late makes others late. Then a window says less than its
rows suggest. The design effect (Kish, "Survey Sampling", 1965) of the training rows, cut into blocks in the order of
time, says how much less: the variance of the blocks' sums to what it would be for rows that depend on nothing but
their season. It is 1 unless the blocks show more than chance does, since a feature without dependence should not
pay for looking for it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

BLOCKS: Final = 100
_LEAST: Final = 20  # rows in a block; fewer blocks where there are fewer rows
_FEWEST: Final = 10  # blocks
_CHANCE: Final = 0.01  # that a feature of independent rows is taken for one of dependent ones
_TAIL: Final = 3.0  # scores beyond are cut off: a payoff must be bounded

Floats = npt.NDArray[np.float64]


def blocks_of(rows: int) -> npt.NDArray[np.int64] | None:
    """The block of each row, in order and of nearly the same size; None where there are too few rows for any."""
    count = min(BLOCKS, rows // _LEAST)
    return None if count < _FEWEST else np.arange(rows) * count // rows


def inflation(counts: npt.ArrayLike, strata: npt.ArrayLike, *, ordered: bool) -> float:
    """The design effect of one feature, at least 1.

    Args:
        counts: Rows of each block and stratum in each bin, of shape (blocks, strata, bins).
        strata: Rows of each stratum in each bin over all blocks, of shape (strata, bins).
        ordered: Whether the bins after the first are in order, as those of a number are.
    """
    from scipy.special import chdtri

    seen = np.asarray(counts, dtype=np.float64)
    whole = np.asarray(strata, dtype=np.float64)
    shares = whole.sum(0) / max(whole.sum(), 1)
    towards = np.vstack([*scores(shares), np.eye(len(shares))[0]]) if ordered else np.eye(len(shares))
    local = whole / np.maximum(whole.sum(1, keepdims=True), 1)
    mean = local @ towards.T
    variance = local @ (towards**2).T - mean**2
    rows = seen.sum(2)
    apart = seen.sum(1) @ towards.T - rows @ mean
    expected = (rows @ variance).sum(0) * (1 - 1 / len(seen))
    told = expected > 5 * len(seen) * 1e-2  # next to nothing varies: nothing to tell
    if not told.any():
        return 1.0
    ratio = (apart**2).sum(0)[told] / expected[told]
    freedom = len(seen) - 1
    chance = float(chdtri(freedom, _CHANCE / int(told.sum()))) / freedom
    worst = float(ratio.max())
    return worst if worst > chance else 1.0


def scores(shares: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Of a number's bins, missing first: normal scores of the middle ranks, and of their squares.

    Both have mean 0 and standard deviation 1 on ``shares``; missing has 0.
    """
    from scipy.special import ndtri

    p = np.asarray(shares, dtype=np.float64)[1:]
    total = p.sum()
    if total <= 0:
        return np.zeros(len(p) + 1), np.zeros(len(p) + 1)
    p = p / total
    middle = np.clip(np.cumsum(p) - p / 2, 1e-9, 1 - 1e-9)
    place = _standard(np.clip(ndtri(middle), -_TAIL, _TAIL), p)
    return np.concatenate([[0.0], place]), np.concatenate([[0.0], _standard(place * place, p)])


def _standard(values: Floats, p: Floats) -> Floats:
    centred = values - p @ values
    deviation = math.sqrt(float(p @ (centred * centred)))
    return np.clip(centred / deviation, -_TAIL, _TAIL) if deviation > 1e-9 else np.zeros_like(values)
