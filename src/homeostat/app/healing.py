"""What heals by itself: versions that model servers cannot load, and an online store that lost its data.

Of versions, a canary is taken out, and a champion gives way to the one before it. Model servers go on with what they
served, and tell in their leases what they could not load. What all of them say of a version is its own fault, such as
a file that is missing or altered; what one alone says may be its machine's. A store that does not answer is nobody's
fault and is waited for. Features that the online store had and has no more are built again from the tables; until then
requests are answered without them. An incident says what was seen and done, and how long it took. While a deployment
answers by what it falls back on, an alert says so.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import itemgetter
from typing import Final
from weakref import WeakKeyDictionary

from homeostat.app.alerts import add_detail, open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.guarding import refuge
from homeostat.app.online import live_views, refresh
from homeostat.app.rollouts import return_to, step_back
from homeostat.app.workers import sync_workers, workers
from homeostat.domain.records import Alert, Arm, Deployment, Lease

_AWAY: Final = "StoreUnavailable"
_LATELY: Final = timedelta(minutes=1)
_ANSWERS: Final = {
    "features": "with features that were read before",
    "previous": "by the champion before it",
    "answer": "with the declared answer",
}
_UNLOADABLE: Final = "unloadable"
_DEGRADED: Final = "degraded"


_HELD: Final[WeakKeyDictionary[Container, set[str]]] = WeakKeyDictionary()
"""The views that the online store was seen to have, by their keys there."""


def heal(container: Container) -> list[str]:
    """Take out of deployments what no model server can load, and restore lost features; says what was done."""
    servers = workers(container)
    opened = [alert.key for alert in container.store.find(Alert, ("state", "=", "open"))]
    did = _loading(container, servers, opened) + _degraded(container, servers, opened)
    return did + _features(container)


def _degraded(container: Container, servers: list[Lease], opened: list[str]) -> list[str]:
    """Tell of deployments that answered by what they fall back on a moment ago, until they do no more."""
    did, now = [], container.clock.now()
    falling = {deployment.name for deployment in container.store.find(Deployment) if deployment.fallback}
    # Of a deployment that is gone, or falls back on nothing any more, an alert may be open still.
    for name in sorted(falling | {key.partition(":")[2] for key in opened if _is(_DEGRADED, key)}):
        key = f"{_DEGRADED}:{name}"
        told = [
            one
            for lease in servers
            if name in falling and (one := lease.detail.get("degraded", {}).get(name))
        ]
        last = max(told, key=itemgetter("at"), default=None)
        lately = last is not None and now - datetime.fromisoformat(last["at"]) < _LATELY
        if lately == (key in opened):
            continue
        with container.store.begin() as tx:
            if last is None or not lately:
                resolve_alert(tx, container, key)
                continue
            done = _ANSWERS[last["kind"]]
            if open_alert(
                tx,
                container,
                key=key,
                subject=f"deployment/{name}",
                severity="page",
                summary=f"deployment/{name} is degraded: {last['why']}",
                action=f"answered {done}",
                detail={"seen": last["why"], "done": done},
            ):
                did.append(f"deployment/{name} answers {done}: {last['why']}")
    return did


def _is(kind: str, key: str) -> bool:
    """Whether the key of an alert is of a kind."""
    return key.startswith(f"{kind}:")


def _features(container: Container) -> list[str]:
    """Build again what the online store had at the last look and has no more."""
    views = live_views(container)
    positions = {key: container.online.position(key) for key in views}
    lost = sorted(views[key].name for key in _HELD.get(container, ()) if positions.get(key, 0) < 0)
    held = {key for key, position in positions.items() if position >= 0}
    if not lost:
        _HELD[container] = held
        return []
    began = container.clock.monotonic()
    refresh(container)
    _HELD[container] = held  # not before they are there again: what fails is tried again
    seconds = round(container.clock.monotonic() - began, 3)
    summary, done = f"the online store lost the features of {', '.join(lost)}", "built again from the tables"
    key = f"lost-features:{','.join(lost)}"
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key=key,
            subject=f"feature-view/{lost[0]}",
            severity="ticket",
            summary=summary,
            action=done,
            decision=done,
            detail={"seen": lost, "done": done, "seconds": {"to_heal": seconds}},
        )
        resolve_alert(tx, container, key)
    return [f"{summary}: {done} in {seconds:g} s"]


def _loading(container: Container, servers: list[Lease], opened: list[str]) -> list[str]:
    _loaded(container, servers, [key for key in opened if _is(_UNLOADABLE, key)])
    if not any(lease.detail.get("errors") for lease in servers):
        return []
    did = []
    for deployment in container.store.find(Deployment):
        for arm in deployment.arms:
            if why := _unloadable(servers, deployment, arm.version):
                did += _taken_out(container, deployment, arm, why)
                break  # the arms are others now
    return did


def _loaded(container: Container, servers: list[Lease], opened: list[str]) -> None:
    """Close incidents of versions that no model server speaks of any more."""
    if not servers or not opened:
        return
    models = {deployment.name: deployment.model for deployment in container.store.find(Deployment)}
    told = " ".join(str(text) for lease in servers for text in lease.detail.get("errors", {}).values())
    for key in opened:
        _, name, version, _ = key.split(":")
        if name not in models or f"model/{models[name]}@{version}: " not in told:
            with container.store.begin() as tx:
                resolve_alert(tx, container, key)


def _unloadable(servers: list[Lease], deployment: Deployment, version: int) -> str:
    """Why a version cannot be loaded, where every model server says so; else nothing."""
    of = f"model/{deployment.model}@{version}: "
    told = [
        next(
            (
                part
                for part in lease.detail.get("errors", {}).get(deployment.name, "").split("; ")
                if part.startswith(of)
            ),
            "",
        )
        for lease in servers
    ]
    if not all(told) or any(one.startswith(of + _AWAY) for one in told):
        return ""
    return told[0].removeprefix(of)


def _taken_out(container: Container, deployment: Deployment, arm: Arm, why: str) -> list[str]:
    began = container.clock.monotonic()
    name = deployment.name
    reason = f"@{arm.version} cannot be loaded: {why.rstrip('.')}"
    key = f"{_UNLOADABLE}:{name}:{arm.version}:{deployment.generation}"
    good = refuge(container, name) if arm.role == "champion" else 0
    if arm.role != "champion":
        done = "taken out; the champion answers"
    elif good:
        done = f"rolled back to @{good}"
    else:
        done = "none: there is no version to return to; servers that have it in memory go on with it"
    with container.store.begin() as tx:
        now = tx.lock(Deployment, name)
        if now is None or now.generation != deployment.generation:
            return []  # its arms are others by now
        if arm.role != "champion":
            step_back(tx, container, now, actor="homeostat", reason=reason)
        elif good:
            return_to(tx, container, name, good, actor="homeostat", reason=reason)
        opened = open_alert(
            tx,
            container,
            key=key,
            subject=f"deployment/{name}",
            severity="page" if arm.role == "champion" else "ticket",
            summary=reason,
            action=done,
            decision=done if good or arm.role != "champion" else "",
            detail={"seen": why, "done": done},
        )
    if not opened:
        return []
    sync_workers(container)
    add_detail(container, key, {"seconds": {"to_heal": round(container.clock.monotonic() - began, 3)}})
    return [f"deployment/{name}: {reason}: {done}"]
