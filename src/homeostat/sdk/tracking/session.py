"""One process's writing to one run: its stream, and the threads that fill and send it.

Three threads: one writes what was logged to the spool, one brings the spool to the disk each second and does what else
is done beside the run, one sends. None of them is waited for while the run goes on, and none keeps the program alive.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from homeostat.adapters.clock import SystemClock
from homeostat.domain.errors import HomeostatError, StoreUnavailable
from homeostat.domain.ids import new_id
from homeostat.engine.tracking.entries import Entry
from homeostat.sdk.tracking.recorder import Recorder
from homeostat.sdk.tracking.sending import Sender, Taker
from homeostat.sdk.tracking.spool import Stream, Writer

Task = Callable[[], None]

_SETTLE: Final = 1.0
_SEND: Final = 0.25
_LONGEST_PAUSE: Final = 30.0
_SHOWN: Final = 5

_log = logging.getLogger("homeostat")


class Session:
    """A stream that is being written.

    Args:
        spool: The folder of all streams.
        run: The run's id.
        connect: Makes the taker; called by the sending thread.
        beside: What is done each second beside the run.
    """

    def __init__(
        self, spool: Path, run: str, connect: Callable[[], Taker], beside: Task = lambda: None
    ) -> None:
        self._clock = SystemClock()
        self.stream = Stream.begin(spool / run / new_id(self._clock.wall()))
        self._connect = connect
        self._beside = beside
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._new = False
        self._closing = False
        self._unreachable = False
        self._progress = self._clock.monotonic()
        self._keeper = threading.Thread(target=self._keep, name="homeostat-keeper", daemon=True)
        self._sending = threading.Thread(target=self._send, name="homeostat-sender", daemon=True)

    def start(self, first: Entry) -> None:
        """Begin, with the stream's first entry."""
        self._writer = Writer(self.stream)
        self.recorder = Recorder(self._writer, self._wrote)
        self.recorder.put(first)
        self.recorder.start()
        self._keeper.start()
        self._sending.start()

    def finish(self, last: Entry | None, within: float) -> bool:
        """End: everything is in the spool, and sent if that takes less than ``within`` seconds without progress.

        Returns:
            Whether a server has it all.
        """
        self._stopped.set()
        self._keeper.join()
        if last is not None:
            self.recorder.put(last)
        self.recorder.stop()
        self._writer.settle()
        self._writer.close()
        self._progress = self._clock.monotonic()
        self._unreachable = False
        self._closing = True
        self._wake.set()
        while self._sending.is_alive() and not self._unreachable:
            if self._clock.monotonic() > self._progress + within:
                break
            self._sending.join(0.05)
        return self.stream.sent.exists()

    def tell_kept(self) -> None:
        """Say that not everything was sent, and how it will be."""
        _log.warning(
            "run/%s is kept in %s; send it with: homeostat sync", self.stream.run, self.stream.folder.parent
        )

    def forget(self) -> None:
        """In a forked child: leave stream and threads to the parent."""
        self.stream.release()

    def _wrote(self) -> None:
        self._new = True

    def _keep(self) -> None:
        while not self._stopped.wait(_SETTLE):
            try:
                self._writer.settle()
                self._beside()
            except OSError as error:
                _log.warning("%s: what is logged may not outlive a loss of power", error)

    def _send(self) -> None:
        pause, warned = _SEND, False
        sender: Sender | None = None
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            closing = self._closing
            if not (self._new or closing):
                continue
            self._new = False
            try:
                sender = sender or Sender(self.stream, self._connect())
                while sender.step(whole=closing):
                    self._progress = self._clock.monotonic()
                pause, warned = _SEND, False
            except HomeostatError as error:
                self._new = True
                if not warned:
                    _log.warning("%s: what is logged is kept in %s", error.message, self.stream.folder)
                pause, warned = min(2 * pause, _LONGEST_PAUSE), True
                self._unreachable = closing
                if closing and not isinstance(error, StoreUnavailable):
                    self.stream.release()
                    return
                continue
            finally:
                self._tell(sender)
            if closing:
                self.stream.sent.touch()
                self.stream.release()
                return

    def _tell(self, sender: Sender | None) -> None:
        if sender is None or not sender.problems:
            return
        for problem in sender.problems[:_SHOWN]:
            _log.warning("%s", problem)
        if len(sender.problems) > _SHOWN:
            _log.warning("and %d more of the kind", len(sender.problems) - _SHOWN)
        sender.problems.clear()
