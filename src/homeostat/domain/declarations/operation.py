"""How a model is brought in and what it must hold while it serves."""

from __future__ import annotations

from typing import Final, Literal

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


LATENCY: Final = 0.99


class Objective(msgspec.Struct, frozen=True):
    """A service level as a share of good events.

    Args:
        name: Of the level: ``availability``, ``latency``, ``log_loss``, ``data_age``, ….
        target: The least share of good events.
        of: What an event is: a request, or a minute in which somebody looked.
        bound: What tells good from bad, where it is a number: seconds for ``latency`` and the ages.
    """

    name: str
    target: float
    of: Literal["requests", "time"] = "requests"
    bound: float | None = None


class SLO(msgspec.Struct, frozen=True, kw_only=True):
    """Service levels of a deployment.

    What they leave out is the error budget: with ``availability=0.999`` one request of a thousand may fail.

    Args:
        availability: The least share of requests answered, 0 to 1.
        p99: The 99th percentile of the time to answer, at most this: one request of a hundred may take longer.
        log_loss: Log loss on labelled requests of ``window``, at most this (nats per request).
        auc: Area under the ROC curve on labelled requests of ``window``, at least this.
        quality: Any other metrics of the task by name, as ``{"rmse": 12.0}``: at most this, or at least, where more
            is better.
        fairness: The disparity between groups that the window ``fairness`` shows, at most this, but for chance.
        data_age: The newest row of each dataset behind the features came at most so long ago.
        model_age: The data that the champion was trained on end at most so long ago.
        held: The least share of the time that quality, fairness and freshness hold.
        window: The time that quality is judged over.
        period: The time over which error budgets are counted.
        probation: How long after a version took over a breach returns to the version before it by itself.
        rollback_on: The service levels whose breach does: ``availability`` and ``p99``.
    """

    availability: float | None = None
    p99: str | None = None
    log_loss: float | None = None
    auc: float | None = None
    quality: dict[str, float] = {}
    fairness: float | None = None
    data_age: str | None = None
    model_age: str | None = None
    held: float = 0.99
    window: str = "7d"
    period: str = "30d"
    probation: str = "1d"
    rollback_on: tuple[Literal["availability", "p99"], ...] | list[str] = ("availability",)

    def __post_init__(self) -> None:
        for text in (self.window, self.period, self.probation, self.p99, self.data_age, self.model_age):
            if text is not None:
                parse_duration(text)
        for name in self.rollback_on:
            if name not in ("availability", "p99"):
                raise DeclarationError(
                    f"SLO cannot roll back on {name!r}", remedy="Use any of availability, p99"
                )
        for name, share in (("availability", self.availability), ("held", self.held)):
            if share is not None and not 0 < share <= 1:
                raise DeclarationError(f"SLO {name} is {share}", remedy="Give a share, as 0.999")

    def objectives(self) -> list[Objective]:
        """What has an error budget, in the order of this declaration."""
        found = [
            Objective("availability", self.availability) if self.availability is not None else None,
            Objective("latency", LATENCY, bound=parse_duration(self.p99).total_seconds())
            if self.p99
            else None,
        ]
        for name in (*dict.fromkeys(("log_loss", "auc", *self.quality)), "fairness"):
            bound = self.fairness if name == "fairness" else self.bound(name)
            found.append(Objective(name, self.held, of="time", bound=bound) if bound is not None else None)
        for name, text in (("data_age", self.data_age), ("model_age", self.model_age)):
            bound = parse_duration(text).total_seconds() if text else None
            found.append(Objective(name, self.held, of="time", bound=bound) if text else None)
        return [one for one in found if one is not None]

    def bound(self, metric: str) -> float | None:
        """What is promised of a metric of quality; None: nothing."""
        found: float | None = getattr(self, metric, None) if metric in ("log_loss", "auc") else None
        return self.quality.get(metric, found)
