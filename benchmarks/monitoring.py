"""Drift: false reports, delays, and what profiles cost.

Twenty features, fifteen normal ones and five of five categories. The shifts are in three of them: two numbers by some
standard deviations, and one category's mass to another. A window is a draw of its bins' counts, which is all that any
rule on bins sees of its rows.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import numpy as np
import polars as pl
from scipy.signal import lfilter
from scipy.special import chdtrc, ndtr

from benchmarks.measure import Line, Section, compare, cost
from homeostat.engine.monitoring.drift import drift, psi
from homeostat.engine.monitoring.evidence import Evidence, Monitor, judge, look, monitor
from homeostat.engine.monitoring.reference import Numbers, Profile, Reference, profile, reference

WINDOWS, REPEATS, BARE_REPEATS, REFERENCES, SEASONAL_REPEATS, TRAINING = 50, 200, 50, 10, 40, 50_000
ALPHA = 0.02
LETTERS = list("abcde")
SHARES = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
SHIFTED = ("x0", "x1", "c0")
SHIFTS = {"none": (0.0, 0.0), "small": (0.15, 0.04), "medium": (0.35, 0.10)}
ROWS = 1_000_000

Rule = Callable[[Profile], bool]


def run() -> Section:
    lines = []
    for rows in (500, 5000):
        for name in SHIFTS:
            print(f"  shift {name}, windows of {rows:,} …", file=sys.stderr, flush=True)
            lines.append(_simulated(rows, name))
    return Section(
        "Monitoring",
        f"{REPEATS} times {WINDOWS} windows of 20 features, against {TRAINING:,} training rows that were drawn "
        f"{REFERENCES} times; the test promises any false report with a probability of at most {ALPHA:g}. Small: 0.15 "
        "standard deviations in two features and 4% of the mass of a category in a third; medium: 0.35 and 10%. Delays "
        "in windows, 1 being the first that is shifted. Bare, on the same windows: any feature with a population "
        "stability index above 0.1; any with p < 0.05 by chi-square.",
        [*lines, *(_seasonal(again) for again in (0.0, 0.5)), *_profiles()],
    )


@dataclass
class Looks:
    """A test with what it has seen."""

    test: Monitor
    evidence: Evidence = field(default_factory=Evidence)

    def report(self, seen: Profile) -> bool:
        self.evidence = look(self.test, self.evidence, seen)
        return judge(self.test, self.evidence).drifted


def _simulated(rows: int, shift: str) -> Line:
    rng = np.random.default_rng([rows, list(SHIFTS).index(shift)])
    ours, by_index, by_p = list[int](), list[int](), list[int]()
    for turn in range(REPEATS):
        if turn % (REPEATS // REFERENCES) == 0:
            against = _training(rng)
            shares = _shares(against, *SHIFTS[shift])
            test = monitor(against, against.features, false_alarm=ALPHA, looks=WINDOWS)
        ours.append(_first(rng, shares, rows, Looks(test).report))
        if turn % (REPEATS // BARE_REPEATS) == 0:
            by_index.append(_first(rng, shares, rows, partial(_index, against)))
            by_p.append(_first(rng, shares, rows, partial(_chi_square, against)))
    return Line(
        f"shift {shift}, windows of {rows:,}",
        _told(ours, shift),
        f"index: {_told(by_index, shift)}; p: {_told(by_p, shift)}",
    )


def _seasonal(again: float) -> Line:
    """Features that follow the hour, each row like the one before to the degree ``again``, without drift and with."""
    print(f"  seasons, rows alike by {again:g} …", file=sys.stderr, flush=True)
    rng = np.random.default_rng(int(10 * again))
    rows, false, delays = 500, 0, list[int]()
    for _ in range(SEASONAL_REPEATS):
        frame, hours = _days(rng, 48_000, 0, again)
        known = reference(frame, seasons=hours)
        test = monitor(known, known.features, false_alarm=ALPHA, looks=WINDOWS)
        for shift in (0.0, 0.35):
            looks, live = Looks(test), _days(rng, rows * WINDOWS, 48_000, again, shift)
            cuts = (slice(first, first + rows) for first in range(0, rows * WINDOWS, rows))
            seen = (profile(known, live[0][cut], live[1][cut]) for cut in cuts)
            first = next((at for at, one in enumerate(seen, 1) if looks.report(one)), WINDOWS + 1)
            if shift:
                delays.append(first)
            else:
                false += first <= WINDOWS
    return Line(
        f"seasons of an hour, neighbours correlated by {again:g}, windows of {rows:,}, {SEASONAL_REPEATS} times; "
        "shift of 0.35 in one of 8 features",
        f"falsely in {false / SEASONAL_REPEATS:.1%}; {_told(delays, 'medium')}",
    )


def _days(
    rng: np.random.Generator, rows: int, first: int, again: float, shift: float = 0.0
) -> tuple[pl.DataFrame, pl.Series]:
    """Rows of 2,400 a day and their hours."""
    hours = np.arange(first, first + rows) % 2400 // 100
    noise = lfilter([np.sqrt(1 - again**2)], [1, -again], rng.normal(size=(8, rows + 100)))[:, 100:]
    columns = {f"x{i}": noise[i] + np.sin(2 * np.pi * (hours + i) / 24) for i in range(8)}
    columns["x0"] += shift
    return pl.DataFrame(columns), pl.Series(hours).cast(pl.String)


def _first(rng: np.random.Generator, shares: dict[str, np.ndarray], rows: int, rule: Rule) -> int:
    """The first window at which ``rule`` reports, beyond all where it does not."""
    for index in range(1, WINDOWS + 1):
        counts = {name: rng.multinomial(rows, each).tolist() for name, each in shares.items()}
        if rule(Profile(rows, counts)):
            return index
    return WINDOWS + 1


def _told(delays: list[int], shift: str) -> str:
    found = sum(delay <= WINDOWS for delay in delays) / len(delays)
    if shift == "none":
        return f"falsely in {found:.1%}"
    middle, most = (
        f"{value:g}" if value <= WINDOWS else "never" for value in (median(delays), np.quantile(delays, 0.9))
    )
    return f"found in {found:.1%}, median {middle}, 9 of 10 by {most}"


def _index(against: Reference, seen: Profile) -> bool:
    return any(
        psi(np.array(against.features[name].counts, float), np.array(counts, float)) > 0.1
        for name, counts in seen.counts.items()
    )


def _chi_square(against: Reference, seen: Profile) -> bool:
    """Whether any feature differs at 0.05, by Pearson's test on the bins that hold rows."""
    for one in drift(against, seen):
        both = np.array([against.features[one.feature].counts, seen.counts[one.feature]], float)
        freedom = (both.sum(0) > 0).sum() - 1
        if chdtrc(freedom, one.association**2 * both.sum()) < 0.05:
            return True
    return False


