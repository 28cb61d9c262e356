"""Gates: what a candidate must pass before it may serve. All are judged on the newest labelled rows."""

from __future__ import annotations

from typing import Literal

import msgspec


class Beats(msgspec.Struct, frozen=True, tag="beats"):
    """Better than ``reference`` in ``metric``, by more than ``margin`` in the metric's own unit."""

    reference: Literal["champion", "baseline", "no_change"]
    metric: str
    margin: float = 0.0


class WorstSlice(msgspec.Struct, frozen=True, tag="worst-slice"):
    """Every slice of ``column`` with at least ``min_rows`` rows holds the bound on ``metric``."""

    column: str
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    min_rows: int = 100


class Calibrated(msgspec.Struct, frozen=True, tag="calibrated"):
    """Expected calibration error, ten bins of equal count, at most ``within`` (a probability).

    Of several classes it is that of the probability of the likeliest one.
    """

    within: float


class SingleRowLatency(msgspec.Struct, frozen=True, tag="single-row-latency"):
    """The quantile (0 to 1) of the time to predict one row, at most ``at_most`` seconds."""

    quantile: float
    at_most: float


Gate = Beats | WorstSlice | Calibrated | SingleRowLatency
