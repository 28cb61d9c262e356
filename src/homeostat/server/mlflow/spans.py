"""Traces, spans and assessments as protobuf's JSON writes them."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Final

import msgspec

from homeostat.app.tracing.reading import TraceData
from homeostat.domain.traces import Assessment, Trace
from homeostat.engine.tracking.spans import Span

EXPERIMENT: Final = "MLFLOW_EXPERIMENT"


class AtExperiment(msgspec.Struct, frozen=True):
    """Names an experiment."""

    experiment_id: str = ""


class Location(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a trace is: in an experiment."""

    type: str | int = ""
    mlflow_experiment: AtExperiment | None = None


class ShownTrace(msgspec.Struct, frozen=True, omit_defaults=True):
    """A trace as clients see it, without its spans."""

    trace_id: str
    trace_location: Location
    request_time: str
    state: str
    trace_metadata: dict[str, str]
    tags: dict[str, str]
    client_request_id: str = ""
    request_preview: str | None = None
    response_preview: str | None = None
    execution_duration: str | None = None
    assessments: list[dict[str, Any]] = []


def shown(trace: Trace, data: TraceData) -> ShownTrace:
    """A trace as clients see it."""
    return ShownTrace(
        trace_id=trace.id,
        trace_location=Location(EXPERIMENT, AtExperiment(str(trace.experiment))),
        request_time=timestamp(trace.began_at),
        state=trace.state,
        trace_metadata=data.metadata,
        tags=data.tags,
        client_request_id=trace.client,
        request_preview=trace.request,
        response_preview=trace.response,
        execution_duration=None if trace.took is None else duration(trace.took),
        assessments=[shown_assessment(one) for one in data.assessments],
    )


def shown_assessment(one: Assessment) -> dict[str, Any]:
    """An assessment as clients see it."""
    found = {
        **one.body,
        **_expected(one.body),
        "assessment_id": one.id,
        "trace_id": one.trace,
        "create_time": timestamp(one.created_at),
        "last_update_time": timestamp(one.updated_at),
    }
    return found | {"valid": one.valid} if "feedback" in one.body or not one.valid else found


def _expected(body: dict[str, Any]) -> dict[str, Any]:
    """An expectation of lists and objects, which the protocol writes as JSON."""
    given = body.get("expectation")
    if not isinstance(given, dict) or not isinstance(given.get("value"), (dict, list)):
        return {}
    written = msgspec.json.encode(given["value"]).decode()
    return {"expectation": {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": written}}}


def timestamp(at: datetime) -> str:
    """A time as protobuf's JSON writes it, to the millisecond."""
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{at.microsecond // 1000:03d}Z"


def duration(milliseconds: int) -> str:
    """A duration as protobuf's JSON writes it."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}.{rest:03d}s" if rest else f"{seconds}s"


def wired(span: Span) -> Span:
    """A span in protobuf's JSON: ids in base 64, names of constants whole."""
    made = {**span, "trace_id": _base64(span["trace_id"]), "span_id": _base64(span["span_id"])}
    if made.get("parent_span_id"):
        made["parent_span_id"] = _base64(made["parent_span_id"])
    if "kind" in made:
        made["kind"] = f"SPAN_KIND_{made['kind']}"
    if "code" in made.get("status", {}):
        made["status"] = made["status"] | {"code": f"STATUS_CODE_{made['status']['code']}"}
    if "links" in made:
        made["links"] = [
            link | {name: _base64(link[name]) for name in ("trace_id", "span_id") if name in link}
            for link in made["links"]
        ]
    return made


def _base64(id: str) -> str:
    return base64.b64encode(bytes.fromhex(id)).decode()
