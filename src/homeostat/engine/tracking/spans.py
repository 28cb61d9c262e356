"""Spans as OpenTelemetry's exporters send them: OTLP in protobuf or JSON, read into one form.

A span is a dict with the names of the protocol in snake case; ids are hexadecimal, numbers numbers (NaN and the
infinities by their names, as JSON has none), and a value stands under the name of its type, as in ``{"int_value": 5}``.
The messages are those of ``opentelemetry/proto/trace/v1``.
(https://opentelemetry.io/docs/specs/otlp, https://protobuf.dev/programming-guides/encoding)
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from homeostat.domain.errors import BadRequest

Span = dict[str, Any]
_DEEPEST: Final = 64
_MOST: Final = 1 << 19  # fields in a request: seconds of reading, in which a server does little else


class _Reading:
    """How far a request was read."""

    def __init__(self) -> None:
        self._left = _MOST

    def enter(self, depth: int) -> None:
        """Begin a message."""
        if depth > _DEEPEST:
            raise ValueError(f"values lie more than {_DEEPEST} deep in each other")

    def count(self) -> None:
        """Read a field."""
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"there are more than {_MOST:,} fields in it: send fewer spans at once")


class _Field(msgspec.Struct, frozen=True):
    """A field of a message: its name, how its value is read from either form, and whether there may be many."""

    name: str
    kind: str  # one of those in _READ, or the name of a message
    many: bool = False


def _message(*fields: tuple[int, str, str]) -> dict[int, _Field]:
    return {number: _Field(name, kind.removesuffix("*"), kind.endswith("*")) for number, name, kind in fields}


_MESSAGES: Final[dict[str, dict[int, _Field]]] = {
    "request": _message((1, "resource_spans", "resource_spans*")),
    "resource_spans": _message((1, "resource", "resource"), (2, "scope_spans", "scope_spans*")),
    "resource": _message((1, "attributes", "pair*")),
    "scope_spans": _message((2, "spans", "span*")),
    "pair": _message((1, "key", "text"), (2, "value", "value")),
    "value": _message(
        (1, "string_value", "text"),
        (2, "bool_value", "flag"),
        (3, "int_value", "integer"),
        (4, "double_value", "double"),
        (5, "array_value", "array"),
        (6, "kvlist_value", "pairs"),
        (7, "bytes_value", "bytes"),
    ),
    "array": _message((1, "values", "value*")),
    "pairs": _message((1, "values", "pair*")),
    "span": _message(
        (1, "trace_id", "id"),
        (2, "span_id", "id"),
        (3, "trace_state", "text"),
        (4, "parent_span_id", "id"),
        (5, "name", "text"),
        (6, "kind", "span_kind"),
        (7, "start_time_unix_nano", "fixed"),
        (8, "end_time_unix_nano", "fixed"),
        (9, "attributes", "pair*"),
        (10, "dropped_attributes_count", "integer"),
        (11, "events", "event*"),
        (12, "dropped_events_count", "integer"),
        (13, "links", "link*"),
        (14, "dropped_links_count", "integer"),
        (15, "status", "status"),
        (16, "flags", "integer"),
    ),
    "event": _message(
        (1, "time_unix_nano", "fixed"),
        (2, "name", "text"),
        (3, "attributes", "pair*"),
        (4, "dropped_attributes_count", "integer"),
    ),
    "link": _message(
        (1, "trace_id", "id"),
        (2, "span_id", "id"),
        (3, "trace_state", "text"),
        (4, "attributes", "pair*"),
        (5, "dropped_attributes_count", "integer"),
        (6, "flags", "integer"),
    ),
    "status": _message((2, "message", "text"), (3, "code", "status_code")),
}
_NAMES: Final = {
    "span_kind": ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"),
    "status_code": ("UNSET", "OK", "ERROR"),
}
_LARGEST: Final = 2**64


def read_protobuf(data: bytes) -> list[tuple[Span, dict[str, Any]]]:
    """The spans of a request, each with the attributes of what sent it.

    Raises:
        BadRequest: the data are no such request.
    """
    try:
        return list(_spans(_decode(memoryview(data), "request", 0, _Reading())))
    except (ValueError, TypeError, IndexError, struct.error) as error:
        raise BadRequest(f"Invalid OpenTelemetry format: {error}") from error


def read_json(data: bytes) -> list[tuple[Span, dict[str, Any]]]:
    """As ``read_protobuf``, of a request in JSON.

    Raises:
        BadRequest: the data are no such request.
    """
    try:
        return list(_spans(_convert(msgspec.json.decode(data), "request", 0, _Reading())))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest(f"Invalid OpenTelemetry format: {error}") from error


def value_of(value: dict[str, Any] | None) -> Any:
    """A value of the protocol as a plain one."""
    kind, inner = next(iter(value.items())) if value else ("", {})
    if kind == "array_value":
        return [value_of(one) for one in inner.get("values", [])]
    if kind == "kvlist_value":
        return attributes_of(inner.get("values", []))
    return inner if kind else None


def attributes_of(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Attributes by key, as plain values."""
    return {pair.get("key", ""): value_of(pair.get("value")) for pair in pairs}


