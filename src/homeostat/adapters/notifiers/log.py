"""Alerts as lines of JSON in a file, one for each time an alert opened or was resolved.

A line is on the disk when ``send`` returns. A crash can tear only the last line: readers pass over it and the
next writer removes it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from homeostat.domain.errors import StoreUnavailable
from homeostat.domain.records import Alert


class LogNotifier:
    """Appends to ``path``, whose folder need not exist yet. Safe for many processes and threads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, alert: Alert) -> None:
        """Append one line.

        Raises:
            StoreUnavailable: the disk does not take it; the file is as it was.
        """
        line = msgspec.json.encode(alert) + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                _append(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write an alert to {self._path}: {error.strerror}", remedy="Free some space there"
            ) from error


def read_alerts(path: Path) -> list[Alert]:
    """The alerts in a log, oldest first; the same one comes again when it was sent again or resolved."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [msgspec.json.decode(line, type=Alert) for line in whole.splitlines()]


def _append(descriptor: int, line: bytes) -> None:
    end = _end_of_lines(descriptor)
    os.ftruncate(descriptor, end)
    try:
        written = 0
        while written < len(line):
            written += os.pwrite(descriptor, line[written:], end + written)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, end)
        raise


def _end_of_lines(descriptor: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
