"""What spans tell of the trace they belong to: when it ran, how it ended, its name, session, user, tokens and marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from homeostat.engine.tracking.spans import Span, attributes_of

NAME: Final = "mlflow.traceName"
SESSION: Final = "mlflow.trace.session"
USER: Final = "mlflow.trace.user"
TOKENS: Final = "mlflow.trace.tokenUsage"
_PREVIEW: Final = 1000
_TAG: Final = "mlflow.traceTag."
_OWN: Final = ("mlflow.", "telemetry.sdk.")
USAGE: Final = "mlflow.chat.tokenUsage"

Status = Literal["UNSET", "OK", "ERROR"]


class Told(msgspec.Struct):
    """What is known from some spans of a trace; None and empty where they do not say."""

    began: int  # nanoseconds since 1970
    ended: int | None = None
    state: str | None = None
    name: str = ""
    request: str | None = None
    response: str | None = None
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    kinds: set[tuple[str, str, Status]] = set()  # name, type and status


def trace_of(span: Span) -> str:
    """The id of the trace that a span belongs to, as MLflow makes it from OpenTelemetry's."""
    return f"tr-{span['trace_id']}"


def tell(spans: Sequence[Span], about: Mapping[str, Any]) -> Told:
    """What spans of one trace tell.

    Args:
        spans: The spans, one at least.
        about: The attributes of what sent them.
    """
    found = Told(
        began=min(span.get("start_time_unix_nano", 0) for span in spans),
        ended=max((end for span in spans if (end := span.get("end_time_unix_nano"))), default=None),
        tags={key: _text(value) for key, value in about.items() if not key.startswith(_OWN)},
        metadata={},
        kinds=set(),
    )
    for span in spans:
        attributes = attributes_of(span.get("attributes", []))
        status = status_of(span)
        found.kinds.add((_plain(span.get("name", "")), _plain(_type(attributes)), status))
        session = attributes.get("session.id") or attributes.get("gen_ai.conversation.id")
        for key, value in ((SESSION, session), (USER, attributes.get("user.id"))):
            if value and key not in found.metadata:
                found.metadata[key] = _text(value)
        if not span.get("parent_span_id"):
            _tell_root(found, span, attributes, status)
    return found


def status_of(span: Span) -> Status:
    """How a span ended."""
    found: Status = span.get("status", {}).get("code", "UNSET")
    return found


def tokens(spans: Iterable[Span]) -> dict[str, int]:
    """The tokens that a trace used. Where a span and one below it tell of some, the upper one has counted both."""
    usage: dict[str, dict[str, int]] = {}
    parents: dict[str, str] = {}
    for span in spans:
        parents[span["span_id"]] = span.get("parent_span_id", "")
        told = _structured(attributes_of(span.get("attributes", [])).get(USAGE))
        if isinstance(told, dict):
            usage[span["span_id"]] = {
                key: value
                for key, value in told.items()
                if isinstance(value, int) and not isinstance(value, bool)
            }
    total: dict[str, int] = {}
    for id, counts in usage.items():
        if not _counted(id, parents, usage):
            for key, value in counts.items():
                total[key] = total.get(key, 0) + value
    return total


def _counted(id: str, parents: Mapping[str, str], usage: Mapping[str, Any]) -> bool:
    seen = {id}
    above = parents.get(id, "")
    while above and above not in seen:
        if above in usage:
            return True
        seen.add(above)
        above = parents.get(above, "")
    return False


def _tell_root(found: Told, span: Span, attributes: Mapping[str, Any], status: Status) -> None:
    found.state = "ERROR" if status == "ERROR" else "OK"
    found.name = _plain(span.get("name", ""))
    found.request = preview(attributes.get("mlflow.spanInputs"))
    found.response = preview(attributes.get("mlflow.spanOutputs"))
    for key, value in attributes.items():
        if key.startswith(_TAG) and key != _TAG:
            found.tags[_plain(key.removeprefix(_TAG))] = _text(value)


def preview(value: Any) -> str | None:
    """The beginning of a value as JSON; None of none."""
    if value is None:
        return None
    text = _text(value)
    return text if len(text) <= _PREVIEW else f"{text[: _PREVIEW - 3]}..."


def _type(attributes: Mapping[str, Any]) -> str:
    found = _structured(attributes.get("mlflow.spanType"))
    return found if isinstance(found, str) else "UNKNOWN"


def _structured(value: Any) -> Any:
    """A value that some senders write as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


def _text(value: Any) -> str:
    return _plain(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _plain(text: str) -> str:
    """A text that the databases take."""
    return text.replace("\0", "")
