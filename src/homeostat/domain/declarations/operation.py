"""How a model is brought in and what it must hold while it serves."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError
from homeostat.domain.metrics import LOSSES

WATCHABLE = ("errors", "latency", *LOSSES)


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """A staged change: a share of the traffic goes to the candidate until a sequential test decides.

    Args:
        share: The share of requests, 0 to 1, sticky by entity key.
        watch: What is compared with the champion: ``errors``, ``latency`` and the task's loss, which is ``log_loss``,
            of a regression ``squared_error``, of one of a quantile ``pinball``. By default all three.
        false_alarm: The chance, over the whole canary and all that is watched, to call a candidate worse that is
            no worse.
        decide_within: After this long without a rollback the candidate is promoted, if it has enough labels and
            is no worse on them; else the canary goes on up to twice this long and is then rolled back, undecided.
        min_requests: Labelled requests the candidate must have answered before it is promoted (requests, when
            the loss is not watched).
        tolerance: How much more loss still counts as no worse: nats per request; of a regression, in variances of the
            training labels (0.01: R² may be 0.01 lower), of a quantile in standard deviations.
    """

    share: float = 0.1
    watch: tuple[str, ...] | list[str] = ("errors", "latency", "log_loss")
    false_alarm: float = 0.01
    decide_within: str = "3d"
    min_requests: int = 100
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        parse_duration(self.decide_within)
        if not 0 < self.share < 1:
            raise DeclarationError(
                f"canary share is {self.share}", remedy="Give a share between 0 and 1, as 0.1"
            )
        if not 0 < self.false_alarm < 1:
            raise DeclarationError(
                f"canary false_alarm is {self.false_alarm}", remedy="Give a chance, as 0.01"
            )
        for name in self.watch:
            if name not in WATCHABLE:
                raise DeclarationError(
                    f"canary cannot watch {name!r}", remedy=f"Watch any of {', '.join(WATCHABLE)}"
                )


class SLO(msgspec.Struct, frozen=True, kw_only=True):
    """Service levels of a deployment.

    Args:
        availability: The least share of requests answered, 0 to 1.
        p99: The 99th percentile of the time to answer, at most this.
        log_loss: Log loss on labelled requests of ``window``, at most this (nats per request).
        auc: Area under the ROC curve on labelled requests of ``window``, at least this.
        quality: Any other metrics of the task by name, as ``{"rmse": 12.0}``: at most this, or at least, where more
            is better.
        window: The time that quality is judged over.
        probation: How long after a version took over a breach returns to the version before it by itself.
        rollback_on: The service levels whose breach does: ``availability`` and ``p99``.
    """

    availability: float | None = None
    p99: str | None = None
    log_loss: float | None = None
    auc: float | None = None
    quality: dict[str, float] = {}
    window: str = "7d"
    probation: str = "1d"
    rollback_on: tuple[Literal["availability", "p99"], ...] | list[str] = ("availability",)

    def __post_init__(self) -> None:
        parse_duration(self.window)
        parse_duration(self.probation)
        for name in self.rollback_on:
            if name not in ("availability", "p99"):
                raise DeclarationError(
                    f"SLO cannot roll back on {name!r}", remedy="Use any of availability, p99"
                )
        if self.p99 is not None:
            parse_duration(self.p99)
        if self.availability is not None and not 0 < self.availability <= 1:
            raise DeclarationError(
                f"SLO availability is {self.availability}", remedy="Give a share, as 0.999"
            )

    def bound(self, metric: str) -> float | None:
        """What is promised of a metric of quality; None: nothing."""
        found: float | None = getattr(self, metric, None) if metric in ("log_loss", "auc") else None
        return self.quality.get(metric, found)
