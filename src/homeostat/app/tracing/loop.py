"""The loop as OpenTelemetry traces, where a collector is set: its turns, and what became of each version.

A turn that did something is a trace of its parts. A version is a trace from the decision to train it to its promotion
or its return, whose id follows from its name, so that the traces of requests that it answered link to it. Nothing
depends on a collector: a thread of its own sends, and what is not taken is lost, and the log says so.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from queue import Full, Queue
from threading import Lock, Thread
from typing import Any, Final

from homeostat.app.container import Container
from homeostat.app.tracing.served import sent
from homeostat.domain.events import Event
from homeostat.domain.records import ModelVersion, Rollout, Run
from homeostat.domain.refs import number_of, parse_ref
from homeostat.domain.traces import span_of, trace_of
from homeostat.engine.serving.tracing import described, written

MADE: Final = "model.version-created"
PROMOTED: Final = "model.champion"
TOLD: Final = frozenset(
    {MADE, "model.accepted", "model.rejected", PROMOTED, "model.rolled-back", "model.superseded"}
)
_SCOPE: Final = "homeostat.control"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INTERNAL: Final = 1

_PATIENCE: Final = 1.0  # at the end of a process

_log = logging.getLogger(__name__)
_waiting: Final[Queue[tuple[str, bytes]]] = Queue(200)
_beginning: Final = Lock()
_senders: Final[list[Thread]] = []


def trace_turn(
    container: Container, began: datetime, parts: Sequence[tuple[str, float]], did: Sequence[str]
) -> None:
    """Tell of a turn that did something.

    Args:
        container: The ports.
        began: When, in real time.
        parts: What it did in turn, each with the seconds that it took.
        did: In sentences.
    """
    if not container.settings.otlp or not did:
        return
    trace, root = os.urandom(16).hex(), os.urandom(8).hex()
    ended = began + timedelta(seconds=sum(took for _, took in parts))
    spans = [_span(trace, root, "", "tick", began, ended, {"homeostat.did": "; ".join(did)})]
    at = began
    for name, took in parts:
        spans.append(_span(trace, os.urandom(8).hex(), root, name, at, at + timedelta(seconds=took), {}))
        at += timedelta(seconds=took)
    _send(container, spans)


def trace_version(container: Container, event: Event) -> None:
    """Tell of what an event made of a version."""
    if not container.settings.otlp:
        return
    ref = parse_ref(event.subject)
    version = container.store.get(ModelVersion, ref.name, number_of(ref.version) or 0)
    run = container.store.get(Run, version.run) if version is not None else None
    if version is None or run is None or not version.manifest:
        return
    if event.kind == MADE:
        _send(container, _trained(version, run))
        return
    what = event.kind.partition(".")[2]
    name = (
        "judge" if what in ("accepted", "rejected") else "promote" if event.kind == PROMOTED else "roll back"
    )
    if name == "promote":
        first = container.ledger.find(subject=event.subject, kinds=[PROMOTED], limit=1, newest=False)
        if first and first[0].seq != event.seq:  # it came back, which is no end of the rollout of then
            return
    rollouts = container.store.find(
        Rollout,
        ("deployment", "=", ref.name),
        ("candidate", "=", version.version),
        order=["-began_at"],
        limit=1,
    )
    began = version.created_at if name == "judge" else rollouts[0].began_at if rollouts else event.at
    attributes = {"homeostat.stage": what, "homeostat.reason": str(event.body.get("reason", ""))}
    _send(container, [_of(version, name, began, event.at, attributes)])


def _trained(version: ModelVersion, run: Run) -> list[dict[str, Any]]:
    """The decision, the wait and the training, below the version."""
    trace, root = trace_of(version.model, version.version), span_of(version.model, version.version)
    started, ended = run.started_at or run.created_at, run.ended_at or version.created_at
    about: dict[str, str | int] = {
        "homeostat.model": version.model,
        "homeostat.model.version": version.version,
        "homeostat.run": run.id,
        "homeostat.attempt": run.attempt,
    }
    why: dict[str, str | int] = {"homeostat.reason": run.reason, "homeostat.actor": run.actor}
    return [
        _span(trace, root, "", f"model {version.model}", run.created_at, ended, about | why),
        _of(version, "decide", run.created_at, run.created_at, why),
        _of(version, "queue", run.created_at, started, {}),
        _of(version, "train", started, ended, {"homeostat.rows": run.rows}),
    ]


def _of(
    version: ModelVersion, name: str, began: datetime, ended: datetime, attributes: Mapping[str, str | int]
) -> dict[str, Any]:
    """A span below the version's; told again, it has the same id."""
    of = version.model, version.version
    return _span(trace_of(*of), span_of(*of, name), span_of(*of), name, began, ended, attributes)


def _span(
    trace: str,
    id: str,
    parent: str,
    name: str,
    began: datetime,
    ended: datetime,
    attributes: Mapping[str, str | int],
) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": id,
        "parentSpanId": parent,
        "name": name,
        "kind": _INTERNAL,
        "startTimeUnixNano": str((began - _EPOCH) // timedelta(microseconds=1) * 1000),
        "endTimeUnixNano": str((max(began, ended) - _EPOCH) // timedelta(microseconds=1) * 1000),
        "attributes": described(attributes),
    }


def _send(container: Container, spans: Sequence[dict[str, Any]]) -> None:
    """Leave it to a thread: a collector that is away, or that never answers, holds up no turn."""
    with _beginning:
        if not any(one.is_alive() for one in _senders):
            _senders[:] = [Thread(target=_sending, name="loop-traces", daemon=True)]
            _senders[0].start()
    try:
        _waiting.put_nowait((container.settings.otlp, written(spans, _SCOPE)))
    except Full:
        _log.warning("the collector %s was not told: too much waits for it", container.settings.otlp)


def _sending() -> None:
    while True:
        collector, request = _waiting.get()
        try:
            sent(collector)("", request)
        except Exception as error:  # noqa: BLE001 - it may answer anything
            _log.warning("the collector %s was not told: %s", collector, error)
        finally:
            _waiting.task_done()


def flush(seconds: float = _PATIENCE) -> bool:
    """Wait until everything was sent, or lost, but no longer than so many seconds; says whether it was."""
    with _waiting.all_tasks_done:
        return _waiting.all_tasks_done.wait_for(lambda: not _waiting.unfinished_tasks, seconds)


atexit.register(flush)
