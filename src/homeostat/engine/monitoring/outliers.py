"""Rows that are unlike training, for people to look at: by how rare each of their values is, feature by feature.

The score of a row is the sum over its features of -log of the share of training rows that lie as far out or farther, on
the nearer side; of texts and missing values, of those that are the same, on the bins of the reference. It is after ECOD
(Li, Zhao, Hu, Botta, Ionescu & Chen, "Unsupervised outlier detection using empirical cumulative distribution
functions", TKDE 35, 2023), which sums each side, and the one that a feature's skewness names, and takes the largest
sum. It needs no rows of training, and says by itself which values make a row stand out. What is odd only in the
combination of values it does not see: ``joint`` drift does.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.engine.monitoring.reference import Bins, Numbers, Reference, codes

_NAMED = 3


class Odd(msgspec.Struct, frozen=True):
    """A value that makes a row stand out, and the share of training rows that are as far out."""

    feature: str
    value: Any
    share: float


class Outlier(msgspec.Struct, frozen=True):
    """A row by its place, its score in nats, and what is odd about it, the rarest first."""

    row: int
    score: float
    why: list[Odd]


def outliers(against: Reference, X: pl.DataFrame, most: int) -> list[Outlier]:
    """The rows that are the least like training, the strangest first.

    Args:
        against: What training saw.
        X: Live features; columns that the reference does not know do not count.
        most: How many rows at most.
    """
    names = [name for name in against.features if name in X.columns]
    if not names or not X.height:
        return []
    shares = np.column_stack(
        [_tails(against.features[name])[codes(against.features[name], X[name])] for name in names]
    )
    nats = -np.log(shares)
    score = nats.sum(axis=1)
    out = []
    for row in np.argsort(-score, kind="stable")[:most].tolist():
        first = np.argsort(-nats[row], kind="stable")[:_NAMED].tolist()
        why = [Odd(names[at], X[names[at]][row], float(shares[row, at])) for at in first]
        out.append(Outlier(row, float(score[row]), why))
    return out


def _tails(bins: Bins) -> npt.NDArray[np.float64]:
    """By bin, the share of training rows that are as far out; one more row in each, so that none is impossible."""
    counts = np.asarray(bins.counts, dtype=np.float64)
    total = counts.sum() + 1
    shares: npt.NDArray[np.float64] = (counts + 1) / total
    if isinstance(bins, Numbers):
        there = counts[1:]
        out = np.minimum(np.cumsum(there), np.cumsum(there[::-1])[::-1])
        shares[1:] = (out + 1) / total
    return np.minimum(shares, 1.0)
