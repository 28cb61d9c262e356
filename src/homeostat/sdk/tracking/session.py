"""One process's writing to one run: its stream, and the threads that fill and send it.

Three threads: one writes what was logged to the spool, one brings the spool to the disk each second and does what else
is done beside the run, one sends. None of them is waited for while the run goes on, and none keeps the program alive.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from homeostat.adapters.clock import SystemClock
from homeostat.domain.errors import HomeostatError, StoreUnavailable
from homeostat.domain.ids import new_id
from homeostat.engine.tracking.entries import Entry
from homeostat.sdk.tracking.recorder import Recorder
from homeostat.sdk.tracking.sending import Sender, Taker
from homeostat.sdk.tracking.spool import Stream, Writer, tidy

if TYPE_CHECKING:
    from homeostat.sdk.tracking.beside import Beside

_SETTLE: Final = 1.0
_SEND: Final = 0.25
_LONGEST_PAUSE: Final = 30.0
_ATTACH: Final = 10.0
_SHOWN: Final = 5
_ASIDE: Final = 60.0  # seconds for which the end of a run waits for what is done beside it, which may hang

_told: set[str] = set()  # of what nobody needs to hear from every run of this process

_log = logging.getLogger("homeostat")


class Session:
    """A stream that is being written.

    Args:
        spool: The folder of all streams.
        run: The run's id.
        connect: Makes the taker; called by the sending thread.
        beside: What looks after the run besides; None: nothing does.
    """

    def __init__(
        self, spool: Path, run: str, connect: Callable[[], Taker], beside: Beside | None = None
    ) -> None:
        self._clock = SystemClock()
        self.stream = Stream.begin(spool / run / new_id(self._clock.wall()))
        self._writer = Writer(self.stream)
        self.recorder = Recorder(self._writer, self._wrote)
        self._connect = connect
        self._beside = beside
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._new = False
        self._asked: deque[threading.Event] = deque()  # by whoever waits for what was logged to be sent
        self._closing = False
        self._unreachable = False
        self._progress = self._attached = self._clock.monotonic()
        self._keeper = threading.Thread(target=self._keep, name="homeostat-keeper", daemon=True)
        self._sending = threading.Thread(target=self._connected, name="homeostat-sender", daemon=True)

    def start(self, first: Entry) -> None:
        """Begin, with the stream's first entry."""
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
        self._keeper.join(_ASIDE)
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

    def deliver(self, within: float) -> None:
        """Wait until a server has what was logged so far, none takes it, or ``within`` seconds are over."""
        self.recorder.flush(within)
        tried = threading.Event()
        self._asked.append(tried)
        self._new = True  # after it is there: who sends looks for it once there is something new
        self._wake.set()
        tried.wait(within)

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
        folder = self.stream.beside
        self._aside(lambda beside: beside.first(folder))
        while not self._stopped.wait(_SETTLE):
            self._aside(lambda beside: beside.each(folder))
            try:
                self._writer.settle()
            except OSError as error:
                _log.warning("%s: what is logged may not outlive a loss of power", error)
        self._aside(lambda beside: beside.each(folder))
        self._aside(lambda beside: beside.close())

    def _aside(self, work: Callable[[Beside], None]) -> None:
        if self._beside is not None:
            try:
                work(self._beside)
            except Exception:  # noqa: BLE001 - what is done beside a run does not end it
                _log.exception("something about run/%s was not captured", self.stream.run)

    def _connected(self) -> None:
        taker = self._connect()
        try:
            self._send(Sender(self.stream, taker))
        finally:
            taker.close()

    def _send(self, sender: Sender) -> None:
        pause = _SEND
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            closing = self._closing
            if not (self._new or closing):
                continue
            self._new = False
            asked = [self._asked.popleft() for _ in range(len(self._asked))]
            try:
                held = self.stream.held  # else nobody writes any more, and somebody may have sent it
                if not held and (not self.stream.folder.exists() or self.stream.sent.exists()):
                    return
                if not held:
                    sender.reach()  # before the lock is taken: who can send meanwhile is not kept from it for nothing
                    if not self.stream.hold():
                        continue
                self._step(sender, closing)
            except (HomeostatError, OSError) as error:  # also of the disk that has the spool
                self._new = True
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._failed(error.message if isinstance(error, HomeostatError) else str(error), closing)
                if closing and not isinstance(error, StoreUnavailable | OSError):
                    return
                continue
            finally:
                self._tell(sender)
                for tried in asked:
                    tried.set()
            pause = _SEND
            _told.clear()
            if closing:
                self.stream.sent.touch()
                self.stream.release()
                tidy(self.stream.folder.parent.parent)
                return

    def _step(self, sender: Sender, closing: bool) -> None:
        while sender.step(whole=closing):
            self._progress = self._clock.monotonic()
        if closing or self._clock.monotonic() > self._attached + _ATTACH:
            sender.attach()
            self._attached = self._clock.monotonic()

    def _failed(self, why: str, closing: bool) -> None:
        if why not in _told:
            _told.add(why)
            _log.warning("%s: what is logged is kept in %s", why, self.stream.folder.parent)
        if closing:
            self.stream.release()
            self._unreachable = True

    def _tell(self, sender: Sender) -> None:
        for problem in sender.problems[:_SHOWN]:
            _log.warning("%s", problem)
        if len(sender.problems) > _SHOWN:
            _log.warning("and %d more of the kind", len(sender.problems) - _SHOWN)
        sender.problems.clear()
