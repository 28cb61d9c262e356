"""How long it takes until a command begins: the interpreter, the import, the help."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

from benchmarks.compiled import compiled
from benchmarks.measure import Cost, Section, compare

_TIMES = 7


def run() -> Section:
    """CPU of fresh processes, the least of some."""
    compiled()
    nothing = _process("-c", "pass")
    typer = _process("-c", "import typer; typer.Typer()")
    return Section(
        "Start",
        f"Fresh processes with compiled bytecode, the least of {_TIMES}.",
        [
            compare(
                "`import homeostat`; bare: an empty program", _process("-c", "import homeostat"), nothing
            ),
            compare("`homeostat --help`; bare: `import typer`", _process("-m", "homeostat", "--help"), typer),
        ],
    )


def _process(*arguments: str) -> Cost:
    costs = []
    for _ in range(_TIMES):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ)
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        costs.append(Cost(cpu, wall))
    return min(costs, key=lambda cost: cost.cpu)
