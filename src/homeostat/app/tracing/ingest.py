"""Traces come in: told of by their sender, or by their spans, in any order and more than once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracing.assessments import add_in
from homeostat.app.tracing.stored import locked_trace
from homeostat.app.tracking.experiments import DEFAULT, active_experiment, ensure_default
from homeostat.app.tracking.runs import run
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.traces import SpanBlock, SpanKind, Trace, TraceMetadata, TraceRun, TraceTag
from homeostat.domain.tracking import Experiment
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.packing import outline, pack
from homeostat.engine.tracking.places import trace_root
from homeostat.engine.tracking.spans import Span
from homeostat.engine.tracking.telling import NAME, TOKENS, USAGE, Told, tell, tokens, trace_of
from homeostat.ports.meta import Transaction

STATES: Final = ("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")
PLACE: Final = "mlflow.artifactLocation"
SPANS: Final = "mlflow.trace.spansLocation"
RUN: Final = "mlflow.sourceRun"
SETTLED: Final = "mlflow.trace.infoFinalized"
_HERE: Final = "TRACKING_STORE"
_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,49}")
_CLIENT: Final = 100
_NAME: Final = 500
_KEY: Final = 250
_TAG: Final = 8000
_VALUE: Final = 100_000
_LINKS: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN: Final = frozenset({"IN_PROGRESS", "STATE_UNSPECIFIED"})


def start_trace(
    container: Container,
    trace: Trace,
    *,
    tags: Mapping[str, str],
    metadata: Mapping[str, str],
    assessments: Sequence[Mapping[str, Any]] = (),
    settled: bool = True,
) -> Trace:
    """Take what a sender says of a trace; spans that came before, or come later, say no more about it.

    Args:
        container: The ports.
        trace: What it says.
        tags: Marks.
        metadata: What else is known.
        assessments: What was judged of it already.
        settled: Whether it has ended, so that nothing is left to say.

    Raises:
        NotFound: there is no such experiment.
        BadRequest: the experiment is deleted, a text is too long, or something is no assessment.
    """
    _check(trace, tags, metadata)
    if trace.experiment == DEFAULT:
        ensure_default(container)
    ended = None if trace.took is None else _after(trace.began_at, trace.took)
    name = tags.get(NAME, trace.name)
    with container.store.begin() as tx:
        experiment = active_experiment(tx, trace.experiment)
        made = msgspec.structs.replace(trace, name=name, ended_at=ended, settled=settled)
        before = tx.lock(Trace, trace.id)
        if before is not None:
            made = msgspec.structs.replace(
                made,
                name=name or before.name,
                request=before.request if made.request is None else made.request,
                response=before.response if made.response is None else made.response,
            )
        tx.put(made)
        place = {} if before else {PLACE: trace_root(experiment.artifacts, trace.id)}
        _put(tx, trace.id, {**tags, **place}, {**metadata, SETTLED: "true"} if settled else metadata)
        if RUN in metadata:
            tx.put(TraceRun(run=metadata[RUN], trace=trace.id))
        for body in assessments:
            add_in(container, tx, trace.id, body)
    return made


def end_trace(
    container: Container,
    id: str,
    *,
    ended_at: datetime,
    state: str,
    tags: Mapping[str, str],
    metadata: Mapping[str, str],
) -> Trace:
    """Take what a sender says of the end of a trace that it said had begun.

    Args:
        container: The ports.
        id: The trace.
        ended_at: When it ended.
        state: How, one of ``STATES``.
        tags: Marks, beside those it has.
        metadata: What else is known, beside what was.

    Raises:
        NotFound: there is no such trace.
        BadRequest: a text is too long.
    """
    with container.store.begin() as tx:
        found = locked_trace(tx, id)
        took = (ended_at - found.began_at) // timedelta(milliseconds=1)
        made = msgspec.structs.replace(
            found, name=tags.get(NAME, found.name), state=state, ended_at=ended_at, took=took, settled=True
        )
        _check(made, tags, metadata)
        tx.put(made)
        _put(tx, id, tags, metadata)
        if RUN in metadata:
            tx.put(TraceRun(run=metadata[RUN], trace=id))
    return made


def take_spans(
    container: Container,
    experiment_id: int,
    spans: Sequence[tuple[Span, Mapping[str, Any]]],
    *,
    run_id: str = "",
) -> list[str]:
    """Take spans: all of them, or none when it raises.

    Args:
        container: The ports.
        experiment_id: Where traces belong that are not known yet.
        spans: The spans, each with the attributes of what sent it.
        run_id: The run that the traces belong to.

    Returns:
        The ids of their traces.

    Raises:
        NotFound: there is no such experiment or run.
        BadRequest: the experiment is deleted, or a time is beyond the calendar.
    """
    if experiment_id == DEFAULT:
        ensure_default(container)
    if run_id:
        run(container, run_id)
    groups: dict[str, list[Span]] = {}
    about: dict[str, Mapping[str, Any]] = {}
    for span, sender in spans:
        groups.setdefault(trace_of(span), []).append(span)
        about.setdefault(trace_of(span), sender)
    told = {id: tell(some, about[id]) for id, some in groups.items()}
    with container.store.begin() as tx:
        experiment = active_experiment(tx, experiment_id)
        for id in sorted(groups):
            _take(tx, experiment, id, groups[id], told[id])
            if run_id:
                tx.put(TraceRun(run=run_id, trace=id))
    return sorted(groups)


def link_traces(container: Container, run_id: str, ids: Sequence[str]) -> None:
    """Say that traces belong to a run.

    Raises:
        NotFound: there is no such run.
        BadRequest: there are too many.
    """
    if len(ids) > _LINKS:
        raise BadRequest(
            f"Cannot link more than {_LINKS} traces to a run in a single request. Provided {len(ids)} traces.",
            field="trace_ids",
        )
    run(container, run_id)
    with container.store.begin() as tx:
        tx.put(
            *(TraceRun(run=run_id, trace=id) for id in sorted(set(ids)))
        )  # in one order, so that two calls do not wait for each other


def tag_trace(container: Container, id: str, key: str, value: str) -> None:
    """Mark a trace.

    Raises:
        NotFound: there is none of this id.
        BadRequest: the key is too long, or no name.
    """
    limits.check_length(key, _KEY, "key")
    limits.check_name(key, "key")
    with container.store.begin() as tx:
        found = locked_trace(tx, id)
        tx.put(TraceTag(trace=id, key=key, value=value[:_TAG]))
        if key == NAME:
            tx.put(msgspec.structs.replace(found, name=value))


def untag_trace(container: Container, id: str, key: str) -> None:
    """Take a mark off a trace.

    Raises:
        NotFound: there is no such trace or mark.
    """
    with container.store.begin() as tx:
        locked_trace(tx, id)
        if not tx.delete(TraceTag, ("trace", "=", id), ("key", "=", key)):
            raise NotFound(f"No trace tag with key '{key}' for trace with ID '{id}'")


def _take(tx: Transaction, experiment: Experiment, id: str, spans: list[Span], told: Told) -> None:
    before = tx.lock(Trace, id)
    blocks = tx.find(SpanBlock, ("trace", "=", id), order=["-seq"], limit=1)
    trace = _known(id, experiment, before, told)
    packed = pack(spans)
    tx.put(
        trace,
        SpanBlock(trace=id, seq=blocks[0].seq + 1 if blocks else 0, count=len(spans), spans=packed),
        *(
            SpanKind(trace=id, name=name, type=type, status=status)
            for name, type, status in sorted(told.kinds)
        ),
    )
    tags = {key[:_KEY]: value[:_TAG] for key, value in told.tags.items()} | {SPANS: _HERE}
    if before is None:
        tags[PLACE] = trace_root(experiment.artifacts, id)
    if told.name and (before is None or not before.name):
        tags.setdefault(NAME, told.name)
    known = {one.key for one in tx.find(TraceMetadata, ("trace", "=", id))}
    metadata = {key: value[:_VALUE] for key, value in told.metadata.items() if key not in known}
    # Spans from before are read again only where some, now or then, told of tokens.
    if (TOKENS in known and not trace.settled) or (TOKENS not in known and USAGE in packed):
        used = _used(tx, id)
        if used:
            metadata[TOKENS] = msgspec.json.encode(used).decode()
    _put(tx, id, tags, metadata)


def _used(tx: Transaction, id: str) -> dict[str, int]:
    """The tokens that a trace used so far."""
    spans: dict[str, Span] = {}
    for block in tx.find(SpanBlock, ("trace", "=", id), order=["seq"]):
        spans |= {span["span_id"]: span for span in outline(block.spans, USAGE)}
    return tokens(spans.values())


def _known(id: str, experiment: Experiment, before: Trace | None, told: Told) -> Trace:
    """A trace after its spans told of it."""
    began, ended = _moment(told.began), None if told.ended is None else _moment(told.ended)
    if before is None:
        trace = Trace(id=id, experiment=experiment.id, state="IN_PROGRESS", began_at=began, ended_at=ended)
    elif before.settled:
        trace = before
    else:
        ends = [at for at in (before.ended_at, ended) if at is not None]
        trace = msgspec.structs.replace(
            before, began_at=min(before.began_at, began), ended_at=max(ends) if ends else None
        )
    if not trace.settled and trace.ended_at is not None:
        trace = msgspec.structs.replace(
            trace, took=(trace.ended_at - trace.began_at) // timedelta(milliseconds=1)
        )
    return msgspec.structs.replace(
        trace,
        state=told.state if told.state and trace.state in _OPEN else trace.state,
        name=trace.name or told.name[:_NAME],
        request=told.request if trace.request is None else trace.request,
        response=told.response if trace.response is None else trace.response,
    )


def _put(tx: Transaction, id: str, tags: Mapping[str, str], metadata: Mapping[str, str]) -> None:
    if tags:
        tx.put(*(TraceTag(trace=id, key=key, value=tags[key]) for key in sorted(tags)))
    if metadata:
        tx.put(*(TraceMetadata(trace=id, key=key, value=metadata[key]) for key in sorted(metadata)))


def _check(trace: Trace, tags: Mapping[str, str], metadata: Mapping[str, str]) -> None:
    if not _ID.fullmatch(trace.id):
        raise BadRequest(
            f"Invalid trace id {trace.id[:60]!r}: it is 1 to 50 letters, digits, dots, dashes, colons and underscores",
            field="trace_id",
        )
    limits.check_length(tags.get(NAME, trace.name), _NAME, "name")
    limits.check_length(trace.client, _CLIENT, "client_request_id")
    for values, path, longest in ((tags, "tags", _TAG), (metadata, "trace_metadata", _VALUE)):
        for key, value in values.items():
            limits.check_length(key, _KEY, f"{path}.key")
            limits.check_length(value, longest, f"{path}.{key[:40]}")


def _after(began: datetime, took: int) -> datetime:
    try:
        return began + timedelta(milliseconds=took)
    except OverflowError as error:
        raise BadRequest(
            f"A trace that began at {began} cannot have taken {took} ms", field="execution_duration"
        ) from error


def _moment(nanoseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError as error:
        raise BadRequest(f"{nanoseconds} is no time in nanoseconds since 1970", field="spans") from error
