"""A process that registers versions: arguments the store's URL, its home, the model and how many."""

from __future__ import annotations

import sys
from pathlib import Path

from homeostat.app.container import Container
from homeostat.app.registry import versions
from homeostat.app.settings import Settings


def main(store: str, home: str, model: str, count: str) -> None:
    with Container(Settings(home=Path(home), store=store)) as container:
        for _ in range(int(count)):
            made = versions.create(container, model, "s3://bucket/model")
            sys.stdout.write(f"{made.record.version}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
