"""Reactors: what follows from events. Each has a durable cursor in the ledger, moved only after it has reacted.

A crash between reacting and moving the cursor shows the event again, so every reaction is harmless when repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from homeostat.app.approvals import APPROVED
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.freezing import UNFROZEN
from homeostat.app.registry.deprecation import RESTORED
from homeostat.app.rollouts import begin
from homeostat.app.signatures import SIGNED, warn
from homeostat.app.telling import TOLD, tell
from homeostat.domain.events import Event
from homeostat.domain.records import Cursor, Deployment, ModelVersion
from homeostat.domain.refs import parse_ref


@dataclass(frozen=True)
class Reactor:
    """Reacts to events of some kinds; its name is that of its cursor."""

    name: str
    kinds: frozenset[str]
    react: Callable[[Container, Event], None]


def _roll_out(container: Container, event: Event) -> None:
    ref = parse_ref(event.subject)
    begin(container, ref.name, int(ref.version))


def _roll_out_waiting(container: Container, event: Event) -> None:
    """Another policy may ask for less, or for more: what waits is looked at again, and so is what serves."""
    for deployment in container.store.find(Deployment):
        for arm in deployment.arms:
            served = container.store.get(ModelVersion, deployment.model, arm.version)
            if served is not None:
                warn(container, served)
    for version in container.store.find(ModelVersion, ("stage", "=", "accepted")):
        if version.model in declared(container).models:
            begin(container, version.model, version.version)


REACTORS = (
    Reactor("notify", TOLD, tell),
    Reactor("roll-out", frozenset({"model.accepted", APPROVED, SIGNED, RESTORED}), _roll_out),
    Reactor("roll-out-waiting", frozenset({"project.applied", UNFROZEN}), _roll_out_waiting),
)


def react(container: Container, reactor: Reactor) -> int:
    """Let a reactor see every event since its cursor; returns how many it reacted to."""
    cursor = container.store.get(Cursor, reactor.name)
    after, reacted = cursor.seq if cursor else 0, 0
    while events := container.ledger.read(after, limit=500):
        for event in events:
            if event.kind in reactor.kinds:
                reactor.react(container, event)
                reacted += 1
        after = events[-1].seq
        with container.store.begin() as tx:
            tx.put(Cursor(name=reactor.name, seq=after))
    return reacted


def react_all(container: Container) -> int:
    """Let every reactor catch up; returns how many reactions there were."""
    head = container.ledger.head().seq
    level = {cursor.name for cursor in container.store.find(Cursor) if cursor.seq >= head}
    return sum(react(container, reactor) for reactor in REACTORS if reactor.name not in level)
