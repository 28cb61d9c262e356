"""Frames: whatever is cut off or altered, the rest is read, and what is missing shows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.frames import LARGEST, MAGIC, frame, missing, scan

STREAM = "01J0000000000000000000000A"
# Also what looks like the beginning of a frame.
payloads = st.lists(
    st.binary(max_size=40) | st.binary(max_size=20).map(lambda rest: MAGIC + rest), min_size=1, max_size=8
)


def joined(parts: list[bytes], stream: str = STREAM) -> bytes:
    return b"".join(frame(stream, number, part) for number, part in enumerate(parts, 1))


@settings(deadline=None)
@given(payloads)
def test_what_was_written_is_read(parts: list[bytes]) -> None:
    data = joined(parts)
    found = scan(STREAM, data)
    assert [one.payload for one in found.frames] == parts
    assert [one.seq for one in found.frames] == list(range(1, len(parts) + 1))
    assert (found.damage, found.end) == ([], len(data))


@settings(deadline=None)
@given(payloads, st.data())
def test_any_truncation_loses_the_tail_alone(parts: list[bytes], data: st.DataObject) -> None:
    whole = joined(parts)
    cut = data.draw(st.integers(0, len(whole)))
    found = scan(STREAM, whole[:cut])
    complete = [one for one in scan(STREAM, whole).frames if one.end <= cut]
    assert found.frames == complete
    assert found.damage == []
    assert found.end == (complete[-1].end if complete else 0)


@settings(deadline=None)
@given(payloads, st.data())
def test_any_altered_byte_loses_one_frame_and_shows(parts: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(joined(parts))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    hit = next(one for one in scan(STREAM, joined(parts)).frames if at < one.end)
    found = scan(STREAM, bytes(whole))
    assert [one.payload for one in found.frames] == parts[: hit.seq - 1] + parts[hit.seq :]
    if hit.seq == len(parts):
        assert found.end < len(whole)
    else:
        assert len(found.damage) == 1
        assert found.damage[0].start <= at < found.damage[0].end == hit.end
        assert missing((one.seq for one in found.frames), 0) == [(hit.seq, hit.seq)]


@settings(deadline=None)
@given(payloads, st.binary(max_size=60), st.integers(0, 8))
def test_bytes_between_frames_are_passed_over(parts: list[bytes], junk: bytes, place: int) -> None:
    frames = [frame(STREAM, number, part) for number, part in enumerate(parts, 1)]
    frames.insert(min(place, len(parts)), junk)
    assert [one.payload for one in scan(STREAM, b"".join(frames)).frames] == parts


def test_frames_of_another_stream_and_old_ones_are_none() -> None:
    mine = frame(STREAM, 5, b"mine")
    others = frame("another", 6, b"theirs")
    inside = frame(STREAM, 6, b"<" + others + mine + b">")
    found = scan(STREAM, mine + others + inside + mine)
    assert [one.seq for one in found.frames] == [5, 6]
    assert found.end == len(mine + others + inside)
    torn = scan(STREAM, mine + inside[:-1] + frame(STREAM, 7, b"next"), after=4)
    assert [one.seq for one in torn.frames] == [5, 7]


def test_what_is_left_out() -> None:
    assert missing([3, 4, 8], 0) == [(1, 2), (5, 7)]
    assert missing([1, 2], 0) == []
    assert missing([], 9) == []


def test_a_frame_has_a_largest_size() -> None:
    with pytest.raises(BadRequest, match="larger"):
        frame(STREAM, 1, bytes(LARGEST + 1))
