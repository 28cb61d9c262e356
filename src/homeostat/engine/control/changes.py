"""Concept drift: whether a model's losses have risen, and since when.

Losses are looked at in the order in which their labels came. Each gets a smoothed conformal p-value, its rank among
all before it with ties broken at random (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005): as
long as losses are exchangeable, these are independent and uniform, however few rows there are and whatever the losses'
distribution, so that nothing needs to be known of it. Bets that p-values are small multiply to test martingales (Vovk
et al., "Retrain or not retrain: conformal test martingales for change-point detection", COPA 2021): k p^(k - 1) for
several k, for losses as large as there were none, and r times as many p-values below u as there were, for errors that
become more frequent. A model that learns more has smaller losses, against which nobody bets.

Evidence is the Shiryaev-Roberts statistic of the bets over the looks at which the change may have begun,

    R_t = (1 + R_{t-1}) e_t,

averaged over the bets. With H looks a year, a change is reported once R / H >= 1 / alpha: the probability of any false
report within a year is at most alpha, and after it there are as many again at most (Shin, Ramdas & Rinaldo,
"E-detectors", NEJSDS 2(2), 2023). The change point is where the cumulative sum of the log of the bet that won most was
least (Page, "Continuous inspection schemes", Biometrika 41, 1954): of all starts the one of greatest likelihood.

Losses of one hour often belong together, as in a storm. A power below 1 of a bet is a fair bet too, by Jensen's
inequality, and 1 / the design effect is what rows that depend on one another take (Kish, "Survey Sampling", 1965). It
is estimated by how much the sums of earlier looks differed from one to the next: by the median, so that a change, which
is one difference among many, does not count as chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

BINS: Final = 256
ABOVE: Final = 5.0  # nats that evidence may stand above what reports, so that it falls when losses do
_POWERS: Final = (0.3, 0.5, 0.7, 0.85)
_STEPS: Final = tuple((u, r) for u in (0.02, 0.05, 0.1, 0.2, 0.4) for r in (1.3, 2.0))
_BETS: Final = len(_POWERS) + len(_STEPS)
_FEWEST: Final = 10  # looks before a design effect is estimated
_CHUNK: Final = 500
_LOOKS: Final = 200  # that it is estimated from, the newest
_MEDIAN: Final = 0.4549  # of a chi-square of one degree of freedom
_CHANCE: Final = 8.0  # the median of n of them is this / sqrt(n) medians above it by a chance of 1 in 1,000

Floats = npt.NDArray[np.float64]


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a model's losses: all that a next look needs.

    Args:
        rows: Losses seen.
        counts: How many lie in each bin of equal steps of the root of the loss, up to its bound.
        log: The log of R, one a bet; None: no look yet.
        sums: The cumulative sum of each bet's log above its least so far.
        since: When each of these was least: the time of the first request that counts.
        after: How many losses each of these sums up.
        sizes: Of the newest looks, the sum of the p-values' normal scores over the root of the rows.
    """

    rows: int = 0
    counts: tuple[int, ...] = (0,) * BINS
    log: tuple[float | None, ...] = (None,) * _BETS
    sums: tuple[float, ...] = (0.0,) * _BETS
    since: tuple[datetime | None, ...] = (None,) * _BETS
    after: tuple[int, ...] = (0,) * _BETS
    sizes: tuple[float, ...] = ()

    @property
    def inflation(self) -> float:
        """How many times more the sums of looks vary than those of independent rows; 1 where chance explains it.

        Infinite until there were looks enough to tell: nothing can be bet before.
        """
        if len(self.sizes) < _FEWEST:
            return math.inf
        ratio = float(np.median(np.diff(self.sizes) ** 2)) / 2 / _MEDIAN
        return ratio if ratio > 1 + _CHANCE / math.sqrt(len(self.sizes)) else 1.0

    def evidence(self, looks: float) -> float:
        """The evidence that losses have risen, to be compared with 1 / alpha.

        Args:
            looks: How often a year is looked.
        """
        logs = [one for one in self.log if one is not None]
        return float(np.exp(logs).sum()) / _BETS / looks if logs else 0.0

    def reference(self) -> Losses:
        """To begin with, where these are of rows held out in training: nothing was bet on them."""
        return Losses(rows=self.rows, counts=self.counts, sizes=self.sizes)

    def again(self) -> Losses:
        """To begin with after a change, or another model: of what was seen, how much looks differ is still known."""
        return Losses(sizes=self.sizes)

    @property
    def change(self) -> datetime | None:
        """The likeliest time of the first request since losses rose; None: nothing was seen that speaks for any."""
        best = int(np.argmax(self.sums))
        return self.since[best] if self.sums[best] > 0 else None

    @property
    def since_change(self) -> int:
        """How many losses were seen since then."""
        return self.after[int(np.argmax(self.sums))]


