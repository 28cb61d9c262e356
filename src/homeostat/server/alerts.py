"""Calls about alerts: what is wrong, who looks after it, who is told, and how service levels stand."""

from __future__ import annotations

from datetime import datetime

import msgspec

from homeostat.app import alerts, silencing, slos, telling
from homeostat.app import incidents as happened
from homeostat.app.container import Container
from homeostat.domain.errors import BadRequest
from homeostat.domain.incidents import Incident
from homeostat.domain.records import Alert, Silence
from homeostat.server.calls import MOST, Actor, Call


class Acknowledging(msgspec.Struct, forbid_unknown_fields=True):
    """Who looks after an alert, and what they say."""

    actor: Actor = "user"
    reason: str = ""


class Silencing(msgspec.Struct, forbid_unknown_fields=True):
    """Until when nobody is to be told of alerts whose subject and key match, and why; from later on: maintenance."""

    until: datetime
    reason: str
    subject: str = "*"
    key: str = "*"
    begins_at: datetime | None = None
    actor: Actor = "user"


class Unsilencing(msgspec.Struct, forbid_unknown_fields=True):
    """Who ends a silence."""

    actor: Actor = "user"


def listed(container: Container, call: Call) -> list[Alert]:
    """Alerts, the newest first."""
    state = call.query.get("state", "")
    if state not in ("", "open", "resolved"):
        raise BadRequest(f"{state[:40]!r} is no state", field="state", remedy="Use open or resolved")
    return alerts.alerts(container, state=state, limit=call.limit(MOST))


def shown(container: Container, call: Call) -> telling.AlertShown:
    """One alert."""
    return telling.shown(container, call.path["id"])


def incidents(container: Container, call: Call) -> list[Incident]:
    """What went wrong with deployments, from its onset to when it was healed."""
    return happened.incidents(container, call.query.get("model", ""), limit=call.limit(100))


def acknowledge(container: Container, call: Call) -> Alert:
    """Say that somebody looks after it."""
    said = call.read(Acknowledging)
    return alerts.acknowledge(container, call.path["id"], actor=said.actor, reason=said.reason)


def silences(container: Container, call: Call) -> list[Silence]:
    """Silences and maintenance windows."""
    return silencing.silences(container, ended=call.flag("ended"))


def silence(container: Container, call: Call) -> Silence:
    """Tell nobody of some alerts for a time."""
    said = call.read(Silencing)
    return silencing.silence(
        container,
        until=said.until,
        reason=said.reason,
        subject=said.subject,
        key=said.key,
        begins_at=said.begins_at,
        actor=said.actor,
    )


def end_silence(container: Container, call: Call) -> Silence:
    """End a silence before its time."""
    return silencing.end_silence(container, call.path["id"], actor=call.read(Unsilencing).actor)


def channels(container: Container, call: Call) -> list[telling.ChannelStanding]:
    """Who is told, and what is still to be sent."""
    return telling.channels(container)


def levels(container: Container, call: Call) -> list[slos.Standing]:
    """Service levels and error budgets of every model, or of one."""
    return slos.standings(container, call.query.get("model", ""))
