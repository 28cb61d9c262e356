"""The calls about traces of clients before MLflow 3, which say when one begins and when it ends.

Their spans are a file among the trace's artifacts, which the client keeps and reads itself.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracing import ingest, reading
from homeostat.domain.traces import Trace
from homeostat.server.mlflow.experiments import experiment_id
from homeostat.server.mlflow.reading import Int64, Named, invalid
from homeostat.server.mlflow.values import Tag, mapped, millis, moment, pairs
from homeostat.server.mlflow.wire import Endpoint

_UNSPECIFIED: Final = "TRACE_STATUS_UNSPECIFIED"
_STATUSES: Final = (_UNSPECIFIED, *ingest.STATES[1:])  # by their numbers
_STATES: Final = {
    key: state
    for number, (status, state) in enumerate(zip(_STATUSES, ingest.STATES, strict=True))
    for key in (status, str(number))
}


class Start(msgspec.Struct, frozen=True):
    """``POST traces``."""

    experiment_id: Named
    timestamp_ms: Int64 = 0
    request_metadata: list[Tag] = []
    tags: list[Tag] = []


class End(msgspec.Struct, frozen=True):
    """``PATCH traces/…``."""

    request_id: Named
    timestamp_ms: Int64
    status: str | int = _UNSPECIFIED
    request_metadata: list[Tag] = []
    tags: list[Tag] = []


class ById(msgspec.Struct, frozen=True):
    """``GET traces/…/info``."""

    request_id: Named


class Search(msgspec.Struct, frozen=True):
    """``GET traces``."""

    experiment_ids: Annotated[list[str], msgspec.Meta(min_length=1)]
    filter: str = ""
    max_results: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    order_by: list[str] = []
    page_token: str = ""


class ShownTrace(msgspec.Struct, frozen=True):
    """A trace as these clients see it."""

    request_id: str
    experiment_id: str
    timestamp_ms: int
    execution_time_ms: int
    status: str
    request_metadata: list[Tag]
    tags: list[Tag]


class Answer(msgspec.Struct, frozen=True):
    """The answer that holds one."""

    trace_info: ShownTrace


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of traces, and the token of the next one."""

    traces: list[ShownTrace] = []
    next_page_token: str = ""


def _status(given: str | int) -> str:
    found = _STATES.get(str(given))
    if found is None:
        raise invalid("status", given, f"use one of {', '.join(_STATUSES)}")
    return found


def _shown(container: Container, found: list[Trace]) -> list[ShownTrace]:
    data = reading.trace_data(container, [one.id for one in found])
    return [
        ShownTrace(
            request_id=one.id,
            experiment_id=str(one.experiment),
            timestamp_ms=millis(one.began_at),
            execution_time_ms=one.took or 0,
            status=_STATUSES[ingest.STATES.index(one.state)],
            request_metadata=pairs(data[one.id].metadata),
            tags=pairs(data[one.id].tags),
        )
        for one in found
    ]


def _start(container: Container, asked: Start) -> Answer:
    began = Trace(
        id=f"tr-{os.urandom(16).hex()}",
        experiment=experiment_id(asked.experiment_id),
        state="IN_PROGRESS",
        began_at=moment(asked.timestamp_ms, "timestamp_ms"),
    )
    made = ingest.start_trace(
        container, began, tags=mapped(asked.tags), metadata=mapped(asked.request_metadata), settled=False
    )
    return Answer(_shown(container, [made])[0])


def _end(container: Container, asked: End) -> Answer:
    made = ingest.end_trace(
        container,
        asked.request_id,
        ended_at=moment(asked.timestamp_ms, "timestamp_ms"),
        state=_status(asked.status),
        tags=mapped(asked.tags),
        metadata=mapped(asked.request_metadata),
    )
    return Answer(_shown(container, [made])[0])


def _info(container: Container, asked: ById) -> Answer:
    return Answer(_shown(container, [reading.trace(container, asked.request_id)])[0])


def _search(container: Container, asked: Search) -> Found:
    page = reading.search_traces(
        container,
        [experiment_id(id) for id in asked.experiment_ids],
        filter=asked.filter,
        order_by=asked.order_by,
        limit=asked.max_results,
        token=asked.page_token,
    )
    return Found(_shown(container, page.items), page.token)


_AT: Final = "2.0/mlflow/traces"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("POST", _AT, Start, _start),
    Endpoint("GET", _AT, Search, _search),
    Endpoint("PATCH", _AT + "/{request_id}", End, _end),
    Endpoint("GET", _AT + "/{request_id}/info", ById, _info),
)
