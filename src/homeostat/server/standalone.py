"""One model served by itself: a parent that keeps workers on one port, and the program of such a worker.

The data plane is the same as for deployments of a project; only what it serves is fixed, and nothing is logged. The
parent holds the port, so that nobody else takes it while a worker starts again.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from homeostat.domain.errors import HomeostatError
from homeostat.server.keeping import CANNOT_RUN, READY, Child, Keeper, Tell
from homeostat.server.process import one_thread, watch_parent
from homeostat.server.supervisor import bound
from homeostat.server.worker import run

if TYPE_CHECKING:
    from homeostat.app.settings import Settings
    from homeostat.app.standalone import Asked
    from homeostat.ports.clock import Clock


class Standalone(Keeper):
    """Keeps the workers that serve one model.

    Args:
        asked: What is to be served.
        settings: Where, and by how many; ``serve_port`` 0 takes a free port.
        clock: For durations.
        tell: Where a line for the user goes.
    """

    def __init__(self, asked: Asked, settings: Settings, clock: Clock, tell: Tell) -> None:
        super().__init__(clock, tell)
        self._asked = asked
        self._settings = settings
        self._port = settings.serve_port

    def run(self) -> int:
        """Serve until a signal comes; returns the exit status.

        Raises:
            Conflict: the port cannot be had.
        """
        with (
            bound(self._settings, "serve_port", shared=True, how="homeostat serve --port PORT") as held,
            TemporaryDirectory(prefix="homeostat-") as folder,
        ):
            self._port = held.getsockname()[1]
            return self.keep(lambda ready: [self._worker(n, ready, folder) for n in self._numbers])

    def told_ready(self, count: int) -> None:
        """Say so once all workers answer."""
        if count == self._settings.workers:
            host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
            grpc = f", gRPC at {host}:{self._settings.grpc_port}" if self._settings.grpc_port else ""
            self._tell(f"Ready: {self._asked.name} at http://{host}:{self._port}{grpc}")

    @property
    def _numbers(self) -> range:
        return range(1, self._settings.workers + 1)

    def _worker(self, number: int, ready: int, folder: str) -> Child:
        asked = self._asked
        command = [sys.executable, "-m", "homeostat.server.standalone", asked.model, "--name", asked.name]
        command += ["--worker", f"w{number}", "--parent", str(os.getpid()), "--ready-fd", str(ready)]
        command += ["--folder", folder]
        command += [f"--trust={one}" for one in asked.trusted]
        command += ["--allow-pickle"] if asked.allow_pickle else []
        environment = self._settings.environment() | {"HOMEOSTAT_SERVE_PORT": str(self._port)}
        return Child(f"worker w{number}", command, environment, (ready,), spared=True)


def main() -> None:
    """The program of a worker: what to serve as arguments, settings from the environment."""
    parser = argparse.ArgumentParser(prog="python -m homeostat.server.standalone", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--name", required=True)
    parser.add_argument("--worker", required=True, metavar="ID")
    parser.add_argument("--parent", type=int, required=True, metavar="PID", help="end when it ends")
    parser.add_argument("--ready-fd", type=int, required=True, help="write a byte there once it answers")
    parser.add_argument("--folder", type=Path, required=True, help="where its private socket goes")
    parser.add_argument("--trust", action="append", default=[])
    parser.add_argument("--allow-pickle", action="store_true")
    options = parser.parse_args()
    # Why a model cannot be served is told once, in words, and not by the plane with a traceback.
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("homeostat.app.admission").setLevel(logging.WARNING)  # of a deprecated version
    watch_parent(options.parent)
    one_thread()

    from homeostat.adapters.clock import SystemClock
    from homeostat.app.settings import Settings
    from homeostat.app.standalone import Asked
    from homeostat.app.standalone import Standalone as Serving

    asked = Asked(options.model, options.name, tuple(options.trust), options.allow_pickle)
    settings = Settings.load()
    made: list[Serving] = []

    def serving() -> Serving:
        made.append(Serving(asked, settings, SystemClock()))
        return made[0]

    try:
        run(
            options.worker,
            options.folder,
            settings.host,
            settings.serve_port,
            serving,
            grpc_port=settings.grpc_port,
            otlp=settings.otlp,
            ready=lambda _whole: os.write(options.ready_fd, READY),
            must_serve=True,
        )
    except HomeostatError as error:
        why = next((one.failure for one in made if one.failure is not None), error)
        sys.stderr.write(f"error: {why.message}\n" + (f"  do: {why.remedy}\n" if why.remedy else ""))
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
