"""Quality that is promised: a ticket where its loss may be chance, a page once it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.container import Container
from homeostat.app.levels import confirmed
from homeostat.app.outcomes import label
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.app.slos import standing, tally
from homeostat.app.watching import watch
from homeostat.domain.declarations import Model
from homeostat.domain.records import Alert, Window
from tests.app.asking import ask
from tests.app.churning import declare, trained
from tests.app.test_incidents import START, later

KEY = "slo:churn:auc"


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    home = tmp_path / "home"
    home.mkdir()
    SimulatedClock(home / "clock", START).close()
    with Container(Settings(home=home, clock="simulated")) as made:
        declare(made, tmp_path / "project", "attributions=hs.Attributions(window='1d'),")
        trained(made)
        yield made


def answered(container: Container, first: int, right: float) -> None:
    """Ask 150 requests; of the labels that come at once, so many are as the model says, and the others not."""
    usage = np.linspace(-2, 2, 150)
    ids = np.arange(first, first + 150)
    items = ask(container, "churn", pl.DataFrame({"id": ids, "plan": "a", "usage": usage}))
    wrong = np.random.default_rng(first).random(150) >= right
    said = (usage > 0) != wrong
    label(container, "churn", {item.id: bool(one) for item, one in zip(items, said, strict=True)})


def opened(container: Container, model: Model) -> dict[str, Alert]:
    watch(container, model)
    return {one.key: one for one in container.store.find(Alert, ("state", "=", "open"))}


def test_a_loss_of_quality_is_a_page_once_it_is_no_chance(container: Container, tmp_path: Path) -> None:
    model = load_project(tmp_path / "project").models["churn"]
    answered(container, 1000, 0.545)
    (ticket,) = opened(container, model).values()
    assert (ticket.key, ticket.severity) == (f"{KEY}:ticket", "ticket")
    assert ticket.detail["value"] < 0.6 < ticket.detail["interval"]["high"]
    assert ticket.summary.endswith("; 0.6 is promised, which may be chance")
    assert ticket.suspects.features == []  # none stands out: what it decides by agrees with training
    later(container, 1)
    answered(container, 2000, 0.1)
    (page,) = opened(container, model).values()  # it stands for the ticket
    assert (page.key, page.severity) == (KEY, "page")
    assert page.detail["interval"]["high"] < 0.6
    assert f"({page.detail['interval']['low']:.4g} to {page.detail['interval']['high']:.4g})" in page.summary
    # Its budget burns too, is shown, and alerts nobody.
    tally(container, model)
    (level,) = standing(container, model).levels
    assert (level.bad, [one.fires for one in level.burns]) == (1, [False] * 3)
    later(container, 2)
    answered(container, 3000, 1.0)
    assert list(opened(container, model)) == [KEY]  # it stands until the promise holds again
    newest = container.store.find(Window, ("monitor", "=", "auc"), order=["-end"], limit=1)[0]
    assert (newest.breached, confirmed(newest)) == (True, False)
    later(container, 3)
    for first in (4000, 5000, 6000, 7000):
        answered(container, first, 1.0)
    assert not opened(container, model)
