"""What tracking costs: a call of `hs.log` where it is called, and points until they are durable on the server."""

from __future__ import annotations

import os
import re
import sqlite3
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

import homeostat as hs
from benchmarks.measure import Cost, Line, Section, duration, shown

_CALLS = 100_000
_POINTS = 1_000_000
_ROUNDS = 5
_NOBODY = "http://127.0.0.1:9"
_PACK = struct.Struct("<Hdqq").pack


def run() -> Section:
    """The caller's side without a server, then both sides with one."""
    with TemporaryDirectory(prefix="homeostat-bench-") as folder:
        with environment(HOMEOSTAT_HOME=f"{folder}/alone", HOMEOSTAT_SERVER=_NOBODY):
            lines = _caller()
        with (
            _server(Path(folder) / "home") as (url, control),
            environment(HOMEOSTAT_HOME=f"{folder}/client", HOMEOSTAT_SERVER=url),
        ):
            lines += [durable(partial(_cpu, control), keys) for keys in (1, 20)]
    return Section(
        "Runs",
        f"`hs.log` called {_CALLS:,} times in a loop that does nothing else, median of {_ROUNDS}; wall is what a call "
        "takes, the writing thread included where it holds the interpreter. Bare: the same values and the time "
        f"appended to a deque. Then {_POINTS:,} points through spool, HTTP and SQLite until the server has committed "
        "them. Bare: the same rows packed and inserted as blobs of 10,000 into SQLite, by the same process.",
        lines,
    )


def _caller() -> list[Line]:
    taken: deque[object] = deque(maxlen=1000)

    def bare(step: int, **values: float) -> None:
        taken.append((values, step, time.time_ns()))

    with hs.run("bench", capture=False):
        ours, middle = _calls(lambda i: hs.log(loss=0.3, step=i))
    least, bare_middle = _calls(lambda i: bare(loss=0.3, step=i))
    here, there = (
        f"{shown(ours)}, median {duration(middle)}",
        f"{shown(least)}, median {duration(bare_middle)}",
    )
    return [
        Line(
            "one call of `hs.log(loss=0.3, step=i)`, on the thread that calls",
            here,
            there,
            ours.cpu / least.cpu,
        )
    ]


def _calls(call: Callable[[int], object]) -> tuple[Cost, float]:
    """Seconds a call, of the calling thread alone and on the wall; and the median of single calls, with its clock."""
    costs, singles = [], []
    for _ in range(_ROUNDS):
        cpu, wall = time.thread_time(), time.perf_counter()
        for i in range(_CALLS):
            call(i)
        costs.append(Cost((time.thread_time() - cpu) / _CALLS, (time.perf_counter() - wall) / _CALLS))
        each = []
        for i in range(10_000):
            began = time.perf_counter_ns()
            call(i)
            each.append(time.perf_counter_ns() - began)
        singles.append(median(each) * 1e-9)
    return Cost(median(c.cpu for c in costs), median(c.wall for c in costs)), median(singles)


def durable(cpu: Callable[[], float], keys: int) -> Line:
    """Points of as many metrics a call, through to the server, whose CPU seconds `cpu` gives."""
    values = {f"metric {number}": 0.5 for number in range(keys)}
    before, mine = cpu(), time.process_time()
    began = time.perf_counter()
    with hs.run("bench", capture=False):
        for step in range(_POINTS // keys):
            hs.log(values, step=step)
    wall = time.perf_counter() - began
    mine, server = time.process_time() - mine, cpu() - before
    bare = _bare(keys)
    return Line(
        f"points, {keys} a call, until they are durable on the server",
        f"{_POINTS / wall:,.0f} a second, {_POINTS / server:,.0f} a server CPU second, "
        f"{duration(mine / _POINTS)} CPU of the client each",
        f"{_POINTS / bare:,.0f} a CPU second",
        (mine + server) / bare,
    )


def _bare(keys: int) -> float:
    """CPU seconds for the same points without anything around them."""
    with TemporaryDirectory(prefix="homeostat-bench-") as folder:
        began = time.process_time()
        with sqlite3.connect(Path(folder) / "bare.db", isolation_level=None) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("CREATE TABLE blocks (seq INTEGER PRIMARY KEY, payload BLOB)")
            rows: list[bytes] = []
            for step in range(_POINTS // keys):
                now = time.time_ns() // 1_000_000
                rows += [_PACK(key, 0.5, now, step) for key in range(keys)]
                if len(rows) >= 10_000:
                    database.execute("INSERT INTO blocks (payload) VALUES (?)", (b"".join(rows),))
                    rows.clear()
        database.close()
        return time.process_time() - began


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def _server(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`homeostat up`: its address, and its control process."""
    settings = {"HOMEOSTAT_HOME": str(home), "HOMEOSTAT_PORT": "0", "HOMEOSTAT_SERVE_PORT": "0"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOMEOSTAT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "homeostat", "up"],
        env=clean | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = ""
        while not url:
            line = process.stdout.readline()
            assert line, "homeostat up ended"
            found = re.search(r"Ready at (\S+?),", line)
            url = found[1] if found else ""
        children = psutil.Process(process.pid).children()
        yield url, next(child for child in children if "homeostat.server.control" in child.cmdline())
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """These environment variables for as long as the block lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
