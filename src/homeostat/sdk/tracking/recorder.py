"""From memory to the spool: the caller appends to a deque, a thread writes what it finds there.

The thread writes as soon as something comes after a pause, and then every ``_PAUSE`` seconds. So what was logged is in
the page cache, where it outlives the process, about that much later, as long as the interpreter lets threads run.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from homeostat.adapters.clock import SystemClock
from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.entries import Entry, Points, encode, encoded
from homeostat.sdk.tracking.spool import Writer

# What a caller logged: values by key, the step, milliseconds since 1970.
Logged = tuple[Mapping[str, float], int, int]

_PAUSE: Final = 0.01
_IDLE: Final = 1.0
_RETRY: Final = 1.0
_MOST_POINTS: Final = 100_000  # of a frame
_MOST_KEYS: Final = 65_536  # of a frame: their numbers are of 16 bits
_MOST_WAITING: Final = 2_000_000  # while the disk takes nothing
_pack: Final = struct.Struct("<Hdqq").pack

_log = logging.getLogger("homeostat")


class Recorder:
    """Writes what is put to it, in order, by a thread of its own.

    Args:
        writer: Where to.
        wrote: Called after each write.
    """

    def __init__(self, writer: Writer, wrote: Callable[[], None] = lambda: None) -> None:
        self._writer = writer
        self._wrote = wrote
        self._waiting: deque[Logged | Entry | threading.Event] = deque()
        self._clock = SystemClock()
        self.idle = False  # the thread sleeps until it is woken
        self._stopping = False
        self._wake = threading.Event()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="homeostat-spool", daemon=True)
        self.put = self._waiting.append

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Wake the thread; to be called after ``put`` where it is ``idle``."""
        self._wake.set()

    def flush(self, within: float) -> bool:
        """Wait until everything that was put is written; False when that takes longer than ``within`` seconds."""
        written = threading.Event()
        self.put(written)
        self._wake.set()
        return written.wait(within)

    def stop(self) -> None:
        """Write what is there and end the thread. A disk that takes nothing is not waited for."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            if self._waiting:
                self._drain()
                if not self._stopping:
                    self._clock.sleep(_PAUSE)
                continue
            if self._stopping:
                return
            self.idle = True
            if not self._waiting:  # looked at again, since nobody wakes a thread that was not idle yet
                self._wake.wait(_IDLE)
            self.idle = False
            self._wake.clear()

    def _drain(self) -> None:
        taken: list[Logged | Entry] = []
        written: list[threading.Event] = []
        for _ in range(min(len(self._waiting), _MOST_POINTS)):
            item = self._waiting.popleft()
            if isinstance(item, threading.Event):
                written.append(item)
            else:
                taken.append(item)
        payloads = self._payloads(taken)
        while payloads:
            try:
                self._writer.append(payloads)
            except OSError as error:
                if not self._held_up(error):
                    return
            else:
                self._wrote()
                self._tell_dropped()
                break
        for event in written:
            event.set()

    def _held_up(self, error: OSError) -> bool:
        """Wait for a disk that takes nothing; False when it is not to be waited for any longer."""
        _log.warning("%s: what is logged waits in memory and is tried again", error)
        self._wake.clear()
        self._wake.wait(_RETRY)
        self._make_room()
        if self._stopping:
            lost = len(self._waiting) + self._dropped
            _log.error("the spool cannot be written: %d records and those of the last moment are lost", lost)
            self._waiting.clear()
        return not self._stopping

    def _make_room(self) -> None:
        """Drop the oldest points. All else, such as parameters, is little, and stays where it is."""
        kept: list[Entry | threading.Event] = []
        while self._waiting and len(self._waiting) + len(kept) > _MOST_WAITING:
            item = self._waiting.popleft()
            if isinstance(item, tuple):
                self._dropped += 1
            else:
                kept.append(item)
        self._waiting.extendleft(reversed(kept))

    def _tell_dropped(self) -> None:
        if self._dropped:
            _log.warning(
                "the oldest %d calls with metrics are lost: the spool could not be written for too long",
                self._dropped,
            )
            self._dropped = 0

    def _payloads(self, taken: list[Logged | Entry]) -> list[bytes]:
        """Frames' payloads in order; points that follow each other share them."""
        payloads: list[bytes] = []
        rows: list[bytes] = []
        number: dict[str, int] = {}

        def close() -> None:
            if rows:
                payloads.append(encode(Points(keys=list(number), rows=b"".join(rows))))
                rows.clear()
                number.clear()

        for item in taken:
            if not isinstance(item, tuple):
                close()
                try:
                    payloads += encoded(item)
                except BadRequest as error:
                    _log.error("left out of the run: %s", error)
                continue
            values, step, timestamp = item
            if len(rows) + len(values) > _MOST_POINTS or len(number) + len(values) > _MOST_KEYS:
                close()
            for key, value in values.items():
                try:
                    row = _pack(number.setdefault(key, len(number)), value, timestamp, step)
                except (OverflowError, struct.error):
                    _log.warning(
                        "%s=%r at step %d does not fit into 64 bits and is left out", key, value, step
                    )
                    continue
                rows.append(row)
        close()
        return payloads
