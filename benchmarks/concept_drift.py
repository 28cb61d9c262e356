"""Concept drift: how often it is reported where nothing changed, and how many looks a change takes to be reported.

Losses of 200 or 2,000 answered requests a day are drawn, gamma-distributed but where another kind is named, and looked
at once a day, as the rule `hs.concept_drift()` looks; it may report from the sixth look on. Days that differ add to
every loss of a day the same, of the share of a loss's variance that is named; days that follow one another do so by
that correlation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Line, Section
from homeostat.engine.control.changes import Losses, look

Floats = npt.NDArray[np.float64]
_ALPHA = 0.05
_YEAR = 365
_MOST = 4.6  # the log loss of a probability of 1%
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_SERIES, _LOOKS = 200, 100
_YEARS = 60
_DELAYS, _PATIENCE = 15, 40


@dataclass(frozen=True)
class Days:
    """How the losses of a day are drawn.

    Attributes:
        rows: Losses a day.
        kind: Of losses: gamma, errors (0 or 1, of 3%), or rare (one in 300 is large, the others alike).
        share: How much of a loss's variance is between days; of errors, the deviation of the log of their rate.
        again: How much a day is like the one before.
        weekend: By how many standard deviations a weekend is worse.
        held: Rows that the training held out: ten looks before the first.
    """

    rows: int
    kind: str = "gamma"
    share: float = 0.0
    again: float = 0.0
    weekend: float = 0.0
    held: int = 0

    def drawn(self, rng: np.random.Generator, looks: int, worse: Callable[[int], float]) -> Iterator[Floats]:
        """The losses of each day; from 0 on ``worse`` says by how many standard deviations they have risen."""
        state = rng.normal()
        for day in range(looks):
            state = self.again * state + np.sqrt(1 - self.again**2) * rng.normal()
            if self.kind == "errors":
                yield (rng.random(self.rows) < min(0.03 * np.exp(self.share * state), 1.0)).astype(float)
            elif self.kind == "rare":
                yield np.where(rng.random(self.rows) < 1 / 300, 4.0, 0.02)
            else:
                losses = rng.gamma(2.0, 0.25, self.rows)
                moved = np.sqrt(self.share) * state + self.weekend * (day % 7 >= 5) + worse(day)
                yield np.clip(losses + moved * 0.25 * np.sqrt(2), 0.0, _MOST)


_STILL = {
    "days all the same, 200 rows a look": Days(200),
    "days differ by 0.5%, 200 rows": Days(200, share=0.005),
    "days differ by 5%, 2,000 rows": Days(2000, share=0.05),
    "days differ by 0.5%, each like the one before by 0.5, 200 rows": Days(200, share=0.005, again=0.5),
    "days differ by 0.5%, each like the one before by 0.5, 2,000 rows": Days(2000, share=0.005, again=0.5),
    "days differ by 5%, each like the one before by 0.5, 2,000 rows": Days(2000, share=0.05, again=0.5),
    "weekends are 0.3 standard deviations worse, 200 rows": Days(200, weekend=0.3),
    "errors of 3% that a bad day (of three sigma) multiplies by 3.6, each like the one before by 0.5, 200 rows": Days(
        200, "errors", share=float(np.log(3.6)) / 3, again=0.5
    ),
    "days differ by 1%, each like the one before by 0.8, 200 rows": Days(200, share=0.01, again=0.8),
}
_RARE = {
    f"one loss in 300 is large, {rows} rows a look after {held:,} held out": Days(rows, "rare", held=held)
    for rows in (10, 50)
    for held in (0, 2000)
}
_CHANGED = {
    "losses rise by 0.1": (Days(200), 0.1),
    "losses rise by 0.3": (Days(200), 0.3),
    "losses rise by 0.3, days differ by 1%": (Days(200, share=0.01), 0.3),
}
_KNOWN = (5, 20, 60)


def reported(days: Days, looks: int, known: int, rise: float, seed: int) -> int | None:
    """At which look a change is reported, the first after ``known`` looks being 1; None: at none."""
    rng, seen = np.random.default_rng(seed), Losses()
    if days.held:
        for losses in replace(days, rows=days.held // 10, held=0).drawn(rng, 10, lambda day: 0.0):
            seen = look(seen, losses, [_BEGAN] * len(losses), most=_MOST, false_alarm=0.5, looks=_YEAR)
    for day, losses in enumerate(days.drawn(rng, looks, lambda day: rise * (day >= known))):
        times = [_BEGAN + timedelta(days=day)] * len(losses)
        seen = look(seen, losses, times, most=_MOST, false_alarm=_ALPHA, looks=_YEAR)
        if day >= known and seen.evidence(_YEAR) >= 1 / _ALPHA:
            return day - known + 1
    return None


def run() -> Section:
    """False reports, then delays."""
    with ProcessPoolExecutor() as beside:

        def each(days: Days, series: int, looks: int, known: int = 5, rise: float = 0.0) -> list[int | None]:
            return list(beside.map(partial(reported, days, looks, known, rise), range(series)))

        lines = []
        for what, days in _STILL.items():
            lines.append(Line(what, _false(each(days, _SERIES, _LOOKS), f"{_LOOKS} looks")))
            print(f"  {what} …", file=sys.stderr, flush=True)
        for what, days in _RARE.items():
            lines.append(Line(what, _false(each(days, _YEARS, _YEAR), "a year")))
        for what, (days, rise) in _CHANGED.items():
            told = []
            for known in _KNOWN:
                found = each(days, _DELAYS, known + _PATIENCE, known, rise)
                middle = median(_PATIENCE + 1 if one is None else one for one in found)
                told.append(f"{middle:g} after {known}" if middle <= _PATIENCE else f"later after {known}")
            lines.append(Line(what, f"looks: {', '.join(told)}"))
    return Section(
        "Concept drift",
        " ".join((__doc__ or "").split("\n\n")[1].split())
        + f" At most {_ALPHA:.0%} of years may be reported falsely. Looks until a rise, in standard deviations of a "
        f"loss, was reported: medians of {_DELAYS} series of at most {_PATIENCE} looks, after as many as are named.",
        lines,
    )


def _false(found: list[int | None], each: str) -> str:
    return f"falsely in {sum(one is not None for one in found)} of {len(found)} series of {each}"
