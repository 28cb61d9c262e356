"""Files on their way to the artifacts: small ones in a frame of the spool, others as a copy beside it."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

from homeostat.engine.tracking import entries
from homeostat.sdk.tracking.spool import Stream

File = bytes | Path

_IN_FRAME: Final = 64 << 10
_CLONE: Final = 0x40049409  # FICLONE of Linux: a copy that shares its blocks until one of the two changes


def kept(stream: Stream, path: str, content: File) -> entries.File:
    """The entry for a file, whose bytes are copied before this returns.

    Args:
        stream: The stream that the entry goes to.
        path: Where it goes among the artifacts.
        content: Its bytes, or the file that holds them. Bytes that the disk does not take now go into the frame, which
            waits in memory.

    Raises:
        OSError: the disk does not take the copy of a file.
    """
    if isinstance(content, bytes) and len(content) <= _IN_FRAME:
        return entries.File(path=path, size=len(content), data=content)
    name = uuid.uuid4().hex
    target = stream.files / name
    try:
        _write(target, content)
    except OSError:
        target.unlink(missing_ok=True)
        if isinstance(content, Path):
            raise
        return entries.File(path=path, size=len(content), data=content)
    return entries.File(path=path, size=target.stat().st_size, name=name)


def _write(target: Path, content: File) -> None:
    with target.open("xb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            _copy(content, target)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: Path, target: Path) -> None:
    with (
        source.open("rb") as read,
        target.open("r+b") as write,
        suppress(OSError),
    ):  # not on this kind of disk
        fcntl.ioctl(write.fileno(), _CLONE, read.fileno())
        return
    shutil.copyfile(source, target)
