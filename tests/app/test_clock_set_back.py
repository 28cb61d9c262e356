"""The machine's clock is set back under a running loop: nothing stands still, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homeostat.adapters.clock import SystemClock
from homeostat.app.alerts import alerts
from homeostat.app.clocks import SET_BACK, _redate
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.messages import Incoming, receive
from homeostat.app.settings import Settings
from homeostat.app.training import submit
from homeostat.app.triggers import due
from homeostat.domain.records import Evaluation, Run, Window
from tests.app.churning import declare
from tests.app.idling import Idle

HOUR = timedelta(hours=1)
RULES = """retrain=hs.when(
    hs.schedule("0 11 * * *"), hs.message("go"), hs.new_labels(100_000), cooldown="2h", check_every="1h"),"""


class Hands:
    """Sets the machine's clock."""

    at = datetime(2024, 1, 1, 9, 30, tzinfo=UTC)

    def to(self, hour: int, minute: int = 30) -> None:
        self.at = self.at.replace(hour=hour, minute=minute)


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    found = Hands()
    monkeypatch.setattr(SystemClock, "now", lambda self: found.at)
    return found


@pytest.fixture
def container(tmp_path: Path, hands: Hands) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        declare(made, tmp_path / "project", RULES)
        yield made


def trainings(container: Container) -> list[str]:
    """What the trainings were for; each ends as soon as it is asked for."""
    found = container.store.find(Run, ("kind", "=", "train"), order=["created_at", "id"])
    with container.store.begin() as tx:
        tx.update(Run, {"state": "succeeded", "ended_at": container.clock.now()}, ("kind", "=", "train"))
    return [run.reason for run in found]


def test_nothing_stands_still_and_nothing_fires_twice(container: Container, hands: Hands) -> None:
    controller, model = Controller(container), find_model(container, "churn")
    container.executor = Idle()

    def turned(hour: int, minute: int = 30) -> list[str]:
        hands.to(hour, minute)
        controller.tick()
        return trainings(container)

    assert turned(9) == []
    hands.to(9, 35)
    receive(container, [Incoming(id="1", source="/erp", type="go")])
    assert len(turned(9, 40)) == 1  # by the message
    assert len(turned(12)) == 2  # by the schedule: 11:00 was due
    hands.to(12, 45)
    receive(container, [Incoming(id="2", source="/erp", type="go")])
    assert len(turned(13)) == 2  # held by the cooldown
    looked = container.store.count(Evaluation)
    with container.store.begin() as tx:
        tx.put(
            Window(
                deployment="churn",
                monitor="m",
                start=hands.at - HOUR,
                end=hands.at,
                rows=1,
                value=None,
                threshold=None,
                breached=False,
            )
        )

    assert len(turned(10)) == 2  # set back by three hours
    (event,) = container.ledger.find(kinds=[SET_BACK], limit=9)
    assert event.body["records"] > 0
    (ticket,) = [one for one in alerts(container) if one.key.startswith("clock:")]
    assert "set back by 3h" in ticket.summary
    for kind, field in ((Run, "created_at"), (Evaluation, "at"), (Window, "end")):
        assert not container.store.count(kind, (field, ">", hands.at))
    assert container.store.count(Evaluation) == looked
    assert not due(container, model)

    assert (
        len(turned(11, 31)) == 2
    )  # a look, an hour on; 11:00 was due before, and the message waits for its time
    assert container.store.count(Evaluation) > looked
    assert len(turned(12, 31)) == 3  # the cooldown counts from when the clock was set back
    newest = container.store.find(Run, order=["-created_at"], limit=1)[0]
    assert newest.reason.startswith("message go came")
    assert len(container.ledger.find(kinds=[SET_BACK], limit=9)) == 1
    hands.at += timedelta(days=1)
    assert len(turned(12, 31)) == 4  # the next day's occasion
    assert container.ledger.verify().ok


def test_what_began_before_and_ended_ahead_is_moved_too(container: Container, hands: Hands) -> None:
    run = submit(container, "churn", reason="asked for")
    with container.store.begin() as tx:
        tx.update(Run, {"state": "succeeded", "ended_at": hands.at + HOUR}, ("id", "=", run.id))
        assert _redate(tx, hands.at) == 1
    found = container.store.get(Run, run.id)
    assert found is not None
    assert found.ended_at is not None
    assert (found.created_at, found.ended_at <= hands.at) == (run.created_at, True)


def test_a_clock_that_was_far_ahead_stops_no_schedule(container: Container, hands: Hands) -> None:
    controller = Controller(container)
    container.executor = Idle()
    hands.to(9)
    controller.tick()
    hands.at += timedelta(days=400)
    controller.tick()
    assert len(trainings(container)) == 1  # what was missed is made up for
    hands.at -= timedelta(days=400)
    controller.tick()
    hands.at += timedelta(hours=3)
    controller.tick()
    assert len(trainings(container)) == 2
