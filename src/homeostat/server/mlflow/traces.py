"""The calls about traces, as MLflow has them since version 3: told of, read, searched, marked and removed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracing import ingest, reading
from homeostat.app.tracing.stored import spans_in
from homeostat.domain.errors import BadRequest
from homeostat.domain.traces import Trace
from homeostat.engine.tracking.correlation import npmi
from homeostat.engine.tracking.spans import Span
from homeostat.server.mlflow.experiments import experiment_id
from homeostat.server.mlflow.reading import Int64, Named, invalid, missing
from homeostat.server.mlflow.spans import Location, ShownTrace, shown, wired
from homeostat.server.mlflow.values import millis, moment
from homeostat.server.mlflow.wire import Endpoint

# By name or by number, as protobuf's JSON takes them.
_STATES: Final = {key: name for number, name in enumerate(ingest.STATES) for key in (name, str(number))}
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1) - timedelta.resolution
_DURATION: Final = re.compile(r"(-?\d{1,9})(?:\.(\d{1,9}))?s")


class GivenTrace(msgspec.Struct, frozen=True):
    """A trace as clients tell of it."""

    trace_id: Named
    trace_location: Location
    request_time: datetime | None = None
    execution_duration: str | None = None
    state: str | int = "STATE_UNSPECIFIED"
    client_request_id: str = ""
    request_preview: str | None = None
    response_preview: str | None = None
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[dict[str, Any]] = []


class Given(msgspec.Struct, frozen=True):
    """The part of a message that holds a trace."""

    trace_info: GivenTrace


class Start(msgspec.Struct, frozen=True):
    """``POST traces``: despite its name, what is known once a trace is over."""

    trace: Given


class Whole(msgspec.Struct, frozen=True, omit_defaults=True):
    """A trace and its spans."""

    trace_info: ShownTrace
    spans: list[Span] = []


class Answer(msgspec.Struct, frozen=True):
    """The answer that holds one."""

    trace: Whole


class ById(msgspec.Struct, frozen=True):
    """``GET traces/…``, and ``GET traces/get``."""

    trace_id: Named
    allow_partial: str = ""


class ByIds(msgspec.Struct, frozen=True):
    """``traces/batchGet`` and ``traces/batchGetInfos``."""

    trace_ids: list[str]
    experiment_ids: list[str] | None = None


class Traces(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to ``traces/batchGet``."""

    traces: list[Whole] = []


