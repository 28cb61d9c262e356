"""Reading traces, with all that belongs to them, and searching them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Final

import msgspec

from homeostat.app.artifacts import remove_in
from homeostat.app.container import Container
from homeostat.app.tracing.stored import no_trace, spans_in
from homeostat.app.tracking.experiments import experiment
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.events import Event
from homeostat.domain.records import Record
from homeostat.domain.traces import Assessment, SpanBlock, SpanKind, Trace, TraceMetadata, TraceRun, TraceTag
from homeostat.domain.tracking import Experiment
from homeostat.engine.tracking.correlation import Counts
from homeostat.engine.tracking.filters import parse, parse_order
from homeostat.engine.tracking.kinds import TRACES
from homeostat.engine.tracking.places import here, trace_root
from homeostat.engine.tracking.spans import Span
from homeostat.ports.meta import Transaction, Where
from homeostat.ports.search import Comparison, Page, Query

_PARTS: Final[tuple[type[Record], ...]] = (
    TraceTag,
    TraceMetadata,
    TraceRun,
    SpanBlock,
    SpanKind,
    Assessment,
)
_TOGETHER: Final = 500
_ATTEMPTS: Final = 5
_WAIT: Final = 0.2
SIZES: Final = "mlflow.trace.sizeStats"


class _Sizes(msgspec.Struct):
    num_spans: int = 0


@dataclass
class TraceData:
    """What belongs to a trace beside its spans."""

    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    assessments: list[Assessment] = field(default_factory=list)


def trace(container: Container, id: str) -> Trace:
    """A trace.

    Raises:
        NotFound: there is none of this id.
    """
    found = container.store.get(Trace, id)
    if found is None:
        raise no_trace(id)
    return found


def whole_trace(container: Container, id: str, *, partial: bool) -> tuple[Trace, list[Span]]:
    """A trace with its spans.

    Args:
        container: The ports.
        id: Its id.
        partial: Whether some of its spans will do. Else those that are on their way are waited for a little.

    Raises:
        NotFound: there is none of this id, or not all of its spans have come.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            container.clock.sleep(_WAIT)
        found = trace(container, id)
        spans = spans_in(container.store, [id])[id]
        if partial or len(spans) >= _expected(container, id):
            return found, spans
    raise NotFound(f"Trace with ID {id} is not fully exported yet, please try again later.")


def _expected(container: Container, id: str) -> int:
    """How many spans a trace has, as far as its sender said so."""
    told = container.store.get(TraceMetadata, id, SIZES)
    if told is None:
        return 0
    try:
        return msgspec.json.decode(told.value, type=_Sizes).num_spans
    except msgspec.DecodeError:
        return 0


def traces(container: Container, ids: Sequence[str]) -> list[Trace]:
    """Those of some traces that are there, in the order asked for."""
    found = {one.id: one for one in container.store.find(Trace, ("id", "in", list(ids)))}
    return [found[id] for id in dict.fromkeys(ids) if id in found]


def trace_data(container: Container, ids: Iterable[str]) -> dict[str, TraceData]:
    """What belongs to traces, by id."""
    found = {id: TraceData() for id in ids}
    wanted = list(found)
    store = container.store
    for tag in store.find(TraceTag, ("trace", "in", wanted)):
        found[tag.trace].tags[tag.key] = tag.value
    for known in store.find(TraceMetadata, ("trace", "in", wanted)):
        found[known.trace].metadata[known.key] = known.value
    for judged in store.find(Assessment, ("trace", "in", wanted), order=["created_at"]):
        found[judged.trace].assessments.append(judged)
    return found


def search_traces(
    container: Container,
    experiments: Sequence[int],
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    limit: int = 100,
    token: str = "",
) -> Page[Trace]:
    """Traces of experiments, a page at a time.

    Args:
        container: The ports.
        experiments: Of these.
        filter: What must hold of them, in the filter language.
        order_by: Terms of the order; then, the newest first.
        limit: How many a page has at most.
        token: Where the page before ended.

    Raises:
        BadRequest: filter, order or token cannot be.
    """
    return container.search.page(
        Query(
            kind=Trace,
            scope=(("experiment", "in", list(experiments)),),
            filter=parse(filter, TRACES),
            order=parse_order(order_by, TRACES),
            limit=limit,
            token=token,
        )
    )


def count_together(
    container: Container, experiments: Sequence[int], first: str, second: str, *, within: str = ""
) -> Counts:
    """Of how many traces of experiments each of two filters holds, both hold, and how many there are.

    Args:
        container: The ports.
        experiments: Of these.
        first: A filter.
        second: Another one.
        within: What must hold of all that is counted; empty: nothing.

    Raises:
        BadRequest: a filter cannot be.
    """
    always, one, other = (parse(text, TRACES) for text in (within, first, second))

    def count(*filters: tuple[Comparison, ...]) -> int:
        return container.search.count(
            Query(
                kind=Trace,
                scope=(("experiment", "in", list(experiments)),),
                filter=(*always, *chain.from_iterable(filters)),
                order=TRACES.default,
                limit=1,
            )
        )

    return Counts(count(one), count(other), count(one, other), count())


def delete_traces(
    container: Container,
    experiment_id: int,
    *,
    ids: Sequence[str] = (),
    until: datetime | None = None,
    most: int | None = None,
    actor: str = "user",
) -> int:
    """Remove traces for good: those of some ids, or those that began until a time, the oldest first.

    Args:
        container: The ports.
        experiment_id: Of this experiment.
        ids: Which.
        until: A time, in place of ids.
        most: How many at most, with ``until``.
        actor: Who asked.

    Returns:
        How many that was.

    Raises:
        NotFound: there is no such experiment.
        BadRequest: neither or both were given, or ``most`` is not positive.
    """
    if bool(ids) == (until is not None):
        raise BadRequest(
            "Either `max_timestamp_millis` or `trace_ids` must be specified, but not both.",
            field="request_ids",
        )
    if most is not None and (ids or most <= 0):
        raise BadRequest(
            "`max_traces` must be a positive integer, and cannot be specified if `trace_ids` is.",
            field="max_traces",
        )
    experiment_of = experiment(container, experiment_id)
    which: Where = ("id", "in", list(ids)) if until is None else ("began_at", "<=", until)
    with container.store.begin() as tx:
        found = tx.find(Trace, ("experiment", "=", experiment_id), which, order=["began_at"], limit=most)
        remove_traces(container, tx, experiment_of, [one.id for one in found], actor)
    return len(found)


def remove_traces(
    container: Container, tx: Transaction, experiment: Experiment, ids: Sequence[str], actor: str
) -> None:
    """Remove traces of an experiment with all that belongs to them, in an open transaction."""
    for start in range(0, len(ids), _TOGETHER):
        some = list(ids[start : start + _TOGETHER])
        for id in some:
            # Where its tag says they are is not asked: that is anybody's to write.
            if path := here(trace_root(experiment.artifacts, id)):
                remove_in(container, tx, path, actor=actor)
        for kind in _PARTS:
            tx.delete(kind, ("trace", "in", some))
        tx.delete(Trace, ("id", "in", some))
    if ids:
        tx.append(
            Event(
                kind="traces.removed",
                subject=f"experiment/{experiment.id}",
                at=container.clock.now(),
                actor=actor,
                body={"traces": len(ids)},
            )
        )
