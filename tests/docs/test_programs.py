"""Programs that are started as modules: each is one, wherever it is named."""

from __future__ import annotations

import re
from pathlib import Path

from tests.server.workers import ROOT

NAMED = re.compile(r"""-m["',\s]+(homeostat(?:\.\w+)+)""")


def test_what_is_started_as_a_module_is_a_program() -> None:
    places = [path for folder in ("benchmarks", "src") for path in (ROOT / folder).rglob("*.py")]
    named = {(place, name) for place in places for name in NAMED.findall(place.read_text())}
    assert "homeostat.server.worker" in {name for _, name in named}
    assert [(place, name) for place, name in sorted(named) if not _runs(name)] == []


def _runs(name: str) -> bool:
    path = Path(ROOT / "src", *name.split("."))
    if path.is_dir():
        return (path / "__main__.py").exists()
    return '__name__ == "__main__"' in path.with_suffix(".py").read_text()
