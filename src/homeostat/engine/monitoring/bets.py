"""Bets against one feature: what would be seen if it had moved, each a fair price on the bins of its reference.

A bet gives each bin b a payoff w(b) > 0. Its price is the mean payoff on the training rows of the same season,
raised by what is allowed, so that no distribution within the floor makes money on it:

    e = prod over rows of  w(b) / (mean_s(w) (1 + floor * sd(w) / mean(w)))

On the training distribution, w / mean is the betting function of a smoothed conformal p-value (Vovk, Gammerman &
Shafer, "Algorithmic Learning in a Random World", 2005; Vovk, "Testing randomness online", Statistical Science 36,
2021): with scores on bins, the p-value is uniform within the bin's interval of the reference's distribution
function, and a histogram on those intervals that integrates to 1 is w / mean. Its expectation over the p-value's
own random number is taken here, which loses nothing and needs no randomness.

Payoffs of numbers: exponential tilts of the normal scores of the bins (location) and of their squares (spread), both
ways and in several sizes, and single bins, missing first, that become more frequent. Of categories: each becomes
more, or less, frequent. One more bet learns: its payoff is the ratio of what earlier looks saw to the training rows,
for changes of any other shape. A mixture with fixed weights needs no choice among them afterwards.

Conformal p-values against one fixed set of rows are not independent of one another: they share its sampling error.
That error is why there is a floor. With probability 1 - eta over the training rows, no bet's mean is off by more
than ``needed`` (Bernstein's inequality with the variance of the rows, a union over all bets), and what the floor
allows must be at least that: else the reference is too small for its promise. The bet that learns may take any
direction, so its error is bounded for all at once: by the Cauchy-Schwarz inequality it is at most the standard
deviation of the payoff times the root of chi-square / n, Pearson's statistic of the training rows.

That is the error of what all seasons cost together, in the shares that training had of them. A look at other shares p,
as at one hour, is priced by the fewer rows of these seasons: its error has the variance sum p^2 sd_s^2 / n_s, or that
of all together and of the difference of shares. The less of both is allowed for, with a union over the looks of a year.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.engine.monitoring.dependence import scores
from homeostat.engine.monitoring.reference import Bins, Numbers

FINEST: Final = 0.02  # standard deviations: no floor is finer unless it is declared
COARSEST: Final = 0.1  # and none that is chosen here is coarser

_LOCATION: Final = (0.12, 0.3, 0.8)
_SPREAD: Final = (0.15, 0.4)
_MASS: Final = (0.1, 0.3)
_LEARNS: Final = 0.15  # the weight of the bet that learns
_DOUBT: Final = 300.0  # rows as in training that stand beside what was seen
_RARE: Final = 0.002  # a bin rarer than this is priced as if it held this share

Floats = npt.NDArray[np.float64]


class Bets(msgspec.Struct, frozen=True, eq=False):
    """The bets on one feature.

    Args:
        payoffs: log w of the fixed bets, of shape (bets, bins).
        prices: log of the mean payoff in each stratum, of shape (strata + 1, bets); the last is that of all rows.
        prior: The weight of each bet in the mixture, the one that learns last; they sum to 1.
        local: Shares of the bins in each stratum, of shape (strata + 1, bins).
        spread: Standard deviation of w / mean on the training rows, a fixed bet.
        span: Range of w / mean, a fixed bet.
        seasons: Training rows in each stratum, of shape (strata,).
        within: Standard deviation of w / mean within each stratum, at least ``spread``, of shape (strata, fixed bets).
        rows: Training rows.
        inflation: How many times more window sums vary than those of independent rows do.
    """

    payoffs: Floats
    prices: Floats
    prior: Floats
    local: Floats
    spread: Floats
    span: Floats
    seasons: Floats
    within: Floats
    rows: int
    inflation: float

    def floor(self, chance: float) -> float:
        """The finest floor, in standard deviations, that so many rows allow but for ``chance`` (a bet)."""
        independent = max(self.rows / self.inflation, 1e-9)
        nats = math.log(2 / chance)
        return float(np.max(self._needed(independent, nats)))

    def needed(self, floor: float, chance: float) -> int:
        """How many training rows ``floor`` takes."""
        nats = math.log(2 / chance)
        # floor = a / sqrt(n) + b / n, solved for sqrt(n), the worst of the bets.
        a = math.sqrt(2 * nats)
        b = nats / 3 * float(np.max(self.span / self.spread))
        root = (a + math.sqrt(a * a + 4 * floor * b)) / (2 * floor)
        return math.ceil(root * root * self.inflation)

    def log_e(
        self,
        counts: Floats,
        strata: Floats,
        floor: float,
        chance: float,
        looks: float,
        before: Floats | None = None,
    ) -> Floats:
        """The log of each bet's e-value on one window, that of the bet that learns last.

        Args:
            counts: Rows a bin, of shape (bins,).
            strata: Rows a stratum, of shape (strata + 1,), with the same sum; the last are of none.
            floor: Standard deviations that a payoff's mean may move for nothing.
            chance: That the training rows are further off than is allowed for.
            looks: In a year, which share it once more where they are at seasons in other shares.
            before: Rows a bin of earlier looks; None: nothing is learned yet.
        """
        shares, differ = self._shares(strata)
        nats = math.log(2 / chance)
        each_look = nats + math.log(looks)
        known = self._needed(self.rows / self.inflation, nats) * self.spread
        error = np.minimum(self._error(shares, each_look), known + self._error(differ, each_look))
        allowed = counts.sum() * np.log1p(np.maximum(floor * self.spread, error))
        # A power below 1 of an e-value is one by Jensen's inequality, and what rows that depend on one another take.
        won = self.payoffs @ counts - strata @ self.prices - allowed
        learned = 0.0
        if before is not None:
            bet, deviation, off = self._learned(before, (shares, differ), chance, looks)
            free = counts.sum() * math.log1p(max(floor, off) * deviation)
            learned = float(np.log(bet) @ counts - strata @ np.log(self.local @ bet) - free)
        each: Floats = np.append(won, learned) / self.inflation
        return each

    def _shares(self, strata: Floats) -> tuple[Floats, Floats]:
        """Of a look, the share of each season, and by how much more that is than of the training rows.

        Rows of a season without training rows are priced as all of these are.
        """
        usual = self.seasons / self.seasons.sum()
        there = np.where(self.seasons > 0, strata[:-1], 0.0)
        shares = (there + (strata.sum() - there.sum()) * usual) / strata.sum()
        return shares, shares - usual

    def _error(self, shares: Floats, nats: float) -> Floats:
        """How far the price of seasons in some shares may be off, a fixed bet, but for exp(-nats) (Bernstein)."""
        weights = np.abs(shares) / np.maximum(self.seasons, 1.0) * self.inflation
        variance = (np.abs(shares) * weights) @ (self.within * self.within)
        error: Floats = np.sqrt(2 * nats * variance) + weights.max() * self.span * nats / 3
        return error

    def _learned(
        self, before: Floats, parts: tuple[Floats, Floats], chance: float, looks: float
    ) -> tuple[Floats, float, float]:
        """The payoff of the bet that learns, its standard deviation to its mean, and how far its price may be off.

        Args:
            before: Rows a bin of earlier looks.
            parts: Of a look, see `_shares`.
            chance: See `log_e`.
            looks: See `log_e`.
        """
        from scipy.special import chdtri

        shares = self.local[-1]
        common = np.maximum(shares, _RARE) / np.maximum(shares, _RARE).sum()
        w = (before + _DOUBT * common) / (before.sum() + _DOUBT) / common
        mean = w @ shares
        spread = math.sqrt(max(float((w * w) @ common) / mean**2 - (float(w @ common) / mean) ** 2, 0.0))
        known, each_look = (float(chdtri(len(shares) - 1, part)) for part in (chance, chance / looks))
        now, differ = (
            math.sqrt(each_look * self.inflation * float((part**2 / np.maximum(self.seasons, 1.0)).sum()))
            for part in parts
        )
        return w, spread, min(now, math.sqrt(known * self.inflation / self.rows) + differ)

    def _needed(self, rows: float, nats: float) -> Floats:
        error: Floats = np.sqrt(2 * nats / rows) + self.span / self.spread * nats / (3 * rows)
        return error


def bets(bins: Bins, strata: npt.ArrayLike, inflation: float = 1.0) -> Bets:
    """The bets on a feature.

    Args:
        bins: Its bins in the reference.
        strata: Training rows of each stratum in each bin, of shape (strata, bins).
        inflation: See `Bets`.
    """
    each = np.asarray(strata, dtype=np.float64)
    whole = each.sum(0)
    # The row that is judged belongs to its own reference: one row, spread over the bins.
    shares = (whole + 1 / len(whole)) / (whole.sum() + 1)
    local = np.vstack([(each + shares) / (each.sum(1, keepdims=True) + 1), shares])
    payoffs, prior = _numbers(shares) if isinstance(bins, Numbers) else _masses(shares, _MASS, both=True)
    w = np.exp(payoffs)
    mean = w @ shares
    # As if rare bins were less rare, so that a bin that training never saw has an error too.
    common = np.maximum(shares, _RARE) / np.maximum(shares, _RARE).sum()
    variance = (w * w) @ common / (w @ common) ** 2 - 1
    spread = np.sqrt(np.maximum(variance, 1e-12))
    span = (w.max(1) - w.min(1)) / mean
    usual = local[:-1] @ w.T
    within = np.sqrt(np.maximum(local[:-1] @ (w * w).T / usual**2 - 1, spread**2))
    told = span > 1e-9  # a bet on a feature that has one value pays the same whatever is seen
    return Bets(
        payoffs[told],
        np.log(local @ w.T)[:, told],
        np.append((1 - _LEARNS) * prior[told] / max(prior[told].sum(), 1e-12), _LEARNS)
        if told.any()
        else np.zeros(0),
        local,
        spread[told],
        span[told],
        each.sum(1),
        within[:, told],
        int(whole.sum()),
        inflation,
    )


def _numbers(shares: Floats) -> tuple[Floats, Floats]:
    place, spread = scores(shares)
    tilts = [size * place for size in (*_LOCATION, *(-x for x in _LOCATION))]
    widths = [size * spread for size in (*_SPREAD, *(-x for x in _SPREAD))]
    more, weights = _masses(shares, _MASS[-1:], both=False)
    missing, half = _masses(shares[:1], _MASS, both=False, of=len(shares))
    prior = [0.5 / len(tilts)] * len(tilts) + [0.2 / len(widths)] * len(widths)
    return np.vstack([*tilts, *widths, more, missing]), np.concatenate([prior, 0.2 * weights, 0.1 * half])


def _masses(
    shares: Floats, sizes: tuple[float, ...], *, both: bool, of: int | None = None
) -> tuple[Floats, Floats]:
    """Bets that a bin holds ``size`` standard deviations more of the rows (or less), Bernoulli against Bernoulli."""
    width = of or len(shares)
    rows = []
    for at, share in enumerate(np.clip(shares, _RARE, 1 - _RARE)):
        deviation = math.sqrt(share * (1 - share))
        for size in (*sizes, *(-x for x in sizes)) if both else sizes:
            other = min(max(share + size * deviation, share / 4), 1 - (1 - share) / 4)
            row = np.full(width, math.log((1 - other) / (1 - share)))
            row[at] = math.log(other / share)
            rows.append(row)
    return np.array(rows), np.full(len(rows), 1 / len(rows))
