"""How far live rows are from the training data, feature by feature, and how far chance alone would take them.

* Population stability index: ``sum (p - q) ln(p / q)`` over the bins, the symmetric divergence of Jeffreys
  (1946) under the name that credit scoring gave it (Siddiqi, "Credit Risk Scorecards", 2006). Half a row is
  added to each bin (Jeffreys' prior; Krichevsky & Trofimov, 1981), so that an empty bin is no infinity.
* Jensen-Shannon distance: the square root of the divergence in bits, between 0 and 1, a metric (Endres &
  Schindelin, 2003).
* Chance: with no drift at all, ``PSI / (1/n + 1/m)`` for n training and m live rows is distributed about as
  chi-square with B - 1 degrees of freedom for B bins (Yurdakul, "Statistical properties of population
  stability index", Western Michigan University, 2018), so that its mean is ``(B - 1)(1/n + 1/m)``. A small
  window is far from its reference by that much for no reason. ``excess`` takes the mean off, and is 0 where
  the index stays within what chance reaches once in a thousand."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.engine.monitoring.reference import Profile, Reference

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
        rows: Live rows.
    """

    feature: str
    psi: float
    expected: float
    excess: float
    distance: float
    rows: int


def drift(against: Reference, seen: Profile) -> list[FeatureDrift]:
    """The drift of each feature that both sides have rows of, the most drifted first."""
    from scipy.special import chdtri

    found = []
    for name, counts in seen.counts.items():
        before = np.asarray(against.features[name].counts, dtype=np.float64)
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
        by_chance = float(chdtri(freedom, CHANCE)) * spread if freedom else 0.0
        found.append(
            FeatureDrift(
                feature=name,
                psi=index,
                expected=expected,
                excess=max(index - expected, 0.0) if index > by_chance else 0.0,
                distance=distance(before, now),
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
