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
    status, latency = pl.col("status"), pl.col("latency_us")
    answered = status < 400
    wanted = {f"p{q * 100:g}": latency.filter(answered).quantile(q, "higher") for q in quantiles}
    found = log.select(
        answered=answered.sum(),
        failed=(status >= 500).sum(),
        rescued=(answered & pl.col("error").is_not_null()).sum(),
        **wanted,
    ).row(0, named=True)
    requests = found["answered"] + found["failed"]
    return Service(
        requests=requests,
        failed=found["failed"],
        rescued=found["rescued"],
        availability=found["answered"] / requests if requests else None,
        latency={name: found[name] / 1e6 for name in wanted} if found["answered"] else {},
    )