def _spans(request: dict[str, Any]) -> Iterator[tuple[Span, dict[str, Any]]]:
    for resource in request.get("resource_spans", []):
        about = attributes_of(resource.get("resource", {}).get("attributes", []))
        for scope in resource.get("scope_spans", []):
            for span in scope.get("spans", []):
                if len(span.get("trace_id", "")) != 32 or len(span.get("span_id", "")) != 16:
                    raise ValueError("a span has no trace id of 16 bytes, or no span id of 8")
                yield span, about


def _decode(data: memoryview, message: str, depth: int, reading: _Reading) -> dict[str, Any]:
    """A message in protobuf's encoding; what it has no name for is passed over."""
    reading.enter(depth)
    known = _MESSAGES[message]
    found: dict[str, Any] = {}
    place = 0
    while place < len(data):
        reading.count()
        tag, place = _varint(data, place)
        wire, field = tag & 7, known.get(tag >> 3)
        value: Any
        if wire == 0:
            value, place = _varint(data, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, place = bytes(data[place : place + size]), place + size
        elif wire == 2:
            size, place = _varint(data, place)
            value, place = data[place : place + size], place + size
        else:
            raise ValueError(f"a field has the unknown wire type {wire}")
        if place > len(data):
            raise ValueError("the data end in the middle of a field")
        if field is not None:
            made = (
                _decode(value, field.kind, depth + 1, reading)
                if field.kind in _MESSAGES
                else _PROTOBUF[field.kind](value)
            )
            _keep(found, field, made)
    return found


def _keep(found: dict[str, Any], field: _Field, value: Any) -> None:
    if field.many:
        found.setdefault(field.name, []).append(value)
    else:
        found[field.name] = value


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= _LARGEST:
                raise ValueError("a number has more than 64 bits")
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _integer(value: Any) -> int:
    if isinstance(value, bytes):
        return int.from_bytes(value, "little")
    if isinstance(value, int):
        return value - _LARGEST if value >= _LARGEST // 2 else value
    raise ValueError("a number is written as a text")


def _double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _named(kind: str) -> Callable[[Any], str]:
    names = _NAMES[kind]

    def name(number: int) -> str:
        if not 0 <= number < len(names):
            raise ValueError(f"{number} is no {kind}")
        return names[number]

    return name


_PROTOBUF: Final[dict[str, Callable[[Any], Any]]] = {
    "text": lambda value: str(value, "utf-8"),
    "bytes": lambda value: base64.b64encode(value).decode(),
    "id": lambda value: bytes(value).hex(),
    "flag": bool,
    "integer": _integer,
    "fixed": _integer,
    "double": lambda value: _double(struct.unpack("<d", value)[0]),
    "span_kind": _named("span_kind"),
    "status_code": _named("status_code"),
}


def _convert(found: Any, message: str, depth: int, reading: _Reading) -> dict[str, Any]:
    """A message in JSON: names in camel case, 64-bit numbers as texts, ids hexadecimal."""
    reading.enter(depth)
    if not isinstance(found, dict):
        raise ValueError(f"a {message} is no object")
    made: dict[str, Any] = {}
    for field in _MESSAGES[message].values():
        value = found.get(_camel(field.name), found.get(field.name))
        if value is None:
            continue
        if field.many and not isinstance(value, list):
            raise ValueError(f"{field.name} is no list")
        for one in value if field.many else [value]:
            reading.count()
            inner = (
                _convert(one, field.kind, depth + 1, reading)
                if field.kind in _MESSAGES
                else _from_json(field.kind, one)
            )
            _keep(made, field, inner)
    return made


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _from_json(kind: str, value: Any) -> Any:
    if kind in _NAMES and isinstance(value, str):
        short = value.rpartition("SPAN_KIND_" if kind == "span_kind" else "STATUS_CODE_")[2]
        if short not in _NAMES[kind]:
            raise ValueError(f"{value!r} is no {kind}")
        return short
    if kind in _NAMES:
        return _named(kind)(int(value))
    if kind == "id":
        return bytes.fromhex(value).hex()
    if kind in ("integer", "fixed"):
        number = int(value)
        if not -(2**63) <= number < _LARGEST:
            raise ValueError(f"{value!r} has more than 64 bits")
        return number
    if kind == "double":
        return _double(float(value))
    if kind == "flag":
        return bool(value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
