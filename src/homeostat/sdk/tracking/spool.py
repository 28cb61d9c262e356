"""The spool: what a run logs is on this machine's disk before anything else happens to it.

``<spool>/<run>/<stream>/`` is what one process wrote to one run: segments of frames, each named by the number of its
first frame, ``files/`` for what is too large for a frame, ``beside/`` for what was captured, of which the last state
counts, and ``lock``, which the writing process holds for as long as it lives, and whoever sends what it left behind.
Segments are only ever appended to. A segment that was sent is removed a while later, since a server that loses its
power may forget its last second.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, NamedTuple

from homeostat.adapters.clock import SystemClock
from homeostat.engine.tracking.frames import Frame, frame, scan

SEGMENT: Final = 8 << 20  # a segment that is larger is not appended to
KEPT: Final = 60.0  # seconds for which what was sent is kept
_SUFFIX: Final = ".wal"
_DIGITS: Final = 20
_TRIES: Final = 10


class Stream:
    """The folder of one stream."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run, self.name = folder.parent.name, folder.name
        self._held: IO[bytes] | None = None

    @property
    def files(self) -> Path:
        """The folder of files that frames name."""
        return self.folder / "files"

    @property
    def beside(self) -> Path:
        """The folder of what was captured."""
        return self.folder / "beside"

    @classmethod
    def begin(cls, folder: Path) -> Stream:
        """Make the folder, with its lock taken. Nobody else sees it before, and it outlasts a loss of power."""
        hidden = folder.with_name(f".{folder.name}")
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):  # the run's folder was removed with its last stream meanwhile
                hidden.mkdir(parents=True)
                break
        made = cls(hidden)
        made.files.mkdir()
        made.beside.mkdir()
        made.hold()
        hidden.rename(folder)
        made.folder, made.name = folder, folder.name
        for path in (folder, folder.parent, folder.parent.parent):
            _settle(path)
        return made

    def segments(self) -> list[Path]:
        """Every segment, the oldest first."""
        return sorted(path for path in self.folder.iterdir() if path.suffix == _SUFFIX)

    def segment(self, first: int) -> Path:
        """The segment whose first frame has this number."""
        return self.folder / f"{first:0{_DIGITS}}{_SUFFIX}"

    def hold(self) -> bool:
        """Take the lock, until ``release`` or the end of this process; False when another process has it."""
        file = (self.folder / "lock").open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        self._held = file
        return True

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self._held is not None

    def release(self) -> None:
        """Let go of the lock. In a forked child this leaves the parent's alone."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def holder(self) -> str:
        """The process that took the lock last."""
        with suppress(FileNotFoundError):
            return (self.folder / "lock").read_text("ascii")
        return ""

    @property
    def sent(self) -> Path:
        """Is there once everything was taken by a server; says when."""
        return self.folder / "sent"

    def remove(self) -> None:
        """Remove everything, and the run's folder with its last stream; somebody else may do so too."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # another stream of the run is there
            self.folder.parent.rmdir()


def streams(spool: Path) -> Iterator[Stream]:
    """The streams in a spool folder, those of a run in the order in which they began."""
    for run in sorted(spool.iterdir()) if spool.is_dir() else ():
        for folder in sorted(run.iterdir()) if run.is_dir() else ():
            if folder.is_dir() and not folder.name.startswith("."):
                yield Stream(folder)


class Sent(NamedTuple):
    """Streams that were sent a while ago, what they take on the disk, and how many were not sent yet."""

    streams: int
    bytes: int
    waiting: int


def tidy(spool: Path, *, remove: bool = True) -> Sent:
    """Remove the streams that were sent a while ago, or only count them."""
    now = SystemClock().wall().timestamp()
    removed = size = waiting = 0
    for stream in streams(spool):
        try:
            if now - stream.sent.stat().st_mtime <= KEPT:
                continue
        except FileNotFoundError:
            waiting += stream.folder.exists()
            continue
        with suppress(FileNotFoundError):  # somebody else removes it as well
            size += sum(path.stat().st_size for path in stream.folder.rglob("*") if path.is_file())
        removed += 1
        if remove:
            stream.remove()
    return Sent(removed, size, waiting)


class Writer:
    """Appends payloads to a stream, whose lock the caller holds.

    Args:
        stream: Where to.
        after: The number of the last frame there is.
    """

    def __init__(self, stream: Stream, after: int = 0) -> None:
        self.last = after
        self._stream = stream
        self._file = -1
        self._size = 0
        self._dirty = False
        self._open = threading.Lock()

    def append(self, payloads: Sequence[bytes]) -> int:
        """Write one frame for each payload; returns the last one's number. What is written outlives this process.

        Raises:
            OSError: the disk takes nothing more; then nothing was added.
        """
        if self._file < 0 or self._size >= SEGMENT:
            self._begin()
        numbered = enumerate(payloads, self.last + 1)
        data = b"".join(frame(self._stream.name, number, payload) for number, payload in numbered)
        try:
            _write(self._file, data)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)
        self.last += len(payloads)
        self._dirty = True
        return self.last

    def settle(self) -> None:
        """Bring what was written to the disk itself: it outlives a loss of power. Another thread may write on."""
        with self._open:
            if not self._dirty:
                return
            self._dirty = False
            file = os.dup(self._file)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def close(self) -> None:
        """Give back the file."""
        with self._open:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _begin(self) -> None:
        self.settle()
        self.close()
        path = self._stream.segment(self.last + 1)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
        _settle(self._stream.folder)


class Chunk(NamedTuple):
    """Frames in order, and what had to be left out before or between them, in words."""

    frames: list[Frame]
    lost: list[str]


class Reader:
    """Reads a stream from the front while it may still be written.

    Args:
        stream: What to read.
        after: The number of the last frame that is not wanted.
    """

    def __init__(self, stream: Stream, after: int = 0) -> None:
        self._stream = stream
        self._after = after
        self._segment: Path | None = None
        self._offset = 0

    def read(self, *, whole: bool = False) -> Chunk:
        """What comes next, a segment at most; no frame and no loss: that is all for now.

        Args:
            whole: Nobody writes any more, so what is cut off at the end is lost.
        """
        while True:
            segments = self._stream.segments()  # before reading: one with another after it is complete
            current = self._current(segments)
            if current is None:
                return Chunk([], [])
            complete = whole or current != segments[-1]
            with suppress(FileNotFoundError):  # whoever sends the same stream removed what it had sent
                chunk = self._scan(current, complete)
                if chunk.frames or chunk.lost:
                    return chunk
            if not complete or current == segments[-1]:
                return Chunk([], [])
            self._segment, self._offset = segments[segments.index(current) + 1], 0

    def _current(self, segments: list[Path]) -> Path | None:
        """The segment to read on in: the one at hand, else the last one that may hold the next frame."""
        if self._segment is None or self._segment not in segments:
            begun = [path for path in segments if int(path.stem) <= self._after + 1]
            self._segment, self._offset = (begun or segments)[-1 if begun else 0] if segments else None, 0
        return self._segment

    def _scan(self, segment: Path, complete: bool) -> Chunk:
        with segment.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        found = scan(self._stream.name, data)
        lost = [
            f"{segment}: bytes {self._offset + start} to {self._offset + end} are damaged"
            for start, end in found.damage
        ]
        end = found.end
        if complete and end < len(data):
            lost.append(f"{segment}: the last {len(data) - end} bytes were cut off or are damaged")
            end = len(data)
        self._offset += end
        frames = [one for one in found.frames if one.seq > self._after]
        if frames:
            self._after = frames[-1].seq
        return Chunk(frames, lost)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _settle(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
