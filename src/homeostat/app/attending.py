"""What is due about alerts at each tick: silences that begin or end, and pages that nobody acknowledged."""

from __future__ import annotations

from homeostat.app.alerts import escalate
from homeostat.app.container import Container
from homeostat.app.silencing import settle_silences, silenced
from homeostat.domain.records import Alert


def attend(container: Container) -> list[str]:
    """Do what is due; says what was done."""
    did = settle_silences(container)
    waiting = [one for one in container.channels if one.after is not None]
    if not waiting:
        return did
    now = container.clock.now()
    for alert in container.store.find(Alert, ("state", "=", "open"), ("severity", "=", "page")):
        if alert.acknowledged_at is not None or silenced(container.store, alert):
            continue
        for channel in waiting:
            assert channel.after is not None
            if channel.name not in alert.escalated and now - alert.opened_at >= channel.after:
                escalate(container, alert.id, channel.name)
                did.append(f"alert/{alert.id} escalated to channel/{channel.name}")
    return did
