"""Spans as they are stored: JSON in which the sender's words stand alone, so that a search for ``value`` finds no type.

A pair of an attribute, ``{"key": "k", "value": {"int_value": 5}}``, is ``["k", "i", 5]``; all else is as in ``spans``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from homeostat.engine.tracking.spans import Span

_LETTERS: Final = {
    "string_value": "s",
    "bool_value": "b",
    "int_value": "i",
    "double_value": "d",
    "array_value": "a",
    "kvlist_value": "m",
    "bytes_value": "x",
}
_NAMES: Final = {letter: name for name, letter in _LETTERS.items()}
_WITH_PAIRS: Final = ("events", "links")  # of a span, beside its own

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[Span]).decode


class _Outline(msgspec.Struct):
    span_id: str
    parent_span_id: str = ""
    attributes: list[list[Any]] = []


_outlines: Final = msgspec.json.Decoder(list[_Outline]).decode


def pack(spans: list[Span]) -> str:
    """Spans as a text to store."""
    return _encode([_each(span, _packed) for span in spans]).decode()


def unpack(text: str) -> list[Span]:
    """The spans of a stored text."""
    return [_each(span, _unpacked) for span in _decode(text)]


def outline(text: str, key: str) -> list[Span]:
    """The spans of a stored text with ids, those of their parents, and one attribute, in a tenth of the time."""
    return [
        {
            "span_id": span.span_id,
            "parent_span_id": span.parent_span_id,
            "attributes": [_unpacked(pair) for pair in span.attributes if pair[0] == key],
        }
        for span in _outlines(text)
    ]


def _each(span: Span, change: Callable[[Any], Any]) -> Span:
    """A span with all its pairs changed."""
    made = _of(span, change)
    for name in _WITH_PAIRS:
        if name in made:
            made[name] = [_of(one, change) for one in made[name]]
    return made


def _of(found: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    if "attributes" not in found:
        return dict(found)
    return found | {"attributes": [change(pair) for pair in found["attributes"]]}


def _packed(pair: dict[str, Any]) -> list[Any]:
    return [pair.get("key", ""), *_packed_value(pair.get("value"))]


def _packed_value(value: dict[str, Any] | None) -> list[Any]:
    if not value:
        return []
    kind, inner = next(iter(value.items()))
    if kind == "array_value":
        inner = [_packed_value(one) for one in inner.get("values", [])]
    elif kind == "kvlist_value":
        inner = [_packed(one) for one in inner.get("values", [])]
    return [_LETTERS[kind], inner]


def _unpacked(pair: list[Any]) -> dict[str, Any]:
    key, *value = pair
    return {"key": key, "value": _unpacked_value(value)}


def _unpacked_value(value: list[Any]) -> dict[str, Any]:
    if not value:
        return {}
    kind, inner = _NAMES[value[0]], value[1]
    if kind == "array_value":
        inner = {"values": [_unpacked_value(one) for one in inner]}
    elif kind == "kvlist_value":
        inner = {"values": [_unpacked(one) for one in inner]}
    return {kind: inner}
