"""The control process: it answers the control API and, each second, lets the controller do its turn.

``python -m homeostat.server.control``, settings from the environment. One does the work of a store (``succession``).
Under the simulated clock the controller turns only on ``POST /tick``. On SIGTERM, or when its parent is gone, it
answers what it has, stops its jobs and exits 0.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import TYPE_CHECKING, Final

from homeostat.domain.errors import Conflict, HomeostatError
from homeostat.domain.records import Lease
from homeostat.server.keeping import CANNOT_RUN, PULSE, READY, STANDS_BY
from homeostat.server.measured import PAUSE, tell
from homeostat.server.process import loaded, loading, log_plainly, watch_parent

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from homeostat.app.channels import Channel
    from homeostat.app.container import Container
    from homeostat.server.http import App
    from homeostat.server.native import Native

_TURN: Final = 1.0
_HEARTBEAT: Final = 5.0
_THREADS: Final = 8
_GRACE: Final = 8
_LONGEST: Final = 60.0
_LOOKS: Final = 10  # of uvicorn's ticks
_SWEEPS: Final = 50
_PATIENCE: Final = 60.0  # seconds for a request's headers
_TICKS: Final = 20  # of uvicorn, a tenth of a second each, from one word that it goes on to the next
_LONGEST_TURN: Final = 900.0

_log = logging.getLogger("homeostat.control")


class Background:
    """Threads that turn the controller, tell channels and keep the lease alive, until they are stopped.

    Args:
        container: The ports.
        native: What is turned, and what counts turns; a collector is told that where one is set.
        lease: What is kept alive.
    """

    def __init__(self, container: Container, native: Callable[[], Native], lease: Lease) -> None:
        self._container, self._native, self._lease = container, native, lease
        self._turning: float | None = None
        self._stopped = Event()
        self._threads = [Thread(target=self._beat, name="heartbeat", daemon=True)]
        if container.settings.clock == "system":
            self._threads.append(Thread(target=self._turn, name="controller", daemon=True))
        # A thread each: one that is slow delays no other, and none that ends, for what is under way is sent again.
        self._senders = [
            Thread(target=self._tell, args=(channel,), name=f"channel {channel.name}", daemon=True)
            for channel in container.channels
        ]
        if container.settings.lineage:
            self._senders.append(Thread(target=self._trace, name="lineage", daemon=True))
        if container.settings.otlp:
            self._senders.append(Thread(target=self._measure, name="metrics", daemon=True))

    def goes_on(self) -> bool:
        """Whether the controller turns, or does not take longer for a turn than any takes."""
        began = self._turning
        return began is None or self._container.clock.monotonic() - began < _LONGEST_TURN

    def start(self) -> None:
        """Begin."""
        for thread in (*self._threads, *self._senders):
            thread.start()

    def stop(self) -> None:
        """End, after the turn that is under way."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(_GRACE)

    def _turn(self) -> None:
        while True:
            self._turning = self._container.clock.monotonic()
            try:
                native = self._native()  # the first time it is imported, while nobody waits for it
                with native.telemetry.ticks.time():
                    native.controller.tick()
            except Exception:  # noqa: BLE001 - it must go on, and says why it did not
                _log.exception("the controller's turn failed, it is tried again")
            self._turning = None
            if self._stopped.wait(_TURN):
                return

    def _tell(self, channel: Channel) -> None:
        from homeostat.app.telling import deliver

        while not self._stopped.wait(_TURN):
            try:
                deliver(self._container, channel)
            except Exception:  # noqa: BLE001 - it must go on, and says why it did not
                _log.exception("channel %s was not told, it is tried again", channel.name)

    def _trace(self) -> None:
        self._native()  # which imports what the next line does, as it is to be imported
        from homeostat.app.openlineage import tell_lineage

        pause = _TURN
        while not self._stopped.wait(pause):
            try:
                tell_lineage(self._container)
                pause = _TURN
            except Exception as error:  # noqa: BLE001 - it must go on, and says why it did not
                pause = min(pause * 2, _LONGEST)
                _log.warning("lineage was not told, it is tried again: %s", error)

    def _measure(self) -> None:
        container, pause = self._container, _TURN
        while not self._stopped.wait(pause):
            pause = PAUSE
            try:
                telemetry = self._native().telemetry
                families = telemetry.registry.collect()
                tell(container.settings.otlp, families, telemetry.began, container.clock.wall())
            except Exception:  # noqa: BLE001 - it must go on, and says why it did not
                _log.exception("metrics could not be read, it is tried again")

    def _beat(self) -> None:
        from homeostat.server.succession import keep

        while not self._stopped.wait(_HEARTBEAT):
            try:
                if not keep(self._container, self._lease):
                    _log.error("another control process took this one's place while it was silent; it ends")
                    self._stopped.set()  # at once: the controller of another process turns now
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
            except Exception:  # noqa: BLE001 - it must go on, else the place is lost
                _log.exception("no heartbeat, it is tried again")


