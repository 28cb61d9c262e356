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
    from scipy.special import chdtri

    found = []
    for name, counts in seen.counts.items():
        bins = against.features[name]
        before = np.asarray(bins.counts, dtype=np.float64)
        now = np.asarray(counts, dtype=np.float64)
        n, m = float(before.sum()), float(now.sum())
        if not n or not m:
            continue
        # Bins that are empty on both sides say nothing.
        used = (before > 0) | (now > 0)
        freedom = float(used.sum() - 1)
        spread = 1 / n + 1 / m
        index = psi(before, now)
        expected = freedom * spread
        farthest, area = apart(bins.edges, before, now) if isinstance(bins, Numbers) else (None, None)
        by_chance = float(chdtri(freedom, CHANCE)) * spread if freedom else 0.0
        found.append(
            FeatureDrift(
                feature=name,
                psi=index,
                expected=expected,
                excess=max(index - expected, 0.0) if index > by_chance else 0.0,
                distance=distance(before, now),
                association=association(before, now),
                ks=farthest,
                wasserstein=area,
                rows=int(m),
            )
        )
    return sorted(found, key=lambda one: (-one.excess, -one.psi, one.feature))


def psi(before: Counts, now: Counts) -> float:
    """Population stability index of two counts of the same bins; 0 for equal counts, never negative."""
    used = (before > 0) | (now > 0)
    p, q = (counts[used] + 0.5 for counts in (before, now))
    p, q = p / p.sum(), q / q.sum()
    return max(float(np.sum((p - q) * np.log(p / q))), 0.0)


def distance(before: Counts, now: Counts) -> float:
    """Jensen-Shannon distance in bits of two counts of the same bins."""
    from scipy.special import rel_entr

    p, q = before / before.sum(), now / now.sum()
    middle = (p + q) / 2
    bits = (rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / (2 * np.log(2))
    return float(np.sqrt(min(max(bits, 0.0), 1.0)))


def association(before: Counts, now: Counts) -> float:
    """Cramer's V of two counts of the same bins, neither without rows."""
    whole = before + now
    used = whole > 0
    share = now.sum() / whole.sum()
    apart = now[used] - share * whole[used]
    # Chi-square of a table of two rows, over all that it counts.
    return float(np.sqrt(np.sum(apart**2 / whole[used]) / (share * (1 - share) * whole.sum())))


def apart(edges: Sequence[float], before: Counts, now: Counts) -> tuple[float, float]:
    """Kolmogorov-Smirnov and Wasserstein distance of two counts of the bins of a number, missing first."""
    p, q = before[1:], now[1:]
    if not edges or not p.sum() or not q.sum():
        return 0.0, 0.0
    gap = np.abs(np.cumsum(p)[:-1] / p.sum() - np.cumsum(q)[:-1] / q.sum())
    return float(gap.max()), float(np.trapezoid(gap, edges))
