"""Twenty features, as counts: fifteen normal ones and five of five categories, of which three can shift."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.stats import norm

from homeostat.engine.monitoring.reference import Numbers, Profile, Reference, reference

LETTERS = list("abcde")
SHARES = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
SHIFTED = ("x0", "x1", "c0")
SMALL, MEDIUM = (0.15, 0.04), (0.35, 0.1)  # standard deviations, and the mass that moves to another category


def training(rng: np.random.Generator, rows: int) -> Reference:
    numbers = {f"x{i}": rng.normal(size=rows) for i in range(15)}
    texts = {f"c{i}": rng.choice(LETTERS, rows, p=SHARES) for i in range(5)}
    return reference(pl.DataFrame(numbers | texts))


def window(
    rng: np.random.Generator, against: Reference, rows: int, shift: tuple[float, float] = (0.0, 0.0)
) -> Profile:
    """A window of rows, shifted in three features."""
    counts = {}
    for name, bins in against.features.items():
        by, mass = shift if name in SHIFTED else (0.0, 0.0)
        if isinstance(bins, Numbers):
            below = norm.cdf(np.array(bins.edges) - by)
            shares = np.concatenate([[0.0], np.diff(below, prepend=0.0, append=1.0)])
        else:
            moved = SHARES + np.array([-mass, mass, 0, 0, 0])
            shares = np.array([0.0, *(moved[LETTERS.index(value)] for value in bins.values), 0.0])
        counts[name] = rng.multinomial(rows, shares / shares.sum()).tolist()
    return Profile(rows, counts)
