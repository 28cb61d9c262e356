"""The command and the package come up fast: nothing heavy is imported until it is used."""

from __future__ import annotations

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


HELP = "import sys; sys.argv = ['homeostat', '--help']; from homeostat.cli import main; main()"


@pytest.mark.parametrize("code", ["import homeostat", "import homeostat.cli.program", HELP])
def test_nothing_heavy_is_imported(code: str) -> None:
    told = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", f"{told}; {code}"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        check=True,
        text=True,
    )
    assert "homeostat" in done.stderr.split()
    assert not HEAVY & set(done.stderr.split())


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
