"""Backtests of the flights example: what replaying eleven months takes, beside the trainings that are in it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Cost, Line, Section, duration, shown
from examples.flights import data

_PROJECT = Path(__file__).parents[1] / "examples" / "flights"
_SPAN = ("--from", "2013-02-01", "--to", "2014-01-01")
_BESIDE = (["frozen"], ["frozen", "every:30d", "ADWIN", "DDM"])


def run() -> Section:
    """The declared policy beside the frozen model, and beside all that is compared by default."""
    with TemporaryDirectory(prefix="homeostat-bench-") as text:
        rows = Path(text) / "rows"
        rows.mkdir()
        for name in ("flights", "landings", "weather", "planes"):
            getattr(data, name)().write_parquet(rows / f"{name}.parquet")
        lines = [_line(rows, Path(text) / str(len(names)), names) for names in _BESIDE]
    return Section(
        "Backtests",
        "The flights example replayed from 1 February to the end of 2013: 334 days, 308,000 requests one by one, a "
        "turn of the controller each day, on as many processes as processors. Its trainings: the seconds of a "
        "processor that they are charged with, though policies that train alike share one.",
        lines,
        bare="its trainings",
    )


def _line(rows: Path, home: Path, names: list[str]) -> Line:
    command = [sys.executable, "-m", "homeostat", "backtest", str(_PROJECT), *_SPAN, "--data", str(rows)]
    command += ["--home", str(home), "--json", *(f"--beside={name}" for name in names)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    trainings = [one for policy in json.loads(done.stdout) for one in policy["trainings"]]
    trained = sum(one["seconds"] for one in trainings)
    what = f"the declared policy beside {', '.join(names)}: {len(trainings)} trainings"
    return Line(what, shown(Cost(cpu, wall)), f"{duration(trained)} CPU", cpu / trained)
