"""Steps: whether the mean of something stepped up or down between two looks, where looks differ by themselves.

Rows of one day belong together: a storm raises all its losses, and the next day's too. So a look is one observation,
its mean, which varies by its rows, sigma^2 / n, and by an effect of its own of variance rho sigma^2, of which a share
phi goes over to the next look. Nobody knows rho and phi beforehand; a grid of them are the hypotheses under which
nothing stepped. The evidence for a step is the likelihood of the looks with a step at any of them, with rho and phi
averaged, to their likelihood without one under that hypothesis which explains them best, in which a few looks can be
explained by large effects: so the fewer are known, the more they must differ. Under each hypothesis this is, for each
place of the step, at most a nonnegative martingale of mean 1 (universal inference: Wasserman, Ramdas & Balakrishnan,
PNAS 117, 2020), and the sum over places an e-detector (Shin, Ramdas & Rinaldo, "E-detectors", NEJSDS 2(2), 2023): with
H looks a year it reaches H / alpha within a year with a probability of at most alpha.

The level before the step has a flat prior and its size a half-normal one, both integrated out. The look before counts
by the first-order approximation of the sum of an autoregression and noise. A step counts once there are three looks
since it: neither one bad day nor a weekend is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STOOD: Final = 3
# Twice apart: so near to each other that one of them explains days that differ by any amount.
_RHO: Final = 2.4 / 2.0 ** np.arange(20)
_PHI: Final = ((0.0, 0.4), (0.6, 0.6))  # with what is thought of each beforehand
_NONE: Final = 0.5  # of no effects at all
_SIZES: Final = (0.15, 0.75)  # half-normal, in standard deviations of a row

RHO: Final[Floats] = np.concatenate([[0.0], *(_RHO for _ in _PHI)])
PHI: Final[Floats] = np.concatenate([[0.0], *(np.full(len(_RHO), phi) for phi, _ in _PHI)])
PRIOR: Final[Floats] = np.log(
    np.concatenate([[_NONE], *(np.full(len(_RHO), (1 - _NONE) * weight / len(_RHO)) for _, weight in _PHI)])
)


class Look(msgspec.Struct, frozen=True, array_like=True):
    """Rows that were looked at together.

    Args:
        rows: How many.
        mean: Of them.
        squares: The sum of the squares of their distances from it.
    """

    rows: int
    mean: float
    squares: float

    def with_(self, other: Look) -> Look:
        """Both as one look."""
        rows, apart = self.rows + other.rows, other.mean - self.mean
        between = apart**2 * self.rows * other.rows / rows
        return Look(rows, self.mean + apart * other.rows / rows, self.squares + other.squares + between)


class Stepped(msgspec.Struct, frozen=True):
    """What a series of looks says.

    Args:
        up: The log of the evidence that the mean stepped up.
        down: The same of down.
        place: The likeliest first look after a step up.
        below: The likeliest first look after a step down.
    """

    up: float = -math.inf
    down: float = -math.inf
    place: int = 0
    below: int = 0


def stepped(looks: Sequence[Look], known: Floats | None = None) -> Stepped:
    """Whether the mean stepped.

    Args:
        looks: In their order.
        known: The log likelihood of each hypothesis by what was seen before these, shape ``(hypotheses,)``.
    """
    if len(looks) <= STOOD or (model := _Looks.of(looks)) is None:
        return Stepped()
    still = model.still if known is None else model.still + known
    factors = np.array([model.steps(sign) for sign in (1, -1)])  # (2, hypotheses, places)
    places = np.logaddexp.reduce(factors + (still + PRIOR)[:, None], axis=1) - still.max()
    up, down = np.logaddexp.reduce(places, axis=1)
    return Stepped(float(up), float(down), int(places[0].argmax()) + 1, int(places[1].argmax()) + 1)


def likelihoods(looks: Sequence[Look]) -> Floats:
    """The log likelihood of looks among which nothing stepped, by hypothesis."""
    model = _Looks.of(looks) if len(looks) > 1 else None
    return np.zeros(len(RHO)) if model is None else model.still


class _Looks:
    """Looks by each hypothesis, whitened: ``y`` has mean ``level * u`` and variance 1, one row a hypothesis."""

    def __init__(self, rows: Floats, means: Floats) -> None:
        own = 1 / rows + RHO[:, None]
        share = PHI[:, None] * RHO[:, None] / own[:, :-1]  # of the look before, that goes over
        zero = np.zeros((len(RHO), 1))
        over = np.concatenate([zero, share], axis=1)
        earlier = np.concatenate([zero, own[:, :-1]], axis=1)
        self._s = np.sqrt(own - over**2 * earlier)
        self._u = (1 - over) / self._s
        self._y = (means - over * np.concatenate([[0.0], means[:-1]])) / self._s
        self._uu, self._uy = (self._u**2).sum(1), (self._u * self._y).sum(1)
        left = (self._y**2).sum(1) - self._uy**2 / self._uu
        self.still: Floats = -np.log(self._s).sum(1) - left / 2 - np.log(self._uu) / 2

    @classmethod
    def of(cls, looks: Sequence[Look]) -> _Looks | None:
        """None where rows do not differ from one another."""
        rows = np.array([look.rows for look in looks], dtype=np.float64)
        free, squares = float(rows.sum()) - len(rows), sum(look.squares for look in looks)
        if free < 1 or squares <= 0:
            return None
        means = np.array([look.mean for look in looks])
        return cls(rows, (means - means.mean()) / math.sqrt(squares / free))

    def steps(self, sign: int) -> Floats:
        """The log of how much likelier looks are with a step at each place but the first and last."""
        from scipy.special import log_ndtr

        first = 1 / self._s  # what a step adds to the look that it begins with; later ones as the level does
        cross = self._u * first + _later(self._u**2)
        square = first**2 + _later(self._u**2)
        along = self._y * first + _later(self._u * self._y)
        places = slice(1, self._u.shape[1] - STOOD + 1)
        precision = (square - cross**2 / self._uu[:, None])[:, places]
        pull = sign * (along - cross * (self._uy / self._uu)[:, None])[:, places]
        sizes = []
        for size in _SIZES:
            wide = 1 + precision * size**2
            scaled = pull * size / np.sqrt(wide)
            sizes.append(math.log(2) - np.log(wide) / 2 + scaled**2 / 2 + log_ndtr(scaled))
        found: Floats = np.logaddexp.reduce(sizes, axis=0) - math.log(len(_SIZES))
        return found


def _later(values: Floats) -> Floats:
    """Of each place the sum of what comes after it."""
    later: Floats = values.sum(axis=-1, keepdims=True) - values.cumsum(axis=-1)
    return later
