"""The spool on disk: what was written is read, live or later, whatever was torn off or altered."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.engine.tracking.entries import Params, Points, decode
from homeostat.sdk.tracking import recorder, spool
from homeostat.sdk.tracking.spool import Reader, Stream, Writer, streams


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    made = Stream.begin(tmp_path / "spool" / "run1" / "S1")
    yield made
    made.release()


def read_all(reader: Reader, *, whole: bool = False) -> tuple[list[bytes], list[str]]:
    payloads: list[bytes] = []
    lost: list[str] = []
    while True:
        chunk = reader.read(whole=whole)
        if not chunk.frames and not chunk.lost:
            return payloads, lost
        payloads += [one.payload for one in chunk.frames]
        lost += chunk.lost


def test_a_reader_follows_a_writer_over_segments(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT", 100)
    writer, reader = Writer(stream), Reader(stream)
    assert reader.read() == ([], [])
    seen: list[bytes] = []
    for number in range(30):
        assert writer.append([b"a%d" % number, b"b%d" % number]) == 2 * number + 2
        if number % 3 == 0:
            writer.settle()
            seen += read_all(reader)[0]
    writer.close()
    payloads, lost = read_all(reader, whole=True)
    assert seen + payloads == [part for n in range(30) for part in (b"a%d" % n, b"b%d" % n)]
    assert lost == []
    assert len(stream.segments()) > 5
    for after in (0, 1, 17, 59, 60, 99):
        assert len(read_all(Reader(stream, after), whole=True)[0]) == max(60 - after, 0)


def test_what_is_being_written_is_waited_for_and_what_was_torn_is_told(stream: Stream) -> None:
    writer = Writer(stream)
    writer.append([b"one", b"two"])
    segment = stream.segments()[0]
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1])
    reader = Reader(stream)
    assert read_all(reader) == ([b"one"], [])
    segment.write_bytes(whole)
    assert read_all(reader) == ([b"two"], [])
    segment.write_bytes(whole + whole[:10])
    payloads, lost = read_all(reader, whole=True)
    assert payloads == []
    assert lost == [f"{segment}: the last 10 bytes were cut off or are damaged"]
    writer.close()


def test_segments_that_another_sender_removed_are_passed_over(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT", 1)
    writer, reader = Writer(stream), Reader(stream)
    writer.append([b"one"])
    assert read_all(reader)[0] == [b"one"]
    for payload in (b"two", b"three", b"four"):
        writer.append([payload])
    for path in stream.segments()[:3]:
        path.unlink()
    assert read_all(reader)[0] == [b"four"]
    writer.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=4), min_size=1, max_size=8),
    st.integers(1, 200),
    st.data(),
)
def test_any_damage_loses_what_it_touches_and_is_told(
    batches: list[list[bytes]], size: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(spool, "SEGMENT", size)
        stream = Stream.begin(Path(folder) / "run1" / "S1")
        stream.release()
        writer = Writer(stream)
        for batch in batches:
            writer.append(batch)
        writer.close()
        written = [payload for batch in batches for payload in batch]
        assert read_all(Reader(stream), whole=True) == (written, [])
        hit = data.draw(st.sampled_from(stream.segments()))
        content = bytearray(hit.read_bytes())
        first = int(hit.stem)
        inside = len(read_one(stream, hit))
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            del content[at:]
        else:
            content[at] ^= 0xFF
        hit.write_bytes(content)
        payloads, lost = read_all(Reader(stream), whole=True)
        missing = len(written) - len(payloads)
        kept_before, kept_after = written[: first - 1], written[first - 1 + inside :]
        assert payloads[: len(kept_before)] == kept_before
        assert payloads[len(payloads) - len(kept_after) :] == kept_after
        assert missing == 0 or lost or not content or ends_at_a_frame(stream, hit)


def read_one(stream: Stream, segment: Path) -> list[bytes]:
    from homeostat.engine.tracking.frames import scan

    return [one.payload for one in scan(stream.name, segment.read_bytes()).frames]


def ends_at_a_frame(stream: Stream, segment: Path) -> bool:
    """A cut between two frames leaves no trace but the numbers, at which the sender looks."""
    from homeostat.engine.tracking.frames import scan

    data = segment.read_bytes()
    return scan(stream.name, data).end == len(data)


def test_a_full_disk_leaves_nothing_half_written(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(stream)
    writer.append([b"one"])
    monkeypatch.setattr(spool.os, "write", _full)
    with pytest.raises(OSError, match="No space"):
        writer.append([b"two"])
    monkeypatch.undo()
    assert writer.append([b"three"]) == 2
    writer.close()
    assert read_all(Reader(stream), whole=True) == ([b"one", b"three"], [])


def test_what_a_full_disk_leaves_no_room_for_are_points_alone_and_it_is_told(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder, "_MOST_WAITING", 10)
    monkeypatch.setattr(recorder, "_RETRY", 0.01)
    writer, works, tried = Writer(stream), threading.Event(), threading.Semaphore(0)
    append = writer.append

    def full(payloads: list[bytes]) -> int:
        tried.release()
        if not works.is_set():
            raise OSError(28, "No space left on device")
        return append(payloads)

    monkeypatch.setattr(writer, "append", full)
    made = recorder.Recorder(writer)
    made.start()
    made.put(({"loss": 0.0}, 0, 1))
    made.wake()
    assert tried.acquire(timeout=60)
    made.put(Params(values={"lr": "0.1"}))
    for step in range(1, 31):
        made.put(({"loss": 0.5}, step, 1))
    for _ in range(3):  # the second attempt from here comes after there was made room
        assert tried.acquire(timeout=60)
    assert "lost" not in caplog.text
    works.set()
    assert made.flush(60)
    made.stop()
    writer.close()
    entries = [decode(payload) for payload in read_all(Reader(stream), whole=True)[0]]
    assert [one.values for one in entries if isinstance(one, Params)] == [{"lr": "0.1"}]
    points = [one for one in entries if isinstance(one, Points)]
    steps = [row[3] for one in points for row in struct.iter_unpack("<Hdqq", one.rows)]
    lost = 31 - len(steps)
    assert lost in (21, 22)  # what asks for the flush may take a place as well
    assert steps == [0, *range(1 + lost, 31)]
    assert f"the oldest {lost} calls with metrics are lost" in caplog.text


_write = os.write


def _full(file: int, data: bytes) -> int:
    """Takes five bytes, then no more."""
    if len(data) > 10:
        return _write(file, bytes(data[:5]))
    raise OSError(28, "No space left on device")


def test_one_process_holds_a_stream_until_it_ends(stream: Stream) -> None:
    stream.release()
    code = (
        "import sys; from pathlib import Path; from homeostat.sdk.tracking.spool import Stream\n"
        "stream = Stream(Path(sys.argv[1])); print(stream.hold(), flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(stream.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert not stream.hold()
    assert stream.holder() == str(holder.pid)
    holder.kill()
    holder.communicate()
    assert stream.hold()
    assert stream.holder() == str(os.getpid())
    stream.release()


def test_streams_are_found_in_order_and_removed(tmp_path: Path) -> None:
    for name in ("r2/B", "r1/D", "r1/C"):
        Stream.begin(tmp_path / "spool" / name).release()
    (tmp_path / "spool" / "stray").write_text("")
    (tmp_path / "spool" / "r2" / ".hidden").mkdir()
    found = list(streams(tmp_path / "spool"))
    assert [(one.run, one.name) for one in found] == [("r1", "C"), ("r1", "D"), ("r2", "B")]
    found[0].remove()
    assert (tmp_path / "spool" / "r1").is_dir()
    found[1].remove()
    assert not (tmp_path / "spool" / "r1").exists()
    assert list(streams(tmp_path / "none")) == []