def listen(container: Container) -> socket.socket:
    """A listening socket at the address that the settings name.

    Raises:
        Conflict: it cannot be had.
    """
    host, port = container.settings.host, container.settings.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise Conflict(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            remedy="Set HOMEOSTAT_PORT to a free one",
        ) from error


async def serve(
    app: App,
    listening: socket.socket,
    ready_fd: int | None,
    goes_on: Callable[[], bool],
    until: Callable[[], bool] | None = None,
    says: bytes = READY,
    protocol: type[HttpToolsProtocol] | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT; where somebody listens, say when it is ready and that it goes on.

    Args:
        app: What answers.
        listening: Where.
        ready_fd: Who listens; None: nobody.
        goes_on: Whether it does.
        until: Asked each second whether it is to end; None: it is not.
        says: What it says once it answers.
        protocol: How HTTP is spoken; None: as uvicorn does.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from homeostat.server.asgi import Server, config_of
    from homeostat.server.short import drop_slow

    def started() -> None:
        if ready_fd is not None:
            os.write(ready_fd, says)

    class Ticking(Server):
        """Says now and then that it goes on, and looks whether it is to."""

        async def on_tick(self, counter: int) -> bool:
            if ready_fd is not None and counter % _TICKS == 0 and goes_on():
                os.write(ready_fd, PULSE)
            if counter % _SWEEPS == 0:
                drop_slow(self.server_state.connections, _PATIENCE)
            if until is not None and counter % _LOOKS == 0 and await asyncio.to_thread(until):
                return True
            return await super().on_tick(counter)

    config = config_of(app, protocol or HttpToolsProtocol, grace=_GRACE, log_level="warning")
    await Ticking(config, started).serve(sockets=[listening])


def run(container: Container, listening: socket.socket | None = None, ready_fd: int | None = None) -> None:
    """Be the control process, once none is before it, until told to stop.

    Raises:
        Conflict: another one runs for this store of one machine, or the address is in use.
    """
    import uvloop

    from homeostat.app.leases import release_own
    from homeostat.server.api import Api
    from homeostat.server.mlflow.short import Logging
    from homeostat.server.succession import StandBy, await_place

    listening = listening or listen(container)
    host, port = listening.getsockname()[:2]
    address = f"http://{host}:{port}"
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="call")
    api = Api(container, pool, _importing)
    try:
        lease = await_place(container, address)
        loaded()
        if lease is None:
            standing_by = StandBy(container, address)
            _log.warning("another control process has this store; this one stands by to take its place")
            standing_by.look()  # so that its first answer knows who does the work
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                waits = serve(
                    standing_by, listening.dup(), ready_fd, lambda: True, standing_by.look, STANDS_BY
                )
                runner.run(waits)
            lease = standing_by.place
            if lease is None:
                return  # it was told to stop
            _log.warning("the control process of this store ended; this one takes its place")
        background = Background(container, api.native, lease)
        background.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                short = type("Short", (Logging,), {"api": api})
                runner.run(serve(api, listening, ready_fd, background.goes_on, protocol=short))
        finally:
            background.stop()
            pool.shutdown(wait=False, cancel_futures=True)
    finally:
        # Told to stop while it took its place, it holds one it never heard of.
        release_own(container, "control")


def _leave(number: int, frame: FrameType | None) -> None:
    """Told to stop before there is a server to stop: give back what was taken."""
    raise SystemExit(0)


@contextmanager
def _importing() -> Iterator[None]:
    """Where the larger half is imported: Polars for what is small, as deliveries are.

    Jobs, which inherit the environment, have it as it comes.
    """
    small = {"POLARS_MAX_THREADS": "1", "POLARS_ENGINE_AFFINITY": "in-memory"}
    ours = [name for name in small if name not in os.environ]
    loading()
    try:
        os.environ.update({name: small[name] for name in ours})
        import polars  # noqa: F401 - it reads the variables now

        for name in ours:
            del os.environ[name]
        yield
    finally:
        loaded()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m homeostat.server.control", description=__doc__)
    parser.add_argument("--parent", type=int, metavar="PID", help="end when it ends")
    parser.add_argument("--listen-fd", type=int, metavar="FD", help="a listening socket to answer on")
    parser.add_argument("--ready-fd", type=int, metavar="FD", help="where to write a byte once it answers")
    options = parser.parse_args()
    log_plainly()
    if options.parent is not None:
        watch_parent(options.parent)
    signal.signal(signal.SIGTERM, _leave)
    sys.setswitchinterval(0.001)
    loading()

    from homeostat.app.container import Container
    from homeostat.app.settings import Settings

    listening = socket.socket(fileno=options.listen_fd) if options.listen_fd is not None else None
    try:
        with Container(Settings.load()) as container:
            run(container, listening, options.ready_fd)
    except HomeostatError as error:
        _log.error("control cannot run: %s", error)
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
