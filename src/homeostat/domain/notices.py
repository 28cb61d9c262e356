"""Notices: what a channel is told at once, with the words for people."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from homeostat.domain.durations import format_duration
from homeostat.domain.incidents import moments
from homeostat.domain.records import Alert

_VERBS = {
    "opened": "",
    "escalated": "nobody acknowledged: ",
    "acknowledged": "acknowledged: ",
    "resolved": "resolved: ",
}


class Told(msgspec.Struct, frozen=True):
    """One transition of one alert: what happened, which event of the ledger that is, and the alert as it stands."""

    event: int
    transition: str
    alert: Alert


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Transitions of alerts about one subject. It may come again, under the same id.

    Args:
        id: The same however often it is sent.
        group: What the alerts are about.
        at: When it was put together; real time.
        severity: ``page`` when any of them is one.
        told: What happened, in the order it did.
    """

    id: str
    group: str
    at: datetime
    severity: Literal["ticket", "page"]
    told: list[Told]

    @property
    def title(self) -> str:
        """One line: the first alert that is not over, as it stands, and how many more there are."""
        if not self.told:
            return f"{self.group}: homeostat doctor tries whether this arrives"
        newest = {one.alert.id: one for one in self.told}.values()
        # What is over by now is told all the same, but is no headline.
        first = next((one for one in newest if one.transition != "resolved"), next(iter(newest)))
        more = f" and {len(newest) - 1} more" if len(newest) > 1 else ""
        return (
            f"[{self.severity}] {self.group}: {_VERBS.get(first.transition, '')}{first.alert.summary}{more}"
        )

    @property
    def text(self) -> str:
        """What happened, what is suspected, and what was done, as plain text."""
        return "\n\n".join(_said(one) for one in self.told)


def _said(one: Told) -> str:
    alert = one.alert
    lines = [f"{_VERBS.get(one.transition, '')}{alert.summary}"]
    if one.transition in ("opened", "escalated"):
        suspects = alert.suspects
        lines += [f"since {alert.onset:%Y-%m-%d %H:%M} UTC"] if alert.onset else []
        lines += [f"features: {', '.join(suspects.features)}"] if suspects.features else []
        lines += [f"slices: {', '.join(suspects.slices)}"] if suspects.slices else []
        lines += [f"before it: {change.what} ({change.at:%Y-%m-%d %H:%M} UTC)" for change in suspects.changes]
        lines += [f"action: {alert.action}"]
    if one.transition == "resolved":
        lines += [_took(alert)]
    lines.append(f"homeostat alerts show {alert.id}")
    return "\n".join(lines)


def _took(alert: Alert) -> str:
    """The steps of an incident, each with its time and how long it took."""
    steps = []
    for step in moments(alert):
        took = timedelta(seconds=round(step.seconds or 0))
        after = "" if step.seconds is None else f" (+{format_duration(took)})"
        steps.append(f"{step.what} {step.at:%Y-%m-%d %H:%M}{after}")
    return ", ".join(steps)
