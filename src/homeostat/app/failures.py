"""Trainings that fail: told by a ticket, and tried again ever more rarely, so that none is begun over and over."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.domain.declarations.rules import When
from homeostat.domain.durations import parse_duration
from homeostat.domain.events import Event, short
from homeostat.domain.records import Run
from homeostat.domain.refs import parse_ref
from homeostat.engine.control.rules import Failed

FAILED: Final = "run.failed"
SUCCEEDED: Final = "run.succeeded"
_MOST: Final = 20  # failures in a row that are counted


def failed(container: Container, model: str, when: When) -> Failed | None:
    """The trainings of a model that failed in a row, and until when none is begun; None where the last did not."""
    runs = container.store.find(
        Run,
        ("model", "=", model),
        ("state", "in", ["succeeded", "failed"]),
        order=["-created_at", "-id"],
        limit=_MOST,
    )
    row: list[Run] = []
    for run in runs:
        if run.state == "succeeded":
            break
        row.append(run)
    if not row:
        return None
    times = sum(run.attempt == 1 for run in row) or 1  # attempts of one training are one
    pause = min(parse_duration(when.cooldown), parse_duration(when.check_every) * 2 ** (times - 1))
    return Failed(times=times, error=short(row[0].error), until=_ended(row[0]) + pause)


def _ended(run: Run) -> datetime:
    return run.ended_at or run.created_at


def tell_failure(container: Container, event: Event) -> None:
    """Open a ticket for a training that a rule asked for and that failed for good; resolve it once one succeeds."""
    run = container.store.get(Run, parse_ref(event.subject).name)
    if run is None or run.kind != "train":
        return
    key = f"training:{run.model}"
    if event.kind == SUCCEEDED:
        with container.store.begin() as tx:
            resolve_alert(tx, container, key)
        return
    newest = container.store.find(Run, ("model", "=", run.model), order=["-created_at", "-id"], limit=1)
    # Else it is tried again, or somebody waits for it.
    if newest[0].id != run.id or not run.actor.startswith("trigger/"):
        return
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key=key,
            subject=f"model/{run.model}",
            severity="ticket",
            summary=f"run/{run.id}, a training of {run.model}, failed: {short(run.error)}",
            action="what served serves on; it is tried again ever more rarely, up to its cooldown",
            onset=event.at,
            detail={"run": run.id, "attempt": run.attempt, "error": run.error},
        )
