"""``demo``: the flights example, from the source checkout or as it was installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from homeostat.domain.errors import NotFound


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running at the end.")] = False,
    home: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it plays; default: homeostat-demo.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="End before this day of 2013.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write what happened, for programs.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write what happened, for people.")
    ] = None,
) -> None:
    """See Homeostat at work on a year of flights: training, faults, drift, canaries, rollback, repair."""
    arguments = ["--keep"] if keep else []
    for name, value in (("--home", home), ("--until", until), ("--report", report), ("--html", html)):
        arguments += [name, str(value)] if value else []
    raise typer.Exit(_load(examples()).main(arguments))


def examples() -> Path:
    """The folder of the examples.

    Raises:
        NotFound: they were not installed.
    """
    for folder in places():
        if (folder / "flights" / "demo.py").is_file():
            return folder
    raise NotFound(
        "the flights example is not installed",
        remedy="Install Homeostat again, or run it from its source checkout",
    )


def places() -> tuple[Path, Path]:
    """Where the examples are in a source checkout, and where a wheel puts them."""
    import homeostat

    package = Path(homeostat.__file__).parent
    return package.parents[1] / "examples", package / "_examples"


def _load(folder: Path) -> ModuleType:
    """The demo's module, as ``examples.flights.demo`` wherever it lies."""
    package = ModuleType("examples")
    package.__path__ = [str(folder)]
    sys.modules["examples"] = package
    return importlib.import_module("examples.flights.demo")
