"""Rows that are drawn anew in every environment, the same for each tool: NumPy and SciPy are all it takes.

Twenty features, fifteen normal ones and five of five categories; a shift is in three of them, two numbers by some
standard deviations and one category's mass to another. Or eight numbers that follow the hour, each row like the one
before to some degree; a shift is in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

LETTERS = np.array(list("abcde"))
SHARES = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
SHIFTS = {"none": (0.0, 0.0), "small": (0.15, 0.04), "medium": (0.35, 0.10)}
WINDOWS = 50
TRAINED = 10  # training sets; repetitions take turns
HOUR = "hour"
_TRAINING, _DAYS = 50_000, 20
_A_DAY = 2400

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Stream:
    """What comes: windows of ``rows``, shifted or not, with seasons of an hour or without.

    Args:
        rows: Of a window.
        shift: A key of ``SHIFTS``.
        again: How alike neighbouring rows of a seasonal stream are, from 0; None: rows have no season.
    """

    rows: int
    shift: str = "none"
    again: float | None = None

    def training(self, turn: int) -> Columns:
        """The training rows of a repetition."""
        rng = np.random.default_rng([0, turn % TRAINED])
        if self.again is None:
            return _rows(rng, _TRAINING, 0.0, 0.0)
        return _days(rng, _DAYS * _A_DAY, 0, self.again, 0.0)

    def windows(self, turn: int, count: int = WINDOWS) -> Iterator[Columns]:
        """The windows of a repetition, the same first ones however many are asked for."""
        by, mass = SHIFTS[self.shift]
        rng = np.random.default_rng([1, turn, self.rows, list(SHIFTS).index(self.shift)])
        if self.again is None:
            for _ in range(count):
                yield _rows(rng, self.rows, by, mass)
            return
        whole = _days(rng, self.rows * WINDOWS, _DAYS * _A_DAY, self.again, by)
        for first in range(0, self.rows * count, self.rows):
            yield {name: values[first : first + self.rows] for name, values in whole.items()}


def wide(rows: int) -> Columns:
    """Rows of 20 columns, four of them texts, to measure what reading them takes."""
    rng = np.random.default_rng(0)
    numbers = {f"x{i}": rng.normal(size=rows) for i in range(14)}
    counts = {f"n{i}": rng.poisson(5, rows) for i in range(2)}
    return {**numbers, **counts, **{f"c{i}": rng.choice(LETTERS, rows, p=SHARES) for i in range(4)}}


def _rows(rng: np.random.Generator, rows: int, by: float, mass: float) -> Columns:
    found = {f"x{i}": rng.normal(size=rows) + (by if i < 2 else 0.0) for i in range(15)}
    for i in range(5):
        moved = SHARES + (np.array([-mass, mass, 0, 0, 0]) if i == 0 else 0.0)
        found[f"c{i}"] = LETTERS[np.searchsorted(np.cumsum(moved), rng.random(rows)).clip(max=4)]
    return found


def _days(rng: np.random.Generator, rows: int, first: int, again: float, by: float) -> Columns:
    hours = np.arange(first, first + rows) % _A_DAY // 100
    noise = lfilter([np.sqrt(1 - again**2)], [1, -again], rng.normal(size=(8, rows + 100)))[:, 100:]
    found = {f"x{i}": noise[i] + np.sin(2 * np.pi * (hours + i) / 24) for i in range(8)}
    found["x0"] = found["x0"] + by
    return {**found, HOUR: hours}
