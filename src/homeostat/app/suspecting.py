"""What may be behind an alert: features and slices that stand out, and what changed shortly before it began."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from homeostat.app.container import Container
from homeostat.domain.events import Event
from homeostat.domain.records import Project, Recent, Suspects, Window
from homeostat.domain.refs import parse_ref
from homeostat.ports.meta import Reads

_BEFORE: Final = timedelta(days=2)
_MINUTE: Final = timedelta(minutes=1)  # an onset is known to the minute that it lies in
_MOST: Final = 5
_NAMED: Final = 3
_LOOKED_AT: Final = 200
# Kinds of change in a sentence; what an event of it is about stands before it.
_CHANGES: Final = {
    "deployment.changed": "serves other versions",
    "rollout.began": "was tried out on live traffic",
    "model.alias-moved": "has another version behind an alias",
    "dataset.version-created": "has a new version",
    "dataset.quarantined": "was delivered rows that break its contract",
    "project.applied": "was applied",
    "run.succeeded": "was trained",
}


def suspects_of(container: Container, store: Reads, subject: str, onset: datetime) -> Suspects:
    """What stands out around ``onset`` about ``subject``, and changes in the two days before.

    Args:
        container: The ports.
        store: Where records are read: the transaction that the alert is opened in.
        subject: A reference; of a deployment or a model, also what its model reads is looked at.
        onset: When what is wrong began.
    """
    ref = parse_ref(subject)
    near = _near(store, ref.kind, ref.name) | {subject.partition("@")[0]}
    windows = _windows(store, ref.name, onset) if ref.kind in ("deployment", "model") else []
    found = container.ledger.find(kinds=list(_CHANGES), until=onset + _MINUTE, limit=_LOOKED_AT)
    changes = [
        Recent(event.seq, event.at, _told(event))
        for event in found
        if event.at > onset - _BEFORE and _about(event, near)
    ]
    return Suspects(
        features=_features(windows)[:_MOST],
        slices=_slices(windows)[:_MOST],
        changes=changes[:_MOST],
    )


def _near(store: Reads, kind: str, name: str) -> set[str]:
    """References, without versions, whose changes can matter: a model with all that it reads."""
    if kind not in ("deployment", "model"):
        return set()
    near = {f"deployment/{name}", f"model/{name}"}
    for project in store.find(Project):
        model = project.declared.get(f"model/{name}")
        if model is None:
            continue
        near.add(f"project/{project.name}")
        sources = [model["task"].get("source"), model["task"].get("request")]
        sources += [
            project.declared.get(f"feature-view/{view}", {}).get("source") for view in model["features"]
        ]
        near |= {f"dataset/{source}" for source in sources if source}
    return near


def _about(event: Event, near: set[str]) -> bool:
    subjects = [event.subject, *(edge.target for edge in event.edges), str(event.body.get("model", ""))]
    return any(text.partition("@")[0] in near or f"model/{text}" in near for text in subjects)


def _told(event: Event) -> str:
    changed = [
        f"{one['action']} {one['ref']}{f' ({said})' if (said := one.get('detail')) else ''}"
        for one in event.body.get("changes", [])
    ]
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    reason = str(event.body.get("reason") or "") or f"{', '.join(changed[:_NAMED])}{more}"
    return f"{event.subject} {_CHANGES[event.kind]}{f': {reason}' if reason else ''}"


def _windows(store: Reads, deployment: str, onset: datetime) -> list[Window]:
    """The newest window of each monitor, the latest first."""
    found = store.find(
        Window, ("deployment", "=", deployment), ("end", ">", onset - 4 * _BEFORE), order=["-end"], limit=100
    )
    newest: dict[str, Window] = {}
    for window in found:
        newest.setdefault(window.monitor, window)
    return list(newest.values())


def _features(windows: Iterable[Window]) -> list[str]:
    """Features that a window names that breaks its bound; else those that moved the furthest."""
    named = [name for window in windows if window.breached for name in window.detail.get("suspects", [])]
    sizes: dict[str, float] = {}
    for window in windows:
        if window.monitor.startswith("drift "):
            sizes |= {name: one["excess"] for name, one in window.detail.items() if _excess(one) > 0.1}
    return list(dict.fromkeys([*named, *sorted(sizes, key=lambda name: -sizes[name])]))


def _excess(one: Any) -> float:
    return float(one.get("excess", 0.0)) if isinstance(one, dict) else 0.0


def _slices(windows: Iterable[Window]) -> list[str]:
    """Slices that a window of quality names as the worst."""
    return list(dict.fromkeys(one["where"] for window in windows for one in window.detail.get("worst", ())))
