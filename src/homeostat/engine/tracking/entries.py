"""What the frames of a spool hold: everything that can be said about a run, each as a message of its own.

Messages are msgpack maps with a ``type``; a field that is added later has a default, so that older spools read on.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.frames import LARGEST

# Milliseconds since 1970, up to the year 9999.
Moment = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
Outcome = Literal["succeeded", "failed", "cancelled"]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all."""


class Began(_Entry, frozen=True, kw_only=True, tag="began"):
    """A process begins to write to the run, which is made when it is not there.

    Args:
        experiment: The name of its experiment, where the run is new.
        name: The run's name; empty leaves it as it is.
        actor: Who runs it.
        at: When.
        tags: Its first tags.
        join: Another process has the run; this one adds to it and neither begins nor ends it.
    """

    experiment: str
    name: str = ""
    actor: str = ""
    at: Moment
    tags: dict[str, str] = {}
    join: bool = False


class Points(_Entry, frozen=True, kw_only=True, tag="points"):
    """Points of metrics, in the rows of ``homeostat.engine.tracking.points``: their key is a number in ``keys``."""

    keys: list[str]
    rows: bytes


class Params(_Entry, frozen=True, kw_only=True, tag="params"):
    """Parameters, as texts."""

    values: dict[str, str]


class Tags(_Entry, frozen=True, kw_only=True, tag="tags"):
    """Tags; None removes one."""

    values: dict[str, str | None]


class Input(_Entry, frozen=True, kw_only=True, tag="input"):
    """A dataset that the run reads."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: dict[str, str] = {}


class File(_Entry, frozen=True, kw_only=True, tag="file"):
    """A file among the run's artifacts, at ``path``: its bytes are ``data``, or lie beside the spool as ``name``."""

    path: str
    size: int
    data: bytes = b""
    name: str = ""


class Ended(_Entry, frozen=True, kw_only=True, tag="ended"):
    """The run ended."""

    state: Outcome
    at: Moment
    error: str = ""


Entry = Began | Points | Params | Tags | Input | File | Ended

_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(Entry)


def holds(payload: bytes, kind: type[Entry]) -> bool:
    """Whether a payload holds an entry of a kind, told by its first bytes."""
    tag = str(kind.__struct_config__.tag).encode()
    return payload[1 : 7 + len(tag)] == b"\xa4type" + bytes([0xA0 + len(tag)]) + tag


def encode(entry: Entry) -> bytes:
    """An entry as the payload of a frame."""
    return _encode(entry)


def encoded(entry: Entry) -> list[bytes]:
    """An entry as the payloads of frames: of very many parameters or tags several.

    Raises:
        BadRequest: it is larger than a frame can be, and cannot be parted.
    """
    payload = encode(entry)
    if len(payload) <= LARGEST:
        return [payload]
    if not isinstance(entry, Params | Tags) or len(entry.values) < 2:
        raise BadRequest(
            f"{type(entry).__name__.lower()} of {len(payload):,} bytes are more than {LARGEST:,}",
            remedy="Keep what is large in a file: run.keep(path, content)",
        )
    values = list(entry.values.items())
    parts = values[: len(values) // 2], values[len(values) // 2 :]
    return [
        payload for part in parts for payload in encoded(msgspec.structs.replace(entry, values=dict(part)))
    ]


def decode(payload: bytes) -> Entry:
    """The entry in a payload.

    Raises:
        BadRequest: it is none that this version knows.
    """
    try:
        found: Entry = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise BadRequest(f"a record of the spool cannot be read: {error}") from error
    return found
