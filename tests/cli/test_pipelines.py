"""Running a graph of one's own functions from the command line."""

from __future__ import annotations

from tests.cli.invoking import Shell

PROJECT = """
import homeostat as hs


@hs.step
def load(day: str) -> list[int]:
    return [len(day), 2, 3]


@hs.step
def total(numbers: list[int], factor: int) -> int:
    if factor < 0:
        raise ValueError("a negative factor")
    return sum(numbers) * factor


@hs.pipeline
def nightly(day: str = "monday", factor: int = 10) -> int:
    return total(load(day), factor)
"""


def test_a_pipeline_runs_and_keeps_its_results(homeostat: Shell) -> None:
    (homeostat.folder / "project.py").write_text(PROJECT)
    assert homeostat("apply").status == 0
    first = homeostat("run", "nightly", "--json").json
    assert [(step["step"], step["state"]) for step in first] == [
        ("load", "succeeded"),
        ("total", "succeeded"),
    ]
    again = homeostat("run", "nightly", "--param", "factor=20")
    assert again.status == 0
    assert "cached" in again.out
    assert "succeeded" in again.out


def test_what_fails_says_where(homeostat: Shell) -> None:
    (homeostat.folder / "project.py").write_text(PROJECT)
    homeostat("apply")
    unknown = homeostat("run", "weekly", status=1)
    assert "nightly" in unknown.err
    failed = homeostat("run", "nightly", "--param", "factor=-1", status=1)
    assert "a negative factor" in failed.err
    assert "step 'total'" in failed.err
