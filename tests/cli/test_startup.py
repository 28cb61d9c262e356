"""The command and the package come up fast: nothing heavy is imported until it is used."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from homeostat.cli.program import PARTS

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


def test_a_command_that_asks_a_server_imports_nothing_heavy() -> None:
    """So that a rollback is not waiting for libraries: what draws on terminals is not imported either."""
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules));"
        "sys.argv = ['homeostat', 'rollback', 'churn', '--server', 'http://127.0.0.1:9'];"
        "from homeostat.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        check=False,
        text=True,
    )
    assert "no Homeostat answers at http://127.0.0.1:9" in done.stderr
    loaded = set(done.stdout.split())
    assert "homeostat.cli.models" in loaded
    assert (
        not (HEAVY - {"httpx"} | {"rich", "pygments", "homeostat.app.container", "homeostat.cli.registry"})
        & loaded
    )


@pytest.mark.parametrize("part", PARTS)
def test_a_module_of_commands_has_those_it_is_said_to_have(part: str) -> None:
    app = typer.Typer()
    import_module(f"homeostat.cli.{part}").register(app)
    commands = [one.name for one in (*app.registered_commands, *app.registered_groups)]
    assert sorted(filter(None, commands)) == sorted(PARTS[part])
