"""What was tried out on a deployment and what decided it: canaries, A/B tests, champions on probation."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from homeostat.app.container import Container
from homeostat.domain.errors import NotFound
from homeostat.domain.records import Deployment, Rollout
from homeostat.domain.trials import Probation, Trial
from homeostat.ports.meta import Where


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was tested: what was observed, what is allowed, and how strong the evidence against it is.

    Args:
        what: What was watched, or which arm against which.
        observed: The mean of the observations.
        allowed: What it may be at most; None where the test is which is larger.
        count: How many observations there were.
        peak: The largest e-value so far; at ``threshold`` it decides.
    """

    what: str
    observed: float | None
    allowed: float | None
    count: int
    peak: float
    threshold: float


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One thing tried out: between which versions, how it stands or ended, and each test behind it."""

    ref: str
    kind: Literal["canary", "A/B test", "probation"]
    versions: list[int]
    state: str
    began_at: datetime
    ended_at: datetime | None
    reason: str
    evidence: list[Evidence]
    outcomes: dict[str, Any]


def tried(container: Container, deployment: str, *, limit: int = 20) -> list[Tried]:
    """What was tried out on a deployment, the newest first.

    Raises:
        NotFound: there is no such deployment.
    """
    store = container.store
    if store.get(Deployment, deployment) is None:
        known = ", ".join(d.name for d in store.find(Deployment)) or "none"
        raise NotFound(f"there is no deployment/{deployment}", remedy=f"Known: {known}")
    of: Where = ("deployment", "=", deployment)
    found = [_canary(one) for one in store.find(Rollout, of, order=["-began_at"], limit=limit)]
    found += [_trial(one) for one in store.find(Trial, of, order=["-began_at"], limit=limit)]
    probation = store.get(Probation, deployment)
    if probation is not None and probation.statistics:
        found.append(_probation(probation, container.clock.now()))
    return sorted(found, key=lambda one: one.began_at, reverse=True)[:limit]


def _canary(rollout: Rollout) -> Tried:
    watched = rollout.statistics.get("watched", {})
    return Tried(
        ref=f"rollout/{rollout.id}",
        kind="canary",
        versions=[rollout.champion, rollout.candidate],
        state=rollout.state,
        began_at=rollout.began_at,
        ended_at=rollout.ended_at,
        reason=rollout.reason,
        evidence=[_evidence(name, one, "mean") for name, one in watched.items()],
        outcomes={"requests": rollout.requests, "labelled": rollout.labelled},
    )


def _trial(trial: Trial) -> Tried:
    statistics = trial.statistics
    evidence = []
    for name, pair in statistics.get("pairs", {}).items():
        first, second = name.split(":")
        for better, worse, side, sign in ((first, second, "first", 1), (second, first, "second", -1)):
            difference = pair["difference"]
            evidence.append(
                Evidence(
                    what=f"@{better} better than @{worse}",
                    observed=None if difference is None else sign * difference,
                    allowed=None,
                    count=pair["count"],
                    peak=pair[f"{side}_better"],
                    threshold=statistics["threshold"],
                )
            )
    return Tried(
        ref=f"trial/{trial.id}",
        kind="A/B test",
        versions=[arm.version for arm in trial.arms],
        state=trial.state,
        began_at=trial.began_at,
        ended_at=trial.ended_at,
        reason=trial.reason,
        evidence=evidence,
        outcomes={
            f"@{version}": {"outcomes": arm["outcomes"], "mean": arm["mean"]}
            for version, arm in statistics.get("arms", {}).items()
        },
    )


def _probation(probation: Probation, now: datetime) -> Tried:
    tests = probation.statistics["tests"]
    broken = any(test["broken"] for test in tests.values())
    ended = broken or now > probation.until
    return Tried(
        ref=f"deployment/{probation.deployment}",
        kind="probation",
        versions=[probation.former, probation.version],
        state="rolled-back" if broken else "passed" if ended else "running",
        began_at=probation.began_at,
        ended_at=probation.until if ended and not broken else None,
        reason=f"@{probation.version} took over from @{probation.former}",
        evidence=[_evidence(name, one, "observed") for name, one in tests.items()],
        outcomes={"requests": probation.statistics["requests"]},
    )


def _evidence(name: str, one: dict[str, Any], observed: str) -> Evidence:
    return Evidence(
        what=name,
        observed=one[observed],
        allowed=one["allowed"],
        count=one["count"],
        peak=one["peak"],
        threshold=one["threshold"],
    )
