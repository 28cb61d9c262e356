"""``python -m benchmarks.chaos [SEED…] [--days N] [--home DIR] [--write]``: faults of other seeds, or for longer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.chaos import DAYS, SEEDS, replay, section
from benchmarks.results import put


def main() -> int:
    """Run them; returns the exit status: 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, metavar="SEED", default=SEEDS)
    parser.add_argument(
        "--days", type=int, default=DAYS, help="how long each replay is (default: %(default)s)"
    )
    parser.add_argument("--home", type=Path, default=Path("homeostat-chaos"), help="where they play")
    parser.add_argument("--write", action="store_true", help="put what came of it into RESULTS.md")
    options = parser.parse_args()
    outcomes = []
    for seed in options.seeds:
        outcome = replay(seed, options.home / str(seed), days=options.days)
        outcomes.append(outcome)
        print(
            f"seed {seed}: {', '.join(f'{count} {what}' for what, count in sorted(outcome.happened.items()))}"
        )
        for what in outcome.wrong or ["everything holds"]:
            print(f"  {what}", flush=True)
    if options.write:
        put(section(options.seeds, options.days, outcomes))
    return int(any(one.wrong for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
