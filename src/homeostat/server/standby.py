"""A process that has imported what a worker needs and waits to become one, so that one that died is soon replaced.

Importing takes a second or two, loading a model and opening a port far less. On its standard input it is given the
module and the arguments of the worker, as a line of JSON; nothing at all ends it.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Final

from homeostat.adapters.executors.orders import follow
from homeostat.server.process import one_thread, watch_parent

_IMPORTED: Final = (
    "homeostat.app.container",
    "homeostat.app.serving",
    "homeostat.app.standalone",
    "homeostat.server.protocols.described",
    "homeostat.server.direct",
    "skops.io",
    "uvicorn",
    "uvloop",
)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m homeostat.server.standby", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, metavar="PID", help="end when it ends")
    watch_parent(parser.parse_args().parent)
    one_thread()
    for name in _IMPORTED:
        importlib.import_module(name)
    follow()


if __name__ == "__main__":
    main()
