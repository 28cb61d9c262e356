"""From the spool to a server, each frame once.

The server keeps the number of the last frame that it took of a stream in the same transaction as what the frame says.
A sender asks for it, reads on from there, and asks again after every failure; so it does not matter who sends, how
often, or what died in between. Files go first, by their path, which changes nothing when it is done twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

import msgspec

from homeostat.adapters.clock import SystemClock
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.engine.tracking.entries import File, decode, encode, holds
from homeostat.engine.tracking.frames import Frame, frame, missing
from homeostat.sdk.tracking.spool import KEPT, Reader, Stream

_MOST: Final = 4 << 20  # bytes of frames in one request


class Refusal(msgspec.Struct, frozen=True):
    """A frame that the server took note of and could not apply, and why."""

    seq: int
    reason: str


class Taken(msgspec.Struct, frozen=True):
    """How far the server has come with a stream."""

    seq: int
    refused: list[Refusal] = []


class Taker(Protocol):
    """Who takes what a stream says: a server, or a store."""

    def position(self, run: str, stream: str) -> int:
        """The number of the last frame that was taken; 0 before the first."""

    def take(self, run: str, stream: str, after: int, frames: bytes) -> Taken:
        """Take the frames that follow ``after``.

        Raises:
            Conflict: it has not come as far as ``after``.
            StoreUnavailable: nobody answers.
        """

    def put(self, run: str, path: str, content: bytes | Path) -> None:
        """Store a file among the run's artifacts, in place of one that is there."""

    def close(self) -> None:
        """Give back what it holds."""


class Sender:
    """Sends one stream, whose lock the caller holds.

    Args:
        stream: What to send.
        taker: Whom to.
    """

    def __init__(self, stream: Stream, taker: Taker) -> None:
        self.frames = 0  # sent by this sender
        self.position = 0  # the last that was taken
        self.problems: list[str] = []  # what was lost or refused, in words
        self._stream = stream
        self._taker = taker
        self._reader: Reader | None = None
        self._stepped_back = False
        self._uploaded: set[int] = set()
        self._attached: dict[str, int] = {}
        self._clock = SystemClock()
        self._spent: list[tuple[float, Path]] = []

    def step(self, *, whole: bool = False) -> bool:
        """Send what comes next; False when there is nothing more for now.

        Args:
            whole: Nobody writes to the stream any more.

        Raises:
            StoreUnavailable: nobody answers; the next step begins where the server stands.
            HomeostatError: the server refused a request as such.
        """
        reader = self._reader or self._begin()
        self._reader = None  # until the step is over: a failure begins anew
        frames, lost = reader.read(whole=whole)
        self._note(*lost)
        for group in _groups(frames):
            if not self._send(group):
                return True
        self._reader = reader
        self._forget()
        return bool(frames or lost)

    def attach(self) -> None:
        """Send what was captured beside the stream, each file as it is now, unless it was sent so.

        Raises:
            StoreUnavailable: nobody answers.
        """
        for path in sorted(self._stream.beside.iterdir()):
            if not path.name.startswith("."):
                changed = path.stat().st_mtime_ns
                if self._attached.get(path.name) != changed:
                    self._put(f"captured/{self._stream.name}/{path.name}", path)
                    self._attached[path.name] = changed

    def reach(self) -> None:
        """See whether anybody answers.

        Raises:
            StoreUnavailable: nobody does.
        """
        self._taker.position(self._stream.run, self._stream.name)

    def _begin(self) -> Reader:
        self.position = self._taker.position(self._stream.run, self._stream.name)
        return Reader(self._stream, self.position)

    def _send(self, frames: list[Frame]) -> bool:
        """Send frames, their files first; False when the server stands elsewhere than it said."""
        stream = self._stream
        for first, last in missing((one.seq for one in frames), self.position):
            self._note(f"run/{stream.run}: records {first} to {last} of {stream.name} are not in the spool")
        spent, parts = [], []
        for one in frames:
            payload = one.payload
            if holds(payload, File):
                file = decode(payload)
                assert isinstance(file, File)
                spent += self._upload(one.seq, file)
                payload = encode(msgspec.structs.replace(file, data=b""))
            parts.append(frame(stream.name, one.seq, payload))
        try:
            taken = self._taker.take(stream.run, stream.name, self.position, b"".join(parts))
        except Conflict as error:  # it has forgotten what it took, or somebody else sends as well
            if self._stepped_back:
                raise
            self._stepped_back = True
            self._note(f"run/{stream.run}: {error}")
            return False
        self._stepped_back = False
        for refusal in taken.refused:
            self._note(f"run/{stream.run}: record {refusal.seq} was refused: {refusal.reason}")
        self.position = taken.seq
        self.frames += len(frames)
        self._spend(spent)
        return True

    def _upload(self, seq: int, file: File) -> list[Path]:
        """Store the file of a frame; where it lies beside the spool, its path."""
        paths = [self._stream.files / file.name] if file.name else []
        if seq not in self._uploaded:
            self._put(file.path, paths[0] if paths else file.data)
            self._uploaded.add(seq)
        return paths

    def _put(self, path: str, content: bytes | Path) -> None:
        run = self._stream.run
        try:
            self._taker.put(run, path, content)
        except FileNotFoundError:
            self._note(f"run/{run}: {content!s} is gone, so {path} is lost")
        except (BadRequest, NotFound, Conflict) as error:
            self._note(f"run/{run}: {path} was refused: {error}")

    def _spend(self, files: list[Path]) -> None:
        """Note when files, and the segments that are behind, were taken."""
        segments = self._stream.segments()
        behind = [a for a, b in pairwise(segments) if int(b.stem) <= self.position + 1]
        known, now = {path for _, path in self._spent}, self._clock.monotonic()
        self._spent += [(now, path) for path in (*files, *behind) if path not in known]

    def _forget(self) -> None:
        """Remove what was taken a while ago."""
        until = self._clock.monotonic() - KEPT
        while self._spent and self._spent[0][0] < until:
            self._spent.pop(0)[1].unlink(missing_ok=True)

    def _note(self, *problems: str) -> None:
        self.problems += problems


def _groups(frames: list[Frame]) -> Iterator[list[Frame]]:
    """Frames by request. A stream's first, which makes the run, goes alone: files go to a run that is there."""
    group: list[Frame] = []
    size = 0
    for one in frames:
        if group and (group[0].seq == 1 or size + len(one.payload) > _MOST):
            yield group
            group, size = [], 0
        group.append(one)
        size += len(one.payload)
    if group:
        yield group
