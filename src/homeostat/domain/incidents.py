"""The times of what went wrong, from its beginning to its end: onset, detected, candidate, decided, healed.

The onset is the change point where one is known. The candidate is the version that was trained to mend it. What was
mended at once, as by a return to the former version, was decided when it was detected and has no candidate.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from homeostat.domain.records import Alert


class Moment(msgspec.Struct, frozen=True):
    """One step of an incident.

    Args:
        what: ``onset``, ``detected``, ``candidate``, ``decided`` or ``healed``.
        at: When, in the world's time.
        seconds: Since the step before; None of the first.
        by: What it was: the alert's words, the version, what was decided.
    """

    what: str
    at: datetime
    seconds: float | None = None
    by: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An alert about a deployment, with what became of it.

    Args:
        alert: Its id.
        deployment: What it is about.
        severity: ``page`` or ``ticket``.
        state: ``open`` or ``resolved``.
        summary: What was seen.
        moments: Those that are known, in their order.
        seconds: From the first to the last.
    """

    alert: str
    deployment: str
    severity: str
    state: str
    summary: str
    moments: list[Moment]
    seconds: float


def moments(alert: Alert) -> list[Moment]:
    """The times of an alert, in the order of the steps, those that are known."""
    steps = (
        ("onset", alert.onset, ""),
        ("detected", alert.opened_at, alert.summary),
        ("candidate", alert.candidate_at, alert.candidate),
        ("decided", alert.decided_at, alert.decision),
        ("healed", alert.resolved_at, ""),
    )
    found: list[Moment] = []
    for what, at, by in steps:
        if at is not None:
            seconds = (at - found[-1].at).total_seconds() if found else None
            found.append(Moment(what, at, seconds, by))
    return found
