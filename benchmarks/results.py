"""``RESULTS.md``: sections as tables, below what they were measured with."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.measure import Section

RESULTS: Final = Path(__file__).with_name("RESULTS.md")
_LIBRARIES = ("msgspec", "numpy", "polars", "scikit-learn", "uvicorn", "uvloop")


def put(section: Section) -> None:
    """Put one section in the place of the one with its title, or at the end; it says itself when it was measured."""
    text = RESULTS.read_text("utf-8")
    parts = [part.rstrip("\n") for part in re.split(r"(?m)^(?=## )", text)]
    place = next((n for n, part in enumerate(parts) if part.startswith(f"## {section.title}\n")), len(parts))
    parts[place : place + 1] = [table(section).rstrip("\n")]
    RESULTS.write_text("\n\n".join(parts) + "\n", "utf-8")


def table(section: Section) -> str:
    """A section in Markdown."""
    lines = [
        f"## {section.title}",
        "",
        section.about,
        "",
        f"| | ratio | Homeostat | {section.bare} |",
        "|---|---:|---|---|",
    ]
    for line in section.lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.{2 if line.ratio >= 0.1 else 3}f}"
        lines.append(f"| {line.what} | {ratio} | {line.ours} | {line.bare} |")
    return "\n".join([*lines, ""])


def page(sections: list[Section]) -> str:
    """All of them."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    head = [
        "# Results",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d} by `make bench` on {os.cpu_count()} cores of {_processor()}, "
        f"{platform.system()}, Python {platform.python_version()}, {libraries}.",
        "",
        "Each figure stands beside a bare baseline of the same run: the least that anyone would have to do. The ratio "
        "is Homeostat's CPU time to the baseline's, so 1.00 is free and less than 1 is better than bare. CPU seconds "
        "count; wall seconds depend on what else the machine does. Other machines give other figures.",
        "",
    ]
    return "\n".join([*head, *map(table, sections)])


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except FileNotFoundError:
        pass
    return platform.processor() or platform.machine()
