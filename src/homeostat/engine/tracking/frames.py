"""The form of a spool: frames one after the other, of which a damaged one is told from the rest.

A frame is a magic of 4 bytes, a CRC-32, the payload's length (uint32), its number in the stream (uint64), all
little-endian, and the payload. The CRC covers length, number and payload, and begins with that of the stream's name,
so that a frame inside another frame's payload is not taken for one. Numbers grow; a number that is left out was lost.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from homeostat.domain.errors import BadRequest

MAGIC: Final = b"hsF1"
LARGEST: Final = 16 << 20
_HEAD: Final = struct.Struct("<4sIIQ")
_BODY: Final = struct.Struct("<IQ")


class Frame(NamedTuple):
    """A whole frame: its number, its payload, and the offset behind it."""

    seq: int
    payload: bytes
    end: int


class Damage(NamedTuple):
    """Bytes between ``start`` and ``end`` that are no frame, with whole frames after them."""

    start: int
    end: int


class Scan(NamedTuple):
    """What was found: frames and damage in order, and where the last whole frame ends.

    What lies behind ``end`` was cut off while it was written, or is still being written.
    """

    frames: list[Frame]
    damage: list[Damage]
    end: int


def frame(stream: str, seq: int, payload: bytes) -> bytes:
    """A payload as a frame.

    Raises:
        BadRequest: the payload is larger than ``LARGEST``.
    """
    if len(payload) > LARGEST:
        raise BadRequest(f"a record of {len(payload):,} bytes is larger than {LARGEST:,}")
    crc = zlib.crc32(payload, zlib.crc32(_BODY.pack(len(payload), seq), _start(stream)))
    return _HEAD.pack(MAGIC, crc, len(payload), seq) + payload


def scan(stream: str, data: bytes, *, after: int = 0) -> Scan:
    """The whole frames in ``data``.

    Args:
        stream: The name of the stream that wrote them.
        data: Bytes that begin with a frame, unless they are damaged.
        after: The number of the frame before; one that is not greater is damage.
    """
    start = _start(stream)
    frames: list[Frame] = []
    damage: list[Damage] = []
    at = end = 0
    while at < len(data):
        found = _whole(start, data, at, after)
        if found is None:
            at = data.find(MAGIC, at + 1)
            if at < 0:
                break
            continue
        if at > end:
            damage.append(Damage(end, at))
        frames.append(found)
        at = end = found.end
        after = found.seq
    return Scan(frames, damage, end)


def missing(numbers: Iterable[int], after: int) -> list[tuple[int, int]]:
    """The ranges, first and last, of what is left out of growing numbers that should begin behind ``after``."""
    gaps = []
    for number in numbers:
        if number > after + 1:
            gaps.append((after + 1, number - 1))
        after = number
    return gaps


def _start(stream: str) -> int:
    return zlib.crc32(stream.encode())


def _whole(start: int, data: bytes, at: int, after: int) -> Frame | None:
    if at + _HEAD.size > len(data):
        return None
    magic, crc, length, seq = _HEAD.unpack_from(data, at)
    begin, end = at + _HEAD.size, at + _HEAD.size + length
    if magic != MAGIC or length > LARGEST or end > len(data) or seq <= after:
        return None
    payload = data[begin:end]
    if zlib.crc32(payload, zlib.crc32(_BODY.pack(length, seq), start)) != crc:
        return None
    return Frame(seq, payload, end)
