"""An incident tells its times: since when, when it was seen, which version mended it, and when it was over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.deployments import set_stage
from homeostat.app.incidents import incidents
from homeostat.app.reactors import react_all
from homeostat.app.rollouts import promote
from homeostat.app.settings import Settings
from homeostat.app.telling import shown
from homeostat.domain.notices import Notice, Told
from homeostat.domain.records import Alert
from tests.app.churning import declare, trained

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    home = tmp_path / "home"
    home.mkdir()
    SimulatedClock(home / "clock", START).close()
    with Container(Settings(home=home, clock="simulated")) as made:
        declare(made, tmp_path / "project")
        trained(made)
        yield made


def later(container: Container, hours: int) -> datetime:
    assert isinstance(container.clock, SimulatedClock)
    container.clock.set(START + hours * HOUR)
    return container.clock.now()


def opened(container: Container, key: str, onset: datetime | None = None, decision: str = "") -> None:
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key=key,
            subject="deployment/churn",
            severity="ticket",
            summary="it is worse",
            action=decision or "the rules decide next",
            onset=onset,
            decision=decision,
        )
    react_all(container)


def resolved(container: Container, key: str) -> None:
    with container.store.begin() as tx:
        assert resolve_alert(tx, container, key)
    react_all(container)


def test_its_times_stand_together_from_onset_to_healed(container: Container) -> None:
    later(container, 10)
    opened(container, "slo:churn:log_loss")
    later(container, 11)
    opened(container, "losses:churn:concept drift", onset=START + 8 * HOUR)  # the change point of both
    later(container, 12)
    trained(container, C=0.5)
    assert [arm.at for arm in incidents(container)[0].moments if arm.what == "decided"] == [START + 12 * HOUR]
    later(container, 20)
    resolved(container, "slo:churn:log_loss")
    found = {one.summary: one for one in incidents(container, "churn") if one.state == "resolved"}
    (one,) = found.values()
    assert [(step.what, (step.at - START) / HOUR) for step in one.moments] == [
        ("onset", 8),
        ("detected", 10),
        ("candidate", 12),
        ("decided", 12),
        ("healed", 20),
    ]
    assert [step.seconds for step in one.moments] == [None, 7200, 7200, 0, 28800]
    assert one.seconds == 12 * 3600
    assert one.moments[2].by == "model/churn@2"
    assert one.moments[3].by.startswith("became champion")
    assert shown(container, one.alert).times == one.moments
    (event,) = container.ledger.find(kinds=["alert.resolved"], limit=10)
    assert event.body["times"].keys() == {"onset", "detected", "candidate", "decided", "healed"}
    notice = Notice(
        id="1",
        group="deployment/churn",
        at=START,
        severity="ticket",
        told=[Told(event.seq, "resolved", shown(container, one.alert).alert)],
    )
    assert "onset 2024-01-01 08:00, detected 2024-01-01 10:00 (+2h)" in notice.text


def test_what_is_over_stays_as_it_was_told(container: Container) -> None:
    later(container, 1)
    opened(container, "slo:churn:auc")
    later(container, 2)
    trained(container, C=0.5)
    later(container, 3)
    resolved(container, "slo:churn:auc")
    before = incidents(container)
    trained(container, C=0.25)
    later(container, 2000)
    promote(container, "churn", 2, actor="ann", reason="the other is worse")
    react_all(container)
    assert incidents(container) == before


def test_a_version_that_was_taken_back_gives_way_to_the_next(container: Container) -> None:
    later(container, 1)
    opened(container, "slo:churn:auc")
    later(container, 2)
    trained(container, C=0.5)
    with container.store.begin() as tx:
        set_stage(tx, container, "churn", 2, "rolled-back", actor="homeostat", reason="worse")
    react_all(container)
    (one,) = incidents(container)
    assert one.moments[-1].by == "rolled back: worse"
    later(container, 3)
    trained(container, C=0.25)
    (one,) = incidents(container)
    assert [step.by for step in one.moments if step.what == "candidate"] == ["model/churn@3"]
    later(container, 4)
    trained(container, C=0.125)  # it is not over: what came in last counts
    (one,) = incidents(container)
    assert [step.by for step in one.moments if step.what == "candidate"] == ["model/churn@4"]


def test_a_canary_that_gave_way_leaves_its_place_to_the_next_one_that_is_trained(
    container: Container, tmp_path: Path
) -> None:
    trained(container, C=2.0)
    declare(container, tmp_path / "project", 'rollout=hs.Canary(decide_within="1d", min_requests=50),')
    later(container, 1)
    opened(container, "slo:churn:auc")
    trained(container, C=0.5)
    later(container, 2)
    promote(container, "churn", 1, actor="ann", reason="the one before was better")
    react_all(container)
    (one,) = incidents(container)
    assert [step.by for step in one.moments[-2:]] == [
        "model/churn@3",
        "superseded: the one before was better",
    ]
    trained(container, C=0.3)  # no champion yet, so it is for what it was trained that makes it the one
    (one,) = incidents(container)
    assert (one.moments[-1].what, one.moments[-1].by) == ("candidate", "model/churn@4")


def test_what_was_mended_at_once_is_over_when_another_version_comes_in(container: Container) -> None:
    later(container, 1)
    opened(container, "rollback:r1", decision="all traffic returned to @1")
    (one,) = incidents(container)
    assert [step.what for step in one.moments] == ["detected", "decided"]
    later(container, 5)
    trained(container, C=0.5)
    (one,) = incidents(container)
    assert (one.state, [step.what for step in one.moments]) == ("resolved", ["detected", "decided", "healed"])
    assert not incidents(container, "other")


def test_of_two_who_open_an_alert_at_once_one_does(tmp_path: Path, postgres_url: str) -> None:
    with Container(Settings(home=tmp_path / "home", store=postgres_url)) as container:
        other = threading.Thread(target=opened, args=(container, "a"))
        with container.store.begin() as tx:
            assert open_alert(
                tx,
                container,
                key="a",
                subject="deployment/churn",
                severity="ticket",
                summary="it is worse",
                action="none",
            )
            other.start()
            other.join(0.5)  # it waits, or has opened another
        other.join()
        assert container.store.count(Alert) == 1
