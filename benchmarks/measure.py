"""Timing: CPU seconds beside wall seconds, since the machine may be busy with other things."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Cost:
    """Seconds that one unit took."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Line:
    """One line of the results: what was measured, for Homeostat and for the bare baseline.

    Args:
        what: What one unit is.
        ours: Its figures, as text.
        bare: The baseline's figures.
        ratio: Ours to bare, above 1 where Homeostat needs more; None where nothing compares.
    """

    what: str
    ours: str
    bare: str = ""
    ratio: float | None = None


@dataclass(frozen=True)
class Section:
    """One benchmark: what was done, and its lines."""

    title: str
    about: str
    lines: list[Line]
    bare: str = "bare"  # what the baseline is called


def cost(work: Callable[[], object], *, units: int = 1, repeat: int = 5) -> Cost:
    """The median cost of one unit, where one call of ``work`` does ``units``; the first call is not counted."""
    work()
    cpu, wall = [], []
    for _ in range(repeat):
        began_cpu, began = time.process_time(), time.perf_counter()
        work()
        wall.append((time.perf_counter() - began) / units)
        cpu.append((time.process_time() - began_cpu) / units)
    return Cost(median(cpu), median(wall))


def compare(what: str, ours: Cost, bare: Cost) -> Line:
    """A line with both costs; the ratio is that of CPU."""
    return Line(what, shown(ours), shown(bare), ours.cpu / bare.cpu)


def shown(cost: Cost) -> str:
    return f"{duration(cost.cpu)} CPU, {duration(cost.wall)} wall"


def duration(seconds: float) -> str:
    """Three significant digits, in the unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
