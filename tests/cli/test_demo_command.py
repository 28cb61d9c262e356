"""`homeostat demo` finds the example and hands its arguments on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from homeostat.cli import demo
from tests.cli.invoking import Shell

DEMO = """
from examples.flights.other import SAYS
def main(arguments):
    print(SAYS, *arguments)
    return 5
"""


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in sys.modules if name.partition(".")[0] == "examples"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "examples", None)  # put back what was there at the end
    folder = tmp_path / "examples"
    (folder / "flights").mkdir(parents=True)
    (folder / "flights" / "demo.py").write_text(DEMO)
    (folder / "flights" / "other.py").write_text("SAYS = 'demo'\n")
    monkeypatch.setattr(demo, "examples", lambda: folder)
    return folder


def test_arguments_and_status_are_handed_on(homeostat: Shell, examples: Path) -> None:
    said = homeostat("demo", "--keep", "--report", "r.json", "--until", "2013-05-01", status=5).out
    assert said == "demo --keep --until 2013-05-01 --report r.json\n"
    for name in ("examples.flights", "examples.flights.demo", "examples.flights.other"):
        sys.modules.pop(name, None)


def test_it_lies_beside_the_source() -> None:
    assert demo.places()[0] == Path(__file__).parents[2] / "examples"
