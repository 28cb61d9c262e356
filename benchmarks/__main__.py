"""``python -m benchmarks [NAME…]``: measure, show, and write ``RESULTS.md`` when all was measured."""

from __future__ import annotations

import compileall
import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import Section

NAMES = (
    "startup",
    "serving",
    "rollouts",
    "deliveries",
    "features",
    "runs",
    "tracking",
    "monitoring",
    "streams",
    "chaos",
)
_ROOT = Path(__file__).parents[1]
_RESULTS = Path(__file__).with_name("RESULTS.md")
_LIBRARIES = ("msgspec", "numpy", "polars", "scikit-learn", "uvicorn", "uvloop")


def main(names: list[str]) -> None:
    unknown = sorted({*names} - {*NAMES})
    if unknown:
        sys.exit(f"there is no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(_ROOT / "src", quiet=2)
    sections = []
    for name in names or NAMES:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        section: Section = importlib.import_module(f"benchmarks.{name}").run()
        sections.append(section)
        print(_table(section))
    if not names:
        _RESULTS.write_text(_page(sections), "utf-8")
        print(f"written to {_RESULTS.relative_to(_ROOT)}", file=sys.stderr)


def _table(section: Section) -> str:
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


def _page(sections: list[Section]) -> str:
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
    return "\n".join([*head, *map(_table, sections)])


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except FileNotFoundError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main(sys.argv[1:])
