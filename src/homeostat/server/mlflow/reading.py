"""Reading the messages of requests as protobuf's JSON mapping does, and saying what is wrong as MLflow does.

Unknown fields are left aside, null is a field that is not there, numbers may come as texts, NaN and the infinities
must. The stock client needs none of this leniency but the last; what it sends is decoded in one pass.
"""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qs

import msgspec

from homeostat.domain.errors import BadRequest

M = TypeVar("M", bound=msgspec.Struct)

Named = Annotated[str, msgspec.Meta(min_length=1)]
"""A text that must be there; given without a default, its absence is told as MLflow tells it."""
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]

_MISSING: Final = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_STEP: Final = re.compile(r"\[(\d+)\]|\.([^.\[]+)")
_SEE: Final = " See the API docs for more information about request parameters."
_SHOWN: Final = 500
# Of the last: what is nested a thousand deep.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Reader(Generic[M]):
    """Makes messages of one kind from requests.

    Args:
        kind: The message.
    """

    def __init__(self, kind: type[M]) -> None:
        self._kind = kind
        # Not strict: int64 is a text in protobuf's JSON.
        self._decode = msgspec.json.Decoder(kind, strict=False).decode
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        self._of_run = "run_id" in fields and (fields["run_id"].required or "run_uuid" in fields)
        self._repeated = {name for name, field in fields.items() if _is_list(field.type)}

    def body(self, body: bytes, fields: dict[str, str]) -> M:
        """The message of a JSON body, and of the path's ``fields``.

        Raises:
            BadRequest: it does not fit; names the field.
        """
        try:
            if body and not fields:
                return self._decode(body)
        except msgspec.ValidationError:
            pass  # read once more, slowly: leniently, and for the message
        except _UNREADABLE as error:
            raise _no_json(error) from error
        try:
            found = msgspec.json.decode(body or b"{}")
            if isinstance(found, str):  # old clients encode twice
                found = msgspec.json.decode(found)
            found = _without_nulls(found)
        except _UNREADABLE as error:
            raise _no_json(error) from error
        return self._convert(found | fields if isinstance(found, dict) else found)

    def query(self, query: str, fields: dict[str, str]) -> M:
        """The message of a query, and of the path's ``fields``.

        Raises:
            BadRequest: it does not fit; names the field.
        """
        try:
            found = parse_qs(query, keep_blank_values=True, errors="strict")
        except (UnicodeDecodeError, ValueError) as error:
            raise BadRequest(f"Bad Request. The query cannot be read: {error}") from error
        given = {name: values if name in self._repeated else values[0] for name, values in found.items()}
        return self._convert(given | fields)

    def _convert(self, found: Any) -> M:
        try:
            return msgspec.convert(found, self._kind, strict=False)
        except msgspec.ValidationError as error:
            # MLflow asks of which run before it looks at what is in a list.
            if (
                self._of_run
                and isinstance(found, dict)
                and not (found.get("run_id") or found.get("run_uuid"))
            ):
                raise missing("run_id") from error
            raise _refusal(str(error), found) from error


def missing(name: str) -> BadRequest:
    """The error of a parameter that should be there."""
    return BadRequest(f"Missing value for required parameter '{name}'.{_SEE}", field=name)


def invalid(name: str, value: Any, why: str) -> BadRequest:
    """The error of a parameter that cannot be what it is."""
    shown = msgspec.json.encode(value).decode()
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return BadRequest(f"Invalid value {shown} for parameter '{name}' supplied: {why}.{_SEE}", field=name)


def _no_json(error: Exception) -> BadRequest:
    return BadRequest(f"Bad Request. The body is no JSON: {error}")


def _refusal(text: str, found: Any) -> BadRequest:
    """What msgspec says of a message that it does not take, in MLflow's words."""
    what, _, where = text.partition(" - at `$")
    path = where.rstrip("`")
    name = path.removeprefix(".")
    lacking = _MISSING.match(what)
    if lacking is not None:
        return missing(f"{name}.{lacking['name']}".removeprefix("."))
    value = _at(found, path)
    if value in ("", []) and "length" in what:
        return missing(name)
    return invalid(name or "(body)", value, f"{what}. Hint: Value was of type '{type(value).__name__}'")


def _at(found: Any, path: str) -> Any:
    """What lies at a path as msgspec writes it; the last thing on the way where it cannot be followed."""
    for number, name in _STEP.findall(path):
        try:
            found = found[int(number)] if number else found[name]
        except (KeyError, IndexError, TypeError):
            break
    return found


def _without_nulls(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _without_nulls(value) for name, value in found.items() if value is not None}
    if isinstance(found, list):
        return [_without_nulls(value) for value in found]
    return found


def _is_list(kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Annotated or origin in (Union, UnionType):
        return any(map(_is_list, get_args(kind)))
    return (origin or kind) in (list, tuple)


class OfRun(Protocol):
    """A message that names a run, by a name of today or of MLflow's first clients."""

    @property
    def run_id(self) -> str: ...

    @property
    def run_uuid(self) -> str: ...


def run_of(asked: OfRun) -> str:
    """The run that a message names.

    Raises:
        BadRequest: it names none.
    """
    if not (found := asked.run_id or asked.run_uuid):
        raise missing("run_id")
    return found
