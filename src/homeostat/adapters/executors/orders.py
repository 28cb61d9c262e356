"""A process that has imported what it will need, and waits to be told what to become.

It is told on its standard input, as a line of JSON; where that is closed without one, it ends.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import Popen

import msgspec


class Order(msgspec.Struct, frozen=True):
    """What a process is to become.

    Args:
        module: Run as ``python -m`` would run it.
        arguments: Its arguments.
        environment: Variables that it has besides.
        log: The file that gets what it says, after what is there; empty: where its parent had it speak.
    """

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = {}
    log: str = ""


def give(process: Popen[bytes], order: Order) -> bool:
    """Tell a waiting process what to become; False where it is gone."""
    assert process.stdin is not None
    try:
        with process.stdin as orders:
            orders.write(msgspec.json.encode(order) + b"\n")
    except BrokenPipeError:
        process.wait()
        return False
    return True


def follow() -> None:
    """Wait for an order and become what it says."""
    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = msgspec.json.decode(line, type=Order)
    os.environ.update(order.environment)
    if order.log:
        _speak_into(order.log)
    sys.argv = [order.module, *order.arguments]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def _speak_into(log: str) -> None:
    """Let the standard streams end in a file, for what it starts as well."""
    with Path(os.devnull).open("rb") as nothing, Path(log).open("ab") as file:
        for stream, target in enumerate((nothing, file, file)):
            os.dup2(target.fileno(), stream)
