"""How far live rows are from the training data, feature by feature, and how far chance alone would take them.

* Population stability index: ``sum (p - q) ln(p / q)`` over the bins, the symmetric divergence of Jeffreys
  (1946) under the name that credit scoring gave it (Siddiqi, "Credit Risk Scorecards", 2006). Half a row is
  added to each bin (Jeffreys' prior; Krichevsky & Trofimov, 1981), so that an empty bin is no infinity.
* Jensen-Shannon distance: the square root of the divergence in bits, between 0 and 1, a metric (Endres &
  Schindelin, 2003).
* Kolmogorov-Smirnov distance: the largest difference of the distribution functions, 0 to 1; Wasserstein distance
  (of order 1): the area between them, in the feature's own unit. Both of numbers only, without what is missing. The
  functions are known at the edges of the bins: the first is at most too small, the second is off by no more than a
  bin is wide, and what lies beyond all that training saw counts as if it lay at the edge.
* Cramer's V of rows by side and bin: the root of chi-square over all rows (Cramer, 1946), 0 to 1.
* Chance: with no drift at all, ``PSI / (1/n + 1/m)`` for n training and m live rows is distributed about as
  chi-square with B - 1 degrees of freedom for B bins (Yurdakul, "Statistical properties of population
  stability index", Western Michigan University, 2018), so that its mean is ``(B - 1)(1/n + 1/m)``. A small
  window is far from its reference by that much for no reason. ``excess`` takes the mean off, and is 0 where
  the index stays within what chance reaches once in a thousand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.engine.monitoring.reference import Numbers, Profile, Reference

CHANCE: Final = 0.001

Counts = npt.NDArray[np.float64]


class FeatureDrift(msgspec.Struct, frozen=True, kw_only=True):
    """How far one feature is from its reference.

    Args:
        feature: Its name; ``score`` for the model's answers.
        psi: Population stability index.
        expected: The index that chance gives on average for so many rows.
        excess: What drift adds: ``psi - expected``, 0 where chance explains the index.
        distance: Jensen-Shannon distance, 0 to 1.
        association: Cramer's V, 0 to 1.
        ks: Kolmogorov-Smirnov distance, 0 to 1; None for texts.
        wasserstein: Wasserstein distance in the feature's unit; None for texts.
        rows: Live rows.
    """

    feature: str
    psi: float
    expected: float
    excess: float
    distance: float
    association: float
    ks: float | None = None
    wasserstein: float | None = None
    rows: int


def drift(against: Reference, seen: Profile) -> list[FeatureDrift]:
    """The drift of each feature that both sides have rows of, the most drifted first."""
    from scipy.special import chdtrc

    names = [name for name, now in seen.counts.items() if any(now) and any(against.features[name].counts)]
    if not names:
        return []
    every = [against.features[name] for name in names]
    before = _table([bins.counts for bins in every])
    now = _table([seen.counts[name] for name in names])
    live = now.sum(-1)
    # Bins that are empty on both sides say nothing.
    freedom = ((before > 0) | (now > 0)).sum(-1) - 1.0
    spread = 1 / before.sum(-1) + 1 / live
    index, expected = psi(before, now), freedom * spread
    beyond_chance = chdtrc(freedom, index / spread) < CHANCE
    excess = np.where(beyond_chance, np.maximum(index - expected, 0.0), 0.0)
    farthest, area = apart([bins.edges if isinstance(bins, Numbers) else [] for bins in every], before, now)
    columns = {
        "psi": index,
        "expected": expected,
        "excess": excess,
        "distance": distance(before, now),
        "association": association(before, now),
        "ks": farthest,
        "wasserstein": area,
    }
    found = []
    for name, bins, rows, *sizes in zip(
        names, every, live, *(each.tolist() for each in columns.values()), strict=True
    ):
        told = dict(zip(columns, sizes, strict=True))
        if not isinstance(bins, Numbers):
            told |= {"ks": None, "wasserstein": None}
        found.append(FeatureDrift(feature=name, rows=int(rows), **told))
    return sorted(found, key=lambda one: (-one.excess, -one.psi, one.feature))


def psi(before: Counts, now: Counts) -> Counts:
    """Population stability index of counts of the same bins; 0 for equal counts, never negative."""
    used = (before > 0) | (now > 0)
    p, q = (np.where(used, counts + 0.5, 0.0) for counts in (before, now))
    p, q = (part / np.maximum(part.sum(-1, keepdims=True), 0.5) for part in (p, q))
    ratio = np.divide(p, q, out=np.ones_like(p), where=used)
    index: Counts = np.maximum(np.sum((p - q) * np.log(ratio), axis=-1), 0.0)
    return index


def distance(before: Counts, now: Counts) -> Counts:
    """Jensen-Shannon distance in bits of counts of the same bins."""
    from scipy.special import rel_entr

    p, q = (counts / counts.sum(-1, keepdims=True) for counts in (before, now))
    middle = (p + q) / 2
    bits = (rel_entr(p, middle).sum(-1) + rel_entr(q, middle).sum(-1)) / (2 * np.log(2))
    found: Counts = np.sqrt(np.clip(bits, 0.0, 1.0))
    return found


def association(before: Counts, now: Counts) -> Counts:
    """Cramer's V of counts of the same bins, neither without rows."""
    whole = before + now
    total = whole.sum(-1)
    share = now.sum(-1) / total
    off = now - share[..., None] * whole
    # Chi-square of a table of two rows, over all that it counts.
    each = np.divide(off**2, whole, out=np.zeros_like(whole), where=whole > 0)
    found: Counts = np.sqrt(each.sum(-1) / (share * (1 - share) * total))
    return found


def apart(edges: Sequence[Sequence[float]], before: Counts, now: Counts) -> tuple[Counts, Counts]:
    """Kolmogorov-Smirnov and Wasserstein distance of counts of the bins of numbers, missing first."""
    places = np.zeros((len(edges), before.shape[-1] - 2))
    for row, known in zip(places, edges, strict=True):
        row[: len(known)] = known
        row[len(known) :] = known[-1] if known else 0.0
    below = [np.cumsum(counts[:, 1:], axis=-1) for counts in (before, now)]
    p, q = (part[:, :-1] / np.maximum(part[:, -1:], 1.0) for part in below)
    there = (below[0][:, -1] > 0) & (below[1][:, -1] > 0)
    gap = np.where(there[:, None], np.abs(p - q), 0.0)
    return gap.max(-1, initial=0.0), np.trapezoid(gap, places, axis=-1)


def _table(rows: Sequence[Sequence[int]]) -> Counts:
    """Counts of bins, one row a feature; those with fewer bins have empty ones behind, which say nothing."""
    table = np.zeros((len(rows), max(map(len, rows))))
    for row, counts in zip(table, rows, strict=True):
        row[: len(counts)] = counts
    return table
