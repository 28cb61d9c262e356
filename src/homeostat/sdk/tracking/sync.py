"""Sending what is left in a spool: of runs that ended without a server, and of processes that died.

Any number of processes may do this at once, on the same folder too: each stream is sent by the one that has its lock,
and where the file system has no locks, the server counts each frame once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from homeostat.domain.errors import HomeostatError, StoreUnavailable
from homeostat.engine.tracking.entries import Ended, encode, holds
from homeostat.sdk.tracking.sending import Sender, Taker
from homeostat.sdk.tracking.spool import Reader, Stream, Writer, streams, tidy

_WITHOUT_A_WORD: Final = "its process ended without a word"


class Synced(msgspec.Struct, frozen=True):
    """What became of one stream.

    Args:
        run: The run's id.
        stream: The stream's name.
        state: ``sent``; ``busy``: its process runs and sends it, or another one does; ``failed``: it was refused.
        frames: How many frames were sent now.
        problems: What was lost or refused, in words.
    """

    run: str
    stream: str
    state: Literal["sent", "busy", "failed"]
    frames: int = 0
    problems: list[str] = []


def sync(
    spool: Path, taker: Taker, *, progress: Callable[[Stream, int], None] = lambda stream, frames: None
) -> list[Synced]:
    """Send every stream in a spool folder that nobody writes.

    Args:
        spool: The folder; one that is not there holds nothing.
        taker: Whom to.
        progress: Told of the stream at hand and the frames of it that were sent.

    Raises:
        StoreUnavailable: nobody answers; what was sent until then stays sent.
    """
    tidy(spool)
    done = []
    for stream in streams(spool):
        if stream.sent.exists():
            continue
        if not stream.hold():
            problem = f"process {stream.holder()} has it and sends it itself"
            done.append(Synced(stream.run, stream.name, "busy", problems=[problem]))
        else:
            try:
                done.append(_send(stream, taker, progress))
            finally:
                stream.release()
    return done


def _send(stream: Stream, taker: Taker, progress: Callable[[Stream, int], None]) -> Synced:
    _end(stream)
    sender = Sender(stream, taker)
    progress(stream, 0)
    try:
        while sender.step(whole=True):
            progress(stream, sender.frames)
        sender.attach()
    except StoreUnavailable:
        raise
    except HomeostatError as error:
        return Synced(stream.run, stream.name, "failed", sender.frames, [*sender.problems, str(error)])
    stream.sent.touch()
    return Synced(stream.run, stream.name, "sent", sender.frames, sender.problems)


def _end(stream: Stream) -> None:
    """Say for a process that died that its run failed, at the time of its last word."""
    reader = Reader(stream)
    last, ended = 0, False
    while (chunk := reader.read(whole=True)).frames or chunk.lost:
        if chunk.frames:
            last = chunk.frames[-1].seq
            ended |= any(holds(one.payload, Ended) for one in chunk.frames)
    segments = stream.segments()
    if ended or not segments:
        return
    at = int(segments[-1].stat().st_mtime * 1000)
    writer = Writer(stream, last)
    writer.append([encode(Ended(state="failed", at=at, error=_WITHOUT_A_WORD))])
    writer.settle()
    writer.close()
