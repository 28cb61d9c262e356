"""The process of one worker: sockets, signals, background work, and an end that loses nothing.

``python -m homeostat.server.worker --worker ID``, settings from the environment.
Workers share the serve port (SO_REUSEPORT); each loads its models before it takes a share of the connections.
On SIGTERM, or when its parent is gone, a worker stops accepting, answers what it has, writes out its log and
exits 0.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Final, Protocol

from homeostat.domain.errors import HomeostatError
from homeostat.domain.refs import is_name
from homeostat.server.keeping import LACKS, SERVES
from homeostat.server.process import GRACE, loaded, loading, log_plainly, one_thread, watch_parent

if TYPE_CHECKING:
    from homeostat.engine.serving.plane import Plane
    from homeostat.server.protocols.measures import Measures

_POLL: Final = 0.5  # so that another machine's rollback reaches this one well within a second
_FLUSH: Final = 0.5  # with the pause between two looks and a write, less than a second of predictions
_HEARTBEAT: Final = 5.0
_PATIENCE: Final = 30.0
_HANGS: Final = 60.0
_BATCH: Final = 5  # times as long a model may take for what it was given at once
_BACKLOG: Final = 2048
_LONGEST_PATH: Final = 100  # of a Unix socket: 108 on Linux, 104 on macOS

_log = logging.getLogger(__name__)


class Serving(Protocol):
    """What a worker runs: a plane, and a sign of life in the store. Its methods may block and raise."""

    plane: Plane

    def beat(self, address: str, port: int) -> None:
        """Say that this worker lives, and where."""

    def leave(self) -> None:
        """Say that this worker is gone."""


def socket_path(home: Path, worker: str) -> Path:
    """Where a worker's private socket is: in the home, or with temporary files where that is too long."""
    path = home / "run" / f"worker-{worker}.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    digest = blake2b(os.fsencode(path), digest_size=12).hexdigest()
    short = Path(f"homeostat-{os.getuid()}", f"{digest}.sock")
    path = gettempdir() / short
    return path if len(os.fsencode(path)) <= _LONGEST_PATH else "/tmp" / short


def open_private(path: Path) -> socket.socket:
    """A Unix socket that only this user can reach; what a killed worker left there is replaced.

    Raises:
        HomeostatError: the folder belongs to somebody else.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.stat().st_uid != os.getuid():
        raise HomeostatError(f"{path.parent} belongs to another user", remedy="Remove it, or set TMPDIR")
    path.unlink(missing_ok=True)
    private = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        private.bind(str(path))
    finally:
        os.umask(mask)
    return private


def open_public(host: str, port: int) -> socket.socket:
    """A TCP socket on a port that other workers may share.

    Raises:
        HomeostatError: the address cannot be had.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        public = socket.socket(family, kind)
        public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        public.bind(address)
    except OSError as error:
        raise HomeostatError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            remedy="Set HOMEOSTAT_SERVE_PORT to a free one",
        ) from error
    return public


