"""Concept drift: whether a model's losses have risen, and since when.

Whether they have is asked of the means of looks (``steps``), in which rows of one look may depend on one another and
on those of the look before: of the roots of losses, for few large losses would hide many that rose, and of the logs of
these means, for what makes a day differ multiplies its losses. That means are normal is an approximation: where large
losses are rare, as a fraud that was missed, looks count together until there are rows enough for it. A model that
learns more has smaller losses: where they stepped down, looks before are no measure any more, and only how much looks
differ stays known of them.

Since when is asked of each loss. In the order in which their labels came each gets a smoothed conformal p-value, its
rank among all before it with ties broken at random (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World",
2005). Bets that p-values are small (Vovk et al., "Retrain or not retrain: conformal test martingales for change-point
detection", COPA 2021) are k p^(k - 1) for several k, for losses as large as there were none, and r times as many
p-values below u as there were, for errors that become more frequent. The change point is where the cumulative sum of
the log of the bet that won most was least (Page, "Continuous inspection schemes", Biometrika 41, 1954): of all starts
the one of greatest likelihood. Where looks differ, each row counts 1 / the design effect (Kish, "Survey Sampling",
1965), estimated by the median of how much looks differed from one to the next: a change, which is one difference among
many, does not count as chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.engine.control.steps import RHO, Look, Stepped, likelihoods, stepped

BINS: Final = 256
_POWERS: Final = (0.3, 0.5, 0.7, 0.85)
_STEPS: Final = tuple((u, r) for u in (0.02, 0.05, 0.1, 0.2, 0.4) for r in (1.3, 2.0))
_BETS: Final = len(_POWERS) + len(_STEPS)
_CHUNK: Final = 500
_LOOKS: Final = 400  # the newest that are kept
_LEAST: Final = 10  # rows of a look; fewer count together with the next
_NORMAL: Final = 2  # times the kurtosis: as many rows have a mean that is normal enough
_MEDIAN: Final = 0.4549  # of a chi-square of one degree of freedom
_MOST: Final = 300.0  # nats of evidence that are told apart

Floats = npt.NDArray[np.float64]


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a model's losses: all that a next look needs.

    Args:
        rows: Losses seen.
        counts: How many lie in each bin of equal steps of the root of the loss, up to its bound.
        sums: The cumulative sum of each bet's log above its least so far.
        since: When each of these was least: the time of the first request that counts.
        after: How many losses each of these sums up.
        looks: At roots of losses; the newest, since they stepped down.
        known: How well each hypothesis explains the looks before these; empty: there were none.
    """

    rows: int = 0
    counts: tuple[int, ...] = (0,) * BINS
    sums: tuple[float, ...] = (0.0,) * _BETS
    since: tuple[datetime | None, ...] = (None,) * _BETS
    after: tuple[int, ...] = (0,) * _BETS
    looks: tuple[Look, ...] = ()
    known: tuple[float, ...] = ()

    @property
    def inflation(self) -> float:
        """The design effect: how many times more the means of looks vary than those of independent rows, at least 1."""
        if len(self.looks) < 2:
            return 1.0
        rows, means, squares = (
            np.array(column, dtype=np.float64)
            for column in zip(*map(msgspec.structs.astuple, self.looks), strict=True)
        )
        of_a_row = float(squares.sum() / max(rows.sum() - len(rows), 1))
        moved = np.diff(means) ** 2 / (1 / rows[1:] + 1 / rows[:-1])
        return max(float(np.median(moved)) / _MEDIAN / of_a_row, 1.0) if of_a_row > 0 else 1.0

    def evidence(self, looks: float) -> float:
        """The evidence that losses have risen, to be compared with 1 / alpha.

        Args:
            looks: How often a year is looked.
        """
        return math.exp(min(self._stepped.up - math.log(looks), _MOST))

    @property
    def _stepped(self) -> Stepped:
        return stepped(_logs(self.looks), self._known)

    @property
    def _known(self) -> Floats | None:
        """None also of what a release with other hypotheses kept."""
        return np.array(self.known) if len(self.known) == len(RHO) else None

    def again(self) -> Losses:
        """To begin with after a change: of what was seen, how much looks differ is still known."""
        return Losses(known=self._after(self._stepped.place))

    def _after(self, place: int) -> tuple[float, ...]:
        """What is known of how much looks differ once those before a step at ``place`` are left out."""
        known = self._known
        found = likelihoods(_logs(self.looks[:place])) + (0.0 if known is None else known)
        return tuple(found.tolist())

    @property
    def change(self) -> datetime | None:
        """The likeliest time of the first request since losses rose; None: nothing was seen that speaks for any."""
        best = int(np.argmax(self.sums))
        return self.since[best] if self.sums[best] > 0 else None

    @property
    def suspicion(self) -> float:
        """The log of the likelihood of a change there to that of none, of the bet that won most (Page's test)."""
        return max(self.sums)

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
    found = np.asarray(losses, dtype=np.float64)
    if not len(found):
        return before
    roots = np.sqrt(found / most)
    p, counts = _p_values(before, np.minimum((BINS * roots).astype(np.int64), BINS - 1))
    won = _won(p) / before.inflation
    sums, since, after = list(before.sums), list(before.since), list(before.after)
    for bet, gains in enumerate(won):
        path = sums[bet] + gains.cumsum()
        least = int(path.argmin())
        if path[least] <= 0:
            since[bet], after[bet] = times[min(least + 1, len(path) - 1)], len(path) - least - 1
        else:
            since[bet], after[bet] = since[bet] or times[0], after[bet] + len(path)
        sums[bet] = float(path[-1] - min(path[least], 0.0))
    fresh = Look(len(roots), float(roots.mean()), float(((roots - roots.mean()) ** 2).sum()))
    known = msgspec.structs.replace(
        before,
        rows=before.rows + len(found),
        counts=counts,
        sums=tuple(sums),
        since=tuple(since),
        after=tuple(after),
        looks=_with(before.looks, fresh, _enough(before.counts)),
    )
    fell = known._stepped
    if fell.down < math.log(looks / false_alarm):
        return known
    return msgspec.structs.replace(known, looks=known.looks[fell.below :], known=known._after(fell.below))


def _with(looks: tuple[Look, ...], fresh: Look, enough: float) -> tuple[Look, ...]:
    if looks and looks[-1].rows < enough:
        return (*looks[:-1], looks[-1].with_(fresh))
    return (*looks, fresh)[-_LOOKS:]


def _enough(counts: Sequence[int]) -> float:
    """Rows of a look, for its mean to be about normal: the kurtosis of a mean is as much nearer to that as it has rows.

    It is of all losses that were seen before, for a look must not end by what is in it.
    """
    rows, roots = np.array(counts, dtype=np.float64), np.arange(BINS) / BINS
    if not rows.any():
        return _LEAST
    apart = roots - np.average(roots, weights=rows)
    variance = float(np.average(apart**2, weights=rows))
    if variance == 0:
        return _LEAST
    return max(_LEAST, _NORMAL * float(np.average(apart**4, weights=rows)) / variance**2)


def _logs(looks: Sequence[Look]) -> list[Look]:
    """Looks at the logs, by the delta method; no mean is 0."""
    return [
        Look(look.rows, math.log(look.mean + 1 / BINS), look.squares / (look.mean + 1 / BINS) ** 2)
        for look in looks
    ]


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
