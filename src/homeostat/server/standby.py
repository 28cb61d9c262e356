"""A process that has imported what a worker needs and waits to become one, so that one that died is soon replaced.

Importing takes a second or two, loading a model and opening a port far less. On its standard input it is given the
module and the arguments of the worker, as a line of JSON; nothing at all ends it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import runpy
import sys
from typing import Final

import msgspec

from homeostat.server.worker import one_thread, watch_parent

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


class Order(msgspec.Struct, frozen=True):
    """What it is to become.

    Args:
        module: Run as ``python -m`` would run it.
        arguments: Its arguments.
        environment: Variables that it has besides.
    """

    module: str
    arguments: list[str]
    environment: dict[str, str]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m homeostat.server.standby", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, metavar="PID", help="end when it ends")
    watch_parent(parser.parse_args().parent)
    one_thread()
    for name in _IMPORTED:
        importlib.import_module(name)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = msgspec.json.decode(line, type=Order)
    os.environ.update(order.environment)
    sys.argv = [order.module, *order.arguments]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
