"""How well requests were served: availability and latency, from rows of the prediction log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import polars as pl

QUANTILES: Final = (0.5, 0.95, 0.99)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Service over some requests.

    Args:
        requests: Requests that could be answered: those that asked wrongly (status 400 to 499) do not count.
        failed: How many of them got no answer (status 500 and above).
        rescued: Answers that the champion gave because the candidate failed.
        availability: The share that was answered; None without requests.
        latency: Seconds by quantile, as ``p99``, of the answered requests; empty without any.
    """

    requests: int
    failed: int
    rescued: int
    availability: float | None
    latency: dict[str, float]


def service(log: pl.DataFrame, quantiles: Sequence[float] = QUANTILES) -> Service:
    """Judge rows of the log.

    Args:
        log: Columns ``status``, ``latency_us`` and ``error``.
        quantiles: Which are wanted; each is a latency that was measured, not one between two.
    """
    status, latency = log["status"], log["latency_us"]
    answered, failed = status < 400, int((status >= 500).sum())
    served = int(answered.sum())
    requests, taken = served + failed, latency.filter(answered)
    return Service(
        requests=requests,
        failed=failed,
        rescued=int((answered & log["error"].is_not_null()).sum()),
        availability=served / requests if requests else None,
        latency={f"p{q * 100:g}": _seconds(taken, q) for q in quantiles} if served else {},
    )


def _seconds(micros: pl.Series, quantile: float) -> float:
    found = micros.quantile(quantile, "higher")
    assert found is not None  # some were answered
    return found / 1e6
