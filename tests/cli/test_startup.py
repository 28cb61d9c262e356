"""The command and the package come up fast: nothing heavy is imported until it is used."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "polars",
    "numpy",
    "sklearn",
    "scipy",
    "sqlalchemy",
    "deltalake",
    "starlette",
    "uvicorn",
    "httpx",
    "skops",
}


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    compileall.compile_dir(ROOT / "src", quiet=2)


def cpu_seconds(code: str) -> float:
    """The CPU time of a Python process that runs `code`; the least of three, since others disturb it."""
    timed = []
    for _ in range(3):
        before = os.times()
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        after = os.times()
        timed.append(
            after.children_user - before.children_user + after.children_system - before.children_system
        )
    return min(timed)


def test_help() -> None:
    code = "import sys; sys.argv = ['homeostat', '--help']; from homeostat.cli import main; main()"
    assert cpu_seconds(code) < 0.6


def test_import() -> None:
    assert cpu_seconds("import homeostat") < 0.3


@pytest.mark.parametrize("code", ["import homeostat", "import homeostat.cli.program"])
def test_nothing_heavy_is_imported(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        check=True,
        text=True,
    )
    assert not HEAVY & set(done.stdout.split())
