"""What went wrong with deployments, and which version was trained to mend it.

That is the first since it was detected, and another where that one was rejected, rolled back or superseded, or where
another became the champion.
"""

from __future__ import annotations

from typing import Final

import msgspec

from homeostat.app.alerts import OPENED, resolve_alert
from homeostat.app.changing import LOSSES
from homeostat.app.container import Container
from homeostat.domain.events import Event
from homeostat.domain.incidents import Incident, moments
from homeostat.domain.records import Alert, ModelVersion, Run
from homeostat.domain.refs import Ref, number_of, parse_ref
from homeostat.ports.meta import Reads, Transaction, Where

MADE: Final = "model.version-created"
CHAMPION: Final = "model.champion"
FOLLOWED: Final = frozenset(
    {OPENED, MADE, CHAMPION, "model.rejected", "model.rolled-back", "model.superseded"}
)
_WORDS: Final = {
    CHAMPION: "became champion",
    "model.rejected": "rejected",
    "model.rolled-back": "rolled back",
    "model.superseded": "superseded",
}


def incidents(container: Container, model: str = "", *, limit: int = 100) -> list[Incident]:
    """Alerts about deployments, or about that of one model, the newest first."""
    of: list[Where] = [("subject", "=", f"deployment/{model.removeprefix('model/')}")] if model else []
    found = container.store.find(Alert, *of, order=["-opened_at"], limit=limit if model else None)
    return [_incident(one) for one in found if one.subject.startswith("deployment/")][:limit]


def _incident(alert: Alert) -> Incident:
    times = moments(alert)
    return Incident(
        alert=alert.id,
        deployment=parse_ref(alert.subject).name,
        severity=alert.severity,
        state=alert.state,
        summary=alert.summary,
        moments=times,
        seconds=(times[-1].at - times[0].at).total_seconds(),
    )


def follow(container: Container, event: Event) -> None:
    """Keep with the alerts about a deployment since when, and what became of versions that were trained to mend it."""
    if event.kind == OPENED:
        _date(container, event)
    else:
        _mend(container, event)


def _date(container: Container, event: Event) -> None:
    """Where losses were found to have risen since a time, other alerts that are open began then too."""
    subject = str(event.body["subject"])
    with container.store.begin() as tx:
        found = tx.find(Alert, ("state", "=", "open"), ("subject", "=", subject))
        since = [one.onset for one in found if one.key.startswith(LOSSES) and one.onset is not None]
        for alert in found:
            if since and alert.onset is None and not alert.decision and max(since) <= alert.opened_at:
                _keep(tx, alert, onset=max(since))


def _mend(container: Container, event: Event) -> None:
    ref = parse_ref(event.subject)
    version = container.store.get(ModelVersion, ref.name, number_of(ref.version) or 0)
    run = container.store.get(Run, version.run) if version is not None else None
    # One that a client registered was not made by the loop.
    if version is None or run is None or not version.manifest:
        return
    crowned = event.kind == CHAMPION
    with container.store.begin() as tx:
        # What is resolved stays as it was told: the version may come back long after, for another reason.
        for alert in tx.find(Alert, ("state", "=", "open"), ("candidate", "=", str(ref))):
            if event.kind != MADE:
                _keep(tx, alert, decision=_said(event), decided_at=event.at)
        for alert in tx.find(
            Alert, ("state", "=", "open"), ("subject", "=", str(Ref("deployment", ref.name)))
        ):
            if alert.decision and not alert.candidate:  # mended at once, and over now that another came in
                if crowned and alert.opened_at < event.at:
                    resolve_alert(tx, container, alert.key)
                continue
            if alert.candidate == str(ref) or alert.opened_at > run.created_at:
                continue
            if crowned or (event.kind == MADE and (not alert.candidate or _failed(tx, alert))):
                _keep(
                    tx,
                    alert,
                    candidate=str(ref),
                    candidate_at=version.created_at,
                    decision=_said(event) if crowned else "",
                    decided_at=event.at if crowned else None,
                )


def _said(event: Event) -> str:
    reason = str(event.body.get("reason") or "")
    return f"{_WORDS[event.kind]}{f': {reason}' if reason else ''}"


def _failed(store: Reads, alert: Alert) -> bool:
    """Whether the version that was to mend it was rejected, taken back or superseded."""
    ref = parse_ref(alert.candidate)
    version = store.get(ModelVersion, ref.name, number_of(ref.version) or 0)
    return version is not None and version.stage in ("rejected", "rolled-back", "superseded")


def _keep(tx: Transaction, alert: Alert, **fields: object) -> None:
    """Change an alert as it is now: others acknowledge or resolve it meanwhile."""
    now = tx.lock(Alert, alert.id)
    if now is not None:
        tx.put(msgspec.structs.replace(now, **fields))
