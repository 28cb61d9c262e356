"""A test of a mean that may be looked at after every observation, by betting.

A gambler who believes that the mean of ``x`` is more than ``m`` bets a share of her wealth on it each
time; a bet ``b`` multiplies her wealth by ``1 + b (x - m)``. While the mean is at most ``m`` no way of
betting makes her richer on average, so by Ville's inequality her wealth ever reaches ``1/α`` with a chance
of at most ``α``, however often and whenever one looks. Her wealth is the e-value; it is the average over a
grid of fixed bets, which suits small and large differences alike.

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024),
1-27; Ville, "Étude critique de la notion de collectif" (1939).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Shares of the largest bet that cannot ruin: from one in a thousand, for faint differences, to nearly all.
_SHARES: Final = np.geomspace(1e-3, 0.95, 14)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A test between two looks, as JSON can hold it.

    Args:
        wealth: The log wealth of each bet of the grid.
        peak: The largest log e-value so far.
    """

    wealth: list[float]
    peak: float = 0.0
    count: int = 0
    total: float = 0.0


def bets(mean: float, low: float) -> Array:
    """The grid of bets on observations that are at least ``low``; none of them can ruin any bet."""
    grid: Array = _SHARES / (mean - low)
    return grid


def wealth(values: Array, mean: float, grid: Array, start: Array) -> Array:
    """The log wealth of each bet after each observation.

    Args:
        values: Observations, shape ``(n,)`` or ``(runs, n)`` for several runs at once.
        mean: The mean under the hypothesis.
        grid: Bets, shape ``(k,)``.
        start: Log wealth before the first, shape ``(k,)``.

    Returns:
        Shape ``(…, n, k)``.
    """
    steps = np.log1p(grid * (values[..., None] - mean))
    steps[..., 0, :] += start
    # A running sum adds in order, so that updates in parts and in one go agree to the last bit.
    path: Array = np.cumsum(steps, axis=-2, out=steps)
    return path


def mixture(log_wealth: Array) -> Array:
    """The log e-value: the average over the grid, the last axis."""
    top = log_wealth.max(axis=-1)
    mean: Array = top + np.log(np.mean(np.exp(log_wealth - top[..., None]), axis=-1))
    return mean


class MeanTest:
    """Tests that the mean of observations between ``low`` and ``high`` is at most ``mean``, as they come.

    Args:
        mean: The largest mean that still agrees with the hypothesis; more than ``low``.
        low: No observation is less.
        high: No observation is more.
        state: Where an earlier test of the same hypothesis stood.
    """

    def __init__(
        self, mean: float, *, low: float = 0.0, high: float = 1.0, state: State | None = None
    ) -> None:
        if not low < mean < high:
            raise ValueError(f"the mean {mean} is not between {low} and {high}")
        self.mean, self.low, self.high = mean, low, high
        self._bets = bets(mean, low)
        self.state = state or State(wealth=[0.0] * len(self._bets))

    def update(self, values: npt.ArrayLike) -> None:
        """Take in observations, in the order they came.

        Raises:
            ValueError: one lies outside the bounds, or is not a number.
        """
        array = np.asarray(values, dtype=np.float64)
        if not array.size:
            return
        if not ((array >= self.low) & (array <= self.high)).all():
            raise ValueError(f"an observation lies outside {self.low} to {self.high}")
        path = wealth(array, self.mean, self._bets, np.array(self.state.wealth))
        self.state = State(
            wealth=path[-1].tolist(),
            peak=max(self.state.peak, float(mixture(path).max())),
            count=self.state.count + array.size,
            total=float(np.cumsum(np.concatenate([[self.state.total], array]))[-1]),
        )

    @property
    def e_value(self) -> float:
        """The evidence against the hypothesis now; 1 before the first observation, never negative."""
        return _exp(float(mixture(np.array(self.state.wealth))))

    @property
    def peak(self) -> float:
        """The largest e-value so far: Ville's inequality is about this one."""
        return _exp(self.state.peak)

    @property
    def observed(self) -> float | None:
        """The mean of the observations; None before the first."""
        return self.state.total / self.state.count if self.state.count else None

    def dump(self) -> dict[str, Any]:
        """The state as JSON can hold it."""
        built: dict[str, Any] = msgspec.to_builtins(self.state)
        return built


def _exp(log: float) -> float:
    """JSON has no infinity, and nobody tells 1e300 from more."""
    return float(np.exp(min(log, 690.0)))
