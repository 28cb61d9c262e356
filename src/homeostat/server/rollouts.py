"""Calls about what serves: shadows, labels, what was tried out, and predictions computed again."""

from __future__ import annotations

from typing import Annotated

import msgspec

from homeostat.app import freezing, outcomes, quality, replaying, shadows, tried
from homeostat.app.container import Container
from homeostat.domain.records import Deployment, Freeze
from homeostat.engine.monitoring.quality import Quality
from homeostat.server.calls import Actor, Call

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Labels(msgspec.Struct, forbid_unknown_fields=True):
    """What became of predictions, by their ids: 0 and 1, true and false, the name of a class, or any number."""

    labels: dict[str, float | bool | str]


class Shadowing(msgspec.Struct, forbid_unknown_fields=True):
    """Which version is to see which share of the requests, by whom and why."""

    version: Number
    share: float = 0.1
    reason: str = "asked for"
    actor: Actor = "user"


class Shadowless(msgspec.Struct, forbid_unknown_fields=True):
    """Which shadow is to go, 0 for all, by whom and why."""

    version: Number = 0
    reason: str = "asked for"
    actor: Actor = "user"


class Freezing(msgspec.Struct, forbid_unknown_fields=True):
    """Which model, empty for all, by whom and why."""

    model: str = ""
    reason: str = "asked for"
    actor: Actor = "user"


def freeze(container: Container, call: Call) -> Freeze:
    """Stop the loop."""
    said = call.read(Freezing)
    return freezing.freeze(container, said.model, reason=said.reason, actor=said.actor)


def unfreeze(container: Container, call: Call) -> Freeze:
    """Let the loop go on."""
    said = call.read(Freezing)
    return freezing.unfreeze(container, said.model, reason=said.reason, actor=said.actor)


def label(container: Container, call: Call) -> outcomes.Labelled:
    """Take labels by prediction id."""
    return outcomes.label(container, call.path["name"], call.read(Labels).labels)


def shadow(container: Container, call: Call) -> Deployment:
    """Begin a shadow, or give it another share."""
    wanted = call.read(Shadowing)
    return shadows.start_shadow(
        container,
        call.path["name"],
        wanted.version,
        share=wanted.share,
        actor=wanted.actor,
        reason=wanted.reason,
    )


def stop_shadow(container: Container, call: Call) -> Deployment:
    """Take shadows out."""
    wanted = call.read(Shadowless)
    return shadows.stop_shadow(
        container, call.path["name"], wanted.version, actor=wanted.actor, reason=wanted.reason
    )


def agreement(container: Container, call: Call) -> shadows.Agreement:
    """How far a shadow agrees."""
    return shadows.agreement(container, call.path["name"], call.number("version", 0))


def assessed(container: Container, call: Call) -> Quality:
    """All that is known of the quality over the newest window."""
    return quality.assess(container, call.path["name"], window=call.query.get("window") or quality.WINDOW)


def listed(container: Container, call: Call) -> list[tried.Tried]:
    """What was tried out on a deployment."""
    return tried.tried(container, call.path["name"], limit=call.limit())


def replay(container: Container, call: Call) -> replaying.Replay:
    """Compute a prediction again."""
    return replaying.replay(container, call.path["id"])