async def serve(
    worker: str,
    home: Path,
    host: str,
    port: int,
    make: Callable[[], Serving],
    *,
    grpc_port: int = 0,
    ready: Callable[[bool], object] = lambda whole: None,
    must_serve: bool = False,
    body_limit: int | None = None,
    patience: float = _PATIENCE,
    hangs: float = _HANGS,
    otlp: str = "",
) -> bool:
    """Run a worker until it is told to stop; returns whether every prediction reached the log's store.

    Args:
        grpc_port: Where it answers over gRPC too; 0: nowhere.
        ready: Called once it answers, with whether all that is deployed does; where not, again once it does.
        must_serve: Whether to give up at once when what it is to serve cannot be loaded.
        patience: For how many seconds a client may send one request.
        hangs: After how many seconds in which it does not go on it says where, and ends.
        otlp: Collector of OpenTelemetry that is told what ``/metrics`` tells; empty: none.

    Raises:
        HomeostatError: a port cannot be had; or what must be served cannot.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from homeostat.server.asgi import Server, config_of
    from homeostat.server.dataplane import BODY_LIMIT, DataPlane
    from homeostat.server.direct import Direct
    from homeostat.server.short import drop_slow

    serving = make()
    plane = serving.plane
    app = DataPlane(plane, body_limit=BODY_LIMIT if body_limit is None else body_limit, host=host)
    await _follow(plane, wait=True)
    if must_serve and plane.errors:
        await asyncio.to_thread(serving.leave)
        raise HomeostatError("; ".join(plane.errors.values()))
    loaded()
    path = socket_path(home, worker)
    whole: bool | None = None  # as it was said last

    def say() -> None:
        nonlocal whole
        if not whole and whole is not plane.ready:
            whole = plane.ready
            ready(whole)

    public, private = open_public(host, port), open_private(path)
    direct = type("Public", (Direct,), {"dataplane": app})
    server = Server(config_of(app.public, direct, grace=GRACE, backlog=_BACKLOG), say)
    inner = config_of(app.private, HttpToolsProtocol, grace=GRACE)
    inner.load()
    control = await asyncio.get_running_loop().create_unix_server(
        lambda: HttpToolsProtocol(config=inner, server_state=server.server_state, app_state={}),
        sock=private,
    )
    bound = int(public.getsockname()[1])
    calls = None
    if grpc_port:
        from homeostat.server.protocols import grpc

        calls = await grpc.serve(host, grpc_port, app.asking, app.measures, app.body_limit)

    async def follow() -> None:
        await _follow(plane, wait=False)
        if whole is False:
            say()

    async def sweep() -> None:
        drop_slow(server.server_state.connections, patience)

    async def go_on() -> None:
        # A thread of its own counts, which needs no lock that a model might hold.
        if all(endpoint.busy() < _BATCH * hangs for endpoint in plane.endpoints.values()):
            faulthandler.dump_traceback_later(hangs, exit=True)

    tasks = [
        asyncio.create_task(_every(min(_HEARTBEAT, hangs / 2), go_on)),
        asyncio.create_task(_every(_POLL, follow)),
        asyncio.create_task(_every(min(_HEARTBEAT, patience), sweep)),
        asyncio.create_task(_flushing(plane)),
        asyncio.create_task(_every(_POLL, lambda: _telling(plane))),
        asyncio.create_task(_every(_HEARTBEAT, lambda: asyncio.to_thread(serving.beat, str(path), bound))),
    ]
    if otlp:
        from homeostat.server.measured import PAUSE

        tasks.append(asyncio.create_task(_every(PAUSE, lambda: _measuring(app.measures, otlp))))
    _log.info("worker %s answers on %s:%d and %s", worker, host, bound, path)
    try:
        await server.serve(sockets=[public])
    finally:
        if calls is not None:
            await calls.stop(GRACE)
        control.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await plane.close()
        await _telling(plane)
        path.unlink(missing_ok=True)
        await asyncio.to_thread(_leave, serving)
        faulthandler.cancel_dump_traceback_later()
    lost = plane.log.counts.buffered
    if lost:
        _log.error("%d predictions could not be stored and are lost: %s", lost, plane.log.counts.error)
    return not lost


async def _every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do ``work`` now and then for ever; a failure is logged and tried again at the next turn."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - it must go on, and says why it did not
            _log.exception("background work failed, it is tried again")
        await asyncio.sleep(seconds)


async def _follow(plane: Plane, *, wait: bool) -> None:
    """Have the plane follow the store; without waiting, what takes long to load is not waited for."""
    try:
        await (plane.follow(force=True) if wait else plane.look())
    except HomeostatError as error:
        _log.warning("store not read, arms kept: %s", error)
        plane.trouble = plane.trouble and error.message


async def _flushing(plane: Plane) -> None:
    """Write the log out twice a second, and earlier when a chunk is full: what a kill -9 can lose."""
    last = plane.clock.monotonic()
    while True:
        await asyncio.sleep(_FLUSH / 10)
        for _ in iter(plane.log.prepare, False):
            await asyncio.sleep(0)  # answers have their turn
        if plane.log.due or plane.clock.monotonic() - last >= _FLUSH:
            await asyncio.to_thread(plane.log.flush)
            last = plane.clock.monotonic()


async def _telling(plane: Plane) -> None:
    """Give on the traces that are whole."""
    if plane.tracer.waiting:
        await asyncio.to_thread(plane.tracer.flush)
        if plane.tracer.error:
            _log.warning("traces not kept: %s", plane.tracer.error)


async def _measuring(measures: Measures, collector: str) -> None:
    """Tell a collector what was measured."""
    from prometheus_client.parser import text_string_to_metric_families

    from homeostat.server.measured import tell

    text, clock = measures.exposition().decode(), measures.clock
    families = text_string_to_metric_families(text)
    await asyncio.to_thread(tell, collector, families, measures.began, clock.wall())


def _leave(serving: Serving) -> None:
    try:
        serving.leave()
    except HomeostatError as error:
        _log.warning("lease not removed, it will expire: %s", error)


def run(
    worker: str,
    home: Path,
    host: str,
    port: int,
    make: Callable[[], Serving],
    *,
    grpc_port: int = 0,
    ready: Callable[[bool], object] = lambda whole: None,
    must_serve: bool = False,
    patience: float = _PATIENCE,
    hangs: float = _HANGS,
    otlp: str = "",
) -> bool:
    """``serve`` on uvloop; threads switch so fast that background work does not show in latencies."""
    import uvloop

    sys.setswitchinterval(0.001)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(
            serve(
                worker,
                home,
                host,
                port,
                make,
                grpc_port=grpc_port,
                ready=ready,
                must_serve=must_serve,
                patience=patience,
                hangs=hangs,
                otlp=otlp,
            )
        )


def main() -> None:
    """The program: ``--worker ID``, settings from the environment."""
    parser = argparse.ArgumentParser(prog="python -m homeostat.server.worker", description=__doc__)
    parser.add_argument("--worker", required=True, metavar="ID", help="name of this worker, unique")
    parser.add_argument("--parent", type=int, default=os.getppid(), metavar="PID", help="end when it ends")
    parser.add_argument("--ready-fd", type=int, metavar="FD", help="where to write a byte once it answers")
    options = parser.parse_args()
    if not is_name(options.worker):
        parser.error(f"{options.worker!r} cannot name a worker: use letters, digits, dot, dash, underscore")
    log_plainly()
    watch_parent(options.parent)
    one_thread()
    loading()

    from homeostat.app.container import Container
    from homeostat.app.settings import Settings

    def ready(whole: bool) -> None:
        if options.ready_fd is not None:
            os.write(options.ready_fd, SERVES if whole else LACKS)

    try:
        with Container(Settings.load()) as container:
            settings = container.settings
            # An empty store gets its tables while control imports. Of one that is away a worker tells each time it
            # looks, and answers with what it can.
            with suppress(HomeostatError):
                _ = container.store

            from homeostat.app.serving import ModelServing

            stored = run(
                options.worker,
                settings.home,
                settings.host,
                settings.serve_port,
                lambda: ModelServing(container, options.worker),
                grpc_port=settings.grpc_port,
                ready=ready,
                otlp=settings.otlp,
            )
    except HomeostatError as error:
        _log.error("worker %s cannot run: %s", options.worker, error)
        sys.exit(2)  # as argparse does: trying again would not help
    sys.exit(0 if stored else 1)


if __name__ == "__main__":
    main()