class Infos(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to ``traces/batchGetInfos``."""

    trace_infos: list[ShownTrace] = []


class Search(msgspec.Struct, frozen=True):
    """``traces/search``."""

    locations: list[Location]
    filter: str = ""
    max_results: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    order_by: list[str] = []
    page_token: str = ""


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of traces, and the token of the next one."""

    traces: list[ShownTrace] = []
    next_page_token: str = ""


class Deletion(msgspec.Struct, frozen=True):
    """``traces/delete-traces``."""

    experiment_id: Named
    max_timestamp_millis: Int64 | None = None
    max_traces: int | None = None
    request_ids: list[str] = []


class Deleted(msgspec.Struct, frozen=True):
    """How many that was."""

    traces_deleted: int


class Tagging(msgspec.Struct, frozen=True):
    """``PATCH traces/…/tags``."""

    key: Named
    value: str = ""
    trace_id: str = ""
    request_id: str = ""


class Untagging(msgspec.Struct, frozen=True):
    """``DELETE traces/…/tags``."""

    key: Named
    trace_id: str = ""
    request_id: str = ""


class Correlation(msgspec.Struct, frozen=True):
    """``traces/calculate-filter-correlation``."""

    filter_string1: Named
    filter_string2: Named
    experiment_ids: list[str] = []
    base_filter: str = ""


class Correlated(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How often each of two filters holds, and both, and what follows; None where that is not defined."""

    npmi: float | None = None
    npmi_smoothed: float | None = None
    filter1_count: int
    filter2_count: int
    joint_count: int
    total_count: int


class Linking(msgspec.Struct, frozen=True):
    """``traces/link-to-run``."""

    trace_ids: list[str]
    run_id: Named


def _milliseconds(text: str | None) -> int | None:
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise invalid("execution_duration", text, "write seconds, as in 1.5s")
    fraction = int((found[2] or "").ljust(3, "0")[:3])
    return int(found[1]) * 1000 + (-fraction if text.startswith("-") else fraction)


def _state(given: str | int) -> str:
    found = _STATES.get(str(given))
    if found is None:
        raise invalid("state", given, f"use one of {', '.join(ingest.STATES)}")
    return found


def _experiment_at(location: Location) -> int:
    if location.mlflow_experiment is None:
        raise BadRequest(
            "Only traces of experiments are kept here", field="trace_location", remedy="Name an experiment"
        )
    return experiment_id(location.mlflow_experiment.experiment_id)


def _start(container: Container, asked: Start) -> Answer:
    given = asked.trace.trace_info
    began = given.request_time or container.clock.now()
    told = Trace(
        id=given.trace_id,
        experiment=_experiment_at(given.trace_location),
        client=given.client_request_id,
        state=_state(given.state),
        began_at=began.replace(microsecond=began.microsecond // 1000 * 1000),
        took=_milliseconds(given.execution_duration),
        request=given.request_preview,
        response=given.response_preview,
    )
    made = ingest.start_trace(
        container, told, tags=given.tags, metadata=given.trace_metadata, assessments=given.assessments
    )
    return Answer(Whole(_shown(container, [made])[0]))


def _shown(container: Container, found: list[Trace]) -> list[ShownTrace]:
    data = reading.trace_data(container, [one.id for one in found])
    return [shown(one, data[one.id]) for one in found]


def _info(container: Container, asked: ById) -> Answer:
    return Answer(Whole(_shown(container, [reading.trace(container, asked.trace_id)])[0]))


def _get(container: Container, asked: ById) -> Answer:
    partial = asked.allow_partial.lower() == "true"
    found, spans = reading.whole_trace(container, asked.trace_id, partial=partial)
    return Answer(Whole(_shown(container, [found])[0], [wired(span) for span in spans]))


def _among(container: Container, asked: ByIds) -> list[Trace]:
    found = reading.traces(container, asked.trace_ids)
    if asked.experiment_ids is None:
        return found
    inside = {experiment_id(id) for id in asked.experiment_ids}
    return [one for one in found if one.experiment in inside]


def _batch(container: Container, asked: ByIds) -> Traces:
    found = _among(container, asked)
    spans = spans_in(container.store, [one.id for one in found])
    return Traces(
        [Whole(info, [wired(span) for span in spans[info.trace_id]]) for info in _shown(container, found)]
    )


def _infos(container: Container, asked: ByIds) -> Infos:
    return Infos(_shown(container, _among(container, asked)))


def _search(container: Container, asked: Search) -> Found:
    page = reading.search_traces(
        container,
        [_experiment_at(one) for one in asked.locations if one.mlflow_experiment is not None],
        filter=asked.filter,
        order_by=asked.order_by,
        limit=asked.max_results,
        token=asked.page_token,
    )
    return Found(_shown(container, page.items), page.token)


def _delete(container: Container, asked: Deletion) -> Deleted:
    until = asked.max_timestamp_millis
    count = reading.delete_traces(
        container,
        experiment_id(asked.experiment_id),
        ids=asked.request_ids,
        until=None if until is None else _until(until),
        most=asked.max_traces,
    )
    return Deleted(count)


def _until(milliseconds: int) -> datetime:
    """The end of a millisecond; what is beyond the calendar is its first or last moment."""
    if milliseconds >= millis(_LAST):
        return _LAST
    return moment(max(milliseconds, millis(_FIRST)), "max_timestamp_millis") + _MILLISECOND


def _correlate(container: Container, asked: Correlation) -> Correlated:
    counts = reading.count_together(
        container,
        [experiment_id(id) for id in asked.experiment_ids],
        asked.filter_string1,
        asked.filter_string2,
        within=asked.base_filter,
    )
    return Correlated(
        npmi=npmi(counts),
        npmi_smoothed=npmi(counts, smoothing=0.5),
        filter1_count=counts.first,
        filter2_count=counts.second,
        joint_count=counts.both,
        total_count=counts.all,
    )


def _tag(container: Container, asked: Tagging) -> None:
    ingest.tag_trace(container, _named(asked), asked.key, asked.value)


def _untag(container: Container, asked: Untagging) -> None:
    ingest.untag_trace(container, _named(asked), asked.key)


def _link(container: Container, asked: Linking) -> None:
    ingest.link_traces(container, asked.run_id, asked.trace_ids)


def _named(asked: Tagging | Untagging) -> str:
    found = asked.trace_id or asked.request_id
    if not found:
        raise missing("trace_id")
    return found


_AT: Final = "3.0/mlflow/traces"
_OLD: Final = "2.0/mlflow/traces"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("POST", _AT, Start, _start),
    Endpoint("GET", _AT + "/get", ById, _get),
    Endpoint("GET", _AT + "/batchGet", ByIds, _batch),
    Endpoint("POST", _AT + "/batchGetInfos", ByIds, _infos),
    Endpoint("POST", _AT + "/search", Search, _search),
    Endpoint("POST", _AT + "/calculate-filter-correlation", Correlation, _correlate),
    Endpoint("POST", _AT + "/delete-traces", Deletion, _delete),
    Endpoint("POST", _OLD + "/delete-traces", Deletion, _delete),
    Endpoint("POST", _OLD + "/link-to-run", Linking, _link),
    Endpoint("GET", _AT + "/{trace_id}", ById, _info),
    Endpoint("PATCH", _AT + "/{trace_id}/tags", Tagging, _tag),
    Endpoint("DELETE", _AT + "/{trace_id}/tags", Untagging, _untag),
    Endpoint("PATCH", _OLD + "/{request_id}/tags", Tagging, _tag),
    Endpoint("DELETE", _OLD + "/{request_id}/tags", Untagging, _untag),
)