def _training(rng: np.random.Generator) -> Reference:
    numbers = {f"x{i}": rng.normal(size=TRAINING) for i in range(15)}
    texts = {f"c{i}": rng.choice(LETTERS, TRAINING, p=SHARES) for i in range(5)}
    return reference(pl.DataFrame(numbers | texts))


def _shares(against: Reference, shift: float, mass: float) -> dict[str, np.ndarray]:
    """The probability of each bin, shifted in three features."""
    shares = {}
    for name, bins in against.features.items():
        by, moves = (shift, mass) if name in SHIFTED else (0.0, 0.0)
        if isinstance(bins, Numbers):
            below = ndtr(np.array(bins.edges) - by)
            shares[name] = np.concatenate([[0.0], np.diff(below, prepend=0.0, append=1.0)])
        else:
            moved = SHARES + np.array([-moves, moves, 0, 0, 0])
            shares[name] = np.array([0.0, *(moved[LETTERS.index(value)] for value in bins.values), 0.0])
    return shares


def _profiles() -> list[Line]:
    """A million rows of 20 columns, strings included, against a reference."""
    rng = np.random.default_rng(0)
    numbers = {f"x{i}": rng.normal(size=ROWS) for i in range(14)}
    counts = {f"n{i}": rng.poisson(5, ROWS) for i in range(2)}
    texts = {f"c{i}": rng.choice(LETTERS, ROWS, p=SHARES) for i in range(4)}
    frame = pl.DataFrame(numbers | counts | texts)
    del numbers, counts, texts
    known = reference(frame.head(100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def whole() -> None:
        drift(known, profile(known, frame))

    def bare() -> None:
        for column in frame.iter_columns():
            if column.dtype.is_numeric():
                column.mean(), column.std(), column.min(), column.max(), column.null_count()
                column.qcut(20, allow_duplicates=True)
            else:
                column.value_counts()

    ours = cost(whole, repeat=3)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        compare(
            f"{ROWS:,} rows of 20 columns against a reference, {more:.0f} MB beyond the rows; bare: Polars' moments, "
            "quantile bins and counts",
            ours,
            cost(bare, repeat=1),
        ),
        Line("the same, rows a second", f"{ROWS / ours.cpu:,.0f} a CPU second"),
    ]
