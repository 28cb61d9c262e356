"""Trainings wait for their turn: so many at once, no model before the others, and none over and over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app import explain
from homeostat.app.alerts import alerts
from homeostat.app.apply import apply
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.costs import spent
from homeostat.app.messages import Incoming, receive
from homeostat.app.projects import load_project
from homeostat.app.queueing import next_up
from homeostat.app.reactors import react_all
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.app.triggers import due, evaluate
from homeostat.domain.records import Run
from tests.app.churning import declare

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    home = tmp_path / "home"
    home.mkdir()
    SimulatedClock(home / "clock", START).close()
    with Container(Settings(home=home, clock="simulated", trainings=2, cpu_price="3600 EUR")) as made:
        yield made


def three_models(container: Container, folder: Path) -> None:
    """``churn``, ``b`` and ``c``, which all train when a message comes."""
    declare(container, folder)
    file = folder / "project.py"
    text = file.read_text()
    model = text[text.index("churn = hs.Model(") :]
    rule = 'slo=hs.SLO(auc=0.6), retrain=hs.when(hs.message("go"), cooldown="1h", check_every="1h"),'
    model = model.replace("slo=hs.SLO(auc=0.6),", rule)
    text = text[: text.index("churn = hs.Model(")] + model
    for name in "bc":
        text += model.replace("churn = ", f"{name} = ").replace('"churn",', f'"{name}",', 1)
    file.write_text(text)
    apply(container, load_project(folder))


def test_each_model_has_its_turn(container: Container, tmp_path: Path) -> None:
    three_models(container, tmp_path / "project")
    for name in ("churn",) * 4 + ("b", "c"):
        submit(container, name, reason="asked for")
        advance(container, timedelta(seconds=1))
    begun = []
    while chosen := next_up(container, {}):
        assert len(chosen) <= 2
        for run in chosen:
            begun.append(run.model)
            with container.store.begin() as tx:
                tx.put(msgspec.structs.replace(run, state="running", started_at=container.clock.now()))
        first = container.store.find(Run, ("state", "=", "running"), order=["created_at"])[0]
        with container.store.begin() as tx:
            tx.put(msgspec.structs.replace(first, state="succeeded"))
    assert begun[:3] == ["churn", "b", "c"]
    assert begun[3:] == ["churn"] * 3


def test_a_turn_counts_from_when_a_training_began(container: Container, tmp_path: Path) -> None:
    three_models(container, tmp_path / "project")
    first, second = (submit(container, name, reason="asked for") for name in ("churn", "b"))
    for run in (second, first):  # what was asked for first began last
        advance(container, timedelta(hours=1))
        with container.store.begin() as tx:
            done = {"state": "succeeded", "started_at": container.clock.now()}
            tx.update(Run, done, ("id", "=", run.id))
    for name in ("churn", "b"):
        submit(container, name, reason="asked for")
    assert [run.model for run in next_up(container, {})] == ["b", "churn"]


def test_no_more_than_the_limit_run_at_once(container: Container, tmp_path: Path) -> None:
    three_models(container, tmp_path / "project")
    runs = [submit(container, name, reason="asked for") for name in ("churn", "b", "c")]
    assert len(next_up(container, {})) == 2
    jobs = {f"train.{runs[0].id}": "running"}  # its process began, and did not come to say so yet
    assert [run.model for run in next_up(container, jobs)] == ["b"]  # type: ignore[arg-type] # a state
    jobs |= {f"train.{runs[1].id}": "running"}
    assert next_up(container, jobs) == []  # type: ignore[arg-type] # as above


def test_a_storm_of_messages_is_one_training_a_model(container: Container, tmp_path: Path) -> None:
    three_models(container, tmp_path / "project")
    controller = Controller(container)
    controller.tick()
    for storm in range(3):
        advance(container, timedelta(seconds=1))
        receive(container, [Incoming(id=f"{storm}-{n}", source="/erp", type="go") for n in range(100)])
        controller.tick()
    runs = container.store.find(Run)
    assert sorted(run.model for run in runs) == ["b", "c", "churn"]
    assert sum(run.state == "running" for run in runs) <= 2
    assert sum(name.startswith("train.") for name in container.executor.states()) <= 2


def test_a_training_that_fails_is_told_costs_and_waits_ever_longer(
    container: Container, tmp_path: Path
) -> None:
    rule = 'retrain=hs.when(hs.every("1m"), cooldown="6h", check_every="1h", budget=("1000 EUR", "1d")),'
    declare(container, tmp_path / "project", rule)
    file = tmp_path / "project" / "project.py"
    mark = tmp_path / "broken"
    whole = "    return LogisticRegression(C=C)"
    broken = (
        f"    from pathlib import Path\n    if Path({str(mark)!r}).exists(): raise ValueError('no data')\n"
    )
    file.write_text(file.read_text().replace(whole, broken + whole))
    apply(container, load_project(file.parent))
    mark.touch()
    model = find_model(container, "churn")
    waited = []
    for _ in range(5):
        since = container.clock.now()
        while (run := evaluate(container, model, [])) is None:
            (held,) = explain.why(container, "churn", limit=1)
            assert "in a row failed" in held.reason
            advance(container, timedelta(hours=1))
        waited.append((container.clock.now() - since) / timedelta(hours=1))
        with pytest.raises(ValueError, match="no data"):
            execute(container, run.id)
        react_all(container)
        advance(container, timedelta(seconds=1))  # a look at a time
    assert waited == [0, 1, 2, 4, 6]
    (ticket,) = alerts(container)
    assert (ticket.severity, ticket.subject, ticket.state) == ("ticket", "model/churn", "open")
    assert "ValueError: no data" in ticket.summary
    assert spent(container, model).cost > 0
    mark.unlink()
    advance(container, timedelta(hours=6))
    run = evaluate(container, model, [])
    assert run is not None
    execute(container, run.id)
    react_all(container)
    assert alerts(container)[0].state == "resolved"
    assert not due(container, model)


def advance(container: Container, span: timedelta) -> None:
    assert isinstance(container.clock, SimulatedClock)
    container.clock.set(container.clock.now() + span)
