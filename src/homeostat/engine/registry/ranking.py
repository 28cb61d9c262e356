"""How good an order is, query by query: what its metrics are the means of.

Items of one query are ordered by their scores, the highest first; equal scores by chance of a fixed seed, so that a
model that answers the same for all is worth what a random order is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def by_query(y: Array, p: Array, queries: Array, k: int) -> dict[str, Array]:
    """Metrics of each query, in ascending order of their numbers; NaN where no item of one is relevant.

    ``ndcg``: normalised discounted cumulative gain of the first ``k``, with the relevance as gain (Järvelin &
    Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20, 2002), as scikit-learn's
    ``ndcg_score``; ``mrr``: 1 / the place of the first relevant item; ``map``: the mean, over relevant items, of the
    share of relevant ones down to each; ``hit_rate``: whether any of the first ``k`` is relevant.

    Args:
        y: How relevant each item is, 0 or more, shape ``(n,)``.
        p: Scores, shape ``(n,)``.
        queries: The query of each row as a number, shape ``(n,)``.
        k: How many items from the top are looked at.
    """
    chance = np.random.default_rng(0).random(len(y))
    order, best = np.lexsort((chance, -p, queries)), np.lexsort((-y, queries))
    mine = queries[order]
    starts = np.flatnonzero(np.r_[True, mine[1:] != mine[:-1]])
    sizes = np.diff(np.r_[starts, len(y)])
    place = np.arange(1, len(y) + 1) - np.repeat(starts, sizes)
    discount = np.where(place <= k, 1 / np.log2(place + 1), 0.0)
    gains, hits = y[order], (y[order] > 0).astype(np.float64)
    relevant = np.add.reduceat(hits, starts)
    so_far = np.cumsum(hits)
    so_far -= np.repeat(so_far[starts] - hits[starts], sizes)
    first = np.minimum.reduceat(np.where(hits > 0, place, np.inf), starts)
    none = np.where(relevant > 0, 1.0, np.nan)
    with np.errstate(invalid="ignore"):
        return {
            "ndcg": np.add.reduceat(gains * discount, starts)
            / np.add.reduceat(y[best] * discount, starts)
            * none,
            "mrr": none / first,
            "map": np.add.reduceat(hits * so_far / place, starts) / relevant,
            "hit_rate": (first <= k) * none,
        }
