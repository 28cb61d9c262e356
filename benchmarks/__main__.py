"""``python -m benchmarks [NAME…]``: measure, show, and write ``RESULTS.md`` when all was measured."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from benchmarks.compiled import compiled
from benchmarks.measure import Section
from benchmarks.results import RESULTS, page, table

NAMES = (
    "startup",
    "serving",
    "rollouts",
    "deliveries",
    "features",
    "runs",
    "tracking",
    "monitoring",
    "concept_drift",
    "backtest",
    "streams",
    "chaos",
)
_ROOT = Path(__file__).parents[1]


def main(names: list[str]) -> None:
    unknown = sorted({*names} - {*NAMES})
    if unknown:
        sys.exit(f"there is no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compiled()
    sections = []
    for name in names or NAMES:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        section: Section = importlib.import_module(f"benchmarks.{name}").run()
        sections.append(section)
        print(table(section))
    if not names:
        RESULTS.write_text(page(sections), "utf-8")
        print(f"written to {RESULTS.relative_to(_ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
