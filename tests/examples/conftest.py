"""The flights project as Homeostat loads it, and the year behind it."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from examples.flights import data
from homeostat.app.projects import Declared, importing, load_project

FOLDER = Path(__file__).parents[2] / "examples" / "flights"


@pytest.fixture(scope="session")
def project() -> Declared:
    return load_project(FOLDER)


@pytest.fixture(scope="session")
def tables() -> dict[str, pl.DataFrame]:
    return {
        "flights": data.flights(),
        "landings": data.landings(),
        "weather": data.weather(),
        "planes": data.planes(),
    }


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models train slower on more threads than there are idle cores."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def faults() -> Iterator[ModuleType]:
    """The module as a project imports it, so that its classes are called ``faults.…``."""
    with importing(FOLDER):
        import faults

        yield faults
