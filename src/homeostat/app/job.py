"""The process of one job: ``python -m homeostat.app.job train RUN`` or ``judge MODEL VERSION``."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from homeostat.app.container import Container
from homeostat.app.judging import judge
from homeostat.app.settings import Settings
from homeostat.app.training import Stopped, execute
from homeostat.domain.errors import HomeostatError


def main(arguments: Sequence[str]) -> int:
    """Run one job; 0 when it is done, 1 when it failed with a recorded reason, 2 when it was not understood."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    log = logging.getLogger("homeostat.job")
    signal.signal(signal.SIGTERM, _stop)
    with Container(Settings.load()) as container:
        try:
            match arguments:
                case ["train", run]:
                    execute(container, run, progress=log.info)
                case ["judge", model, version]:
                    judge(container, model, int(version))
                case _:
                    log.error("no such job: %s", " ".join(arguments))
                    return 2
        except HomeostatError as error:
            log.error("%s", error)
            return 1
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(f"stopped by signal {number}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