def look(
    before: Losses,
    losses: npt.ArrayLike,
    times: Sequence[datetime],
    *,
    most: float,
    false_alarm: float,
    looks: float,
) -> Losses:
    """What is known after a look at new losses.

    Args:
        before: What was known.
        losses: In the order their labels came, from 0 to ``most``, shape ``(n,)``.
        times: Of the requests they belong to.
        most: The largest loss.
        false_alarm: The probability of a false report a year, alpha.
        looks: How often a year is looked.
    """
    from scipy.special import ndtri

    found = np.asarray(losses, dtype=np.float64)
    if not len(found):
        return before
    p, counts = _p_values(before, np.minimum((BINS * np.sqrt(found / most)).astype(np.int64), BINS - 1))
    inflation = before.inflation
    won = _won(p) / inflation
    enough = math.log(_BETS * looks / false_alarm) + ABOVE
    log = tuple(
        float(min(np.logaddexp(0.0, -np.inf if old is None else old) + new, enough))
        for old, new in zip(before.log, won.sum(1), strict=True)
    )
    sums, since, after = list(before.sums), list(before.since), list(before.after)
    for bet, gains in enumerate(won):
        path = sums[bet] + gains.cumsum()
        least = int(path.argmin())
        if path[least] <= 0:
            since[bet], after[bet] = times[min(least + 1, len(path) - 1)], len(path) - least - 1
        else:
            since[bet], after[bet] = since[bet] or times[0], after[bet] + len(path)
        sums[bet] = float(path[-1] - min(path[least], 0.0))
    size = float(ndtri(1 - p).sum() / math.sqrt(len(p)))
    return Losses(
        rows=before.rows + len(found),
        counts=counts,
        log=log,
        sums=tuple(sums),
        since=tuple(since),
        after=tuple(after),
        sizes=(*before.sizes, size)[-_LOOKS:],
    )


def _won(p: Floats) -> Floats:
    """The log of what each bet makes of each p-value, shape ``(bets, n)``."""
    powers = [math.log(k) + (k - 1) * np.log(p) for k in _POWERS]
    steps = [np.where(p <= u, math.log(r), math.log((1 - u * r) / (1 - u))) for u, r in _STEPS]
    return np.array([*powers, *steps])


def _p_values(before: Losses, bins: npt.NDArray[np.int64]) -> tuple[Floats, tuple[int, ...]]:
    """The p-value of each loss among those before it and itself, and how many losses lie in each bin then."""
    # The same whenever the same is looked at again.
    chance = np.random.default_rng(before.rows).random(len(bins))
    counts, p = np.array(before.counts), np.empty(len(bins))
    for first in range(0, len(bins), _CHUNK):
        part = bins[first : first + _CHUNK]
        earlier = np.tri(len(part), k=-1, dtype=bool)
        above = counts[::-1].cumsum()[::-1][part] - counts[part] + (earlier & (part > part[:, None])).sum(1)
        same = counts[part] + (earlier & (part == part[:, None])).sum(1) + 1
        place = before.rows + first + np.arange(1, len(part) + 1)
        p[first : first + _CHUNK] = (above + chance[first : first + _CHUNK] * same) / place
        counts = counts + np.bincount(part, minlength=BINS)
    return np.clip(p, 1e-9, 1 - 1e-9), tuple(counts.tolist())
