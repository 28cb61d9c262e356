"""Reactors: what follows from events. Each has a durable cursor in the ledger, moved only after it has reacted.

A crash between reacting and moving the cursor shows the event again, so every reaction is harmless when repeated.
A reaction that fails is tried again (`attempts`), and later events of its reactor wait, for they may rest on it. One
that fails always is set aside, with a ticket, and those go on; a store that does not answer is nobody's fault and is
waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from homeostat.app import attempts
from homeostat.app.alerts import open_alert
from homeostat.app.approvals import APPROVED
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.failures import FAILED, SUCCEEDED, tell_failure
from homeostat.app.freezing import UNFROZEN
from homeostat.app.incidents import FOLLOWED, follow
from homeostat.app.registry.deprecation import RESTORED
from homeostat.app.rollouts import begin
from homeostat.app.signatures import SIGNED, warn
from homeostat.app.telling import TOLD, tell
from homeostat.app.tracing.loop import TOLD as TRACED
from homeostat.app.tracing.loop import trace_version
from homeostat.domain.errors import HomeostatError, StoreUnavailable
from homeostat.domain.events import Event, short
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
    Reactor("incidents", FOLLOWED, follow),
    Reactor("traces", TRACED, trace_version),
    Reactor("failures", frozenset({FAILED, SUCCEEDED}), tell_failure),
)


def react(container: Container, reactor: Reactor) -> int:
    """Let a reactor see every event since its cursor; returns how many it reacted to.

    One that failed a moment ago, and those after it, wait.

    Raises:
        HomeostatError: and whatever a reaction raises that is tried again.
    """
    cursor = container.store.get(Cursor, reactor.name)
    after, reacted = cursor.seq if cursor else 0, 0
    if attempts.waits(container.store, reactor.name, after + 1, at=container.clock.wall()):
        return 0
    while events := container.ledger.read(after, limit=500):
        for event in events:
            if event.kind in reactor.kinds:
                try:
                    reactor.react(container, event)
                except StoreUnavailable:
                    raise
                except Exception as error:
                    if not _set_aside(container, reactor, event, error):
                        raise
                reacted += 1
        after = events[-1].seq
        with container.store.begin() as tx:
            tx.put(Cursor(name=reactor.name, seq=after))
    return reacted


def _set_aside(container: Container, reactor: Reactor, event: Event, error: Exception) -> bool:
    """Keep that a reaction failed; says whether it is given up, so that the next may follow."""
    said = short(str(error) if isinstance(error, HomeostatError) else f"{type(error).__name__}: {error}")
    with container.store.begin() as tx:
        tried = attempts.note(tx, reactor.name, event.seq, at=container.clock.wall(), error=said)
        # Those before it were seen to; only this one and what follows are shown again.
        tx.put(Cursor(name=reactor.name, seq=event.seq if tried.dead else event.seq - 1))
        if tried.dead:
            open_alert(
                tx,
                container,
                key=f"reaction:{reactor.name}:{event.seq}",
                subject=f"trigger/{reactor.name}",
                severity="ticket",
                summary=f"{reactor.name} failed {tried.attempts} times on {event.kind} of {event.subject}: {said}",
                action="set aside; what came after it went on",
                onset=event.at,
                detail={"event": event.seq, "error": said},
            )
    return tried.dead


def react_all(container: Container) -> int:
    """Let every reactor catch up, also where another fails; returns how many reactions there were.

    Raises:
        HomeostatError: and whatever a reaction raises that is tried again: the first of them.
    """
    head = container.ledger.head().seq
    level = {cursor.name for cursor in container.store.find(Cursor) if cursor.seq >= head}
    reacted, failed = 0, []
    for reactor in REACTORS:
        if reactor.name not in level:
            try:
                reacted += react(container, reactor)
            except Exception as error:  # noqa: BLE001 - raised below, once the others had their turn
                failed.append(error)
    if failed:
        raise failed[0]
    return reacted
