"""Reactions that fail: tried again, in order, then set aside visibly, so that what follows is not held up for ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homeostat.adapters.clock import SystemClock
from homeostat.app import reactors
from homeostat.app.attempts import ATTEMPTS
from homeostat.app.container import Container
from homeostat.app.reactors import Reactor, react, react_all
from homeostat.app.settings import Settings
from homeostat.domain.errors import StoreUnavailable
from homeostat.domain.events import Event
from homeostat.domain.records import Alert, Reaction


class Hands(SystemClock):
    """Real time that is moved by hand."""

    real = datetime(2026, 3, 2, tzinfo=UTC)

    def wall(self) -> datetime:
        return self.real


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def container(tmp_path: Path, clock: Hands) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        made.__dict__["clock"] = clock
        yield made


def happen(container: Container, *subjects: str) -> None:
    with container.store.begin() as tx:
        for subject in subjects:
            tx.append(Event(kind="thing.happened", subject=subject, at=container.clock.now()))


class Fragile:
    """Fails on one subject."""

    def __init__(self, error: Exception) -> None:
        self.error, self.seen = error, list[str]()

    def __call__(self, container: Container, event: Event) -> None:
        self.seen.append(event.subject)
        if event.subject == "thing/bad":
            raise self.error


def test_a_reaction_that_always_fails_is_set_aside_and_the_next_go_on(
    container: Container, clock: Hands
) -> None:
    happen(container, "thing/one", "thing/bad", "thing/two")
    fragile = Fragile(ValueError("no such thing"))
    reactor = Reactor("fragile", frozenset({"thing.happened"}), fragile)
    for _ in range(ATTEMPTS - 1):
        with pytest.raises(ValueError, match="no such thing"):
            react(container, reactor)
        assert react(container, reactor) == 0  # it waits for a while
        clock.real += timedelta(minutes=20)
    assert fragile.seen == ["thing/one"] + ["thing/bad"] * (
        ATTEMPTS - 1
    )  # what was seen to is not shown again
    assert not container.store.count(Alert)
    react(container, reactor)
    assert fragile.seen[-2:] == ["thing/bad", "thing/two"]
    (kept,) = container.store.find(Reaction)
    assert (kept.reactor, kept.event, kept.attempts, kept.dead) == ("fragile", 2, ATTEMPTS, True)
    (alert,) = container.store.find(Alert)
    assert (alert.subject, alert.severity) == ("trigger/fragile", "ticket")
    assert (
        "fragile failed 10 times on thing.happened of thing/bad: ValueError: no such thing" in alert.summary
    )
    seen = len(fragile.seen)
    react(container, reactor)
    assert len(fragile.seen) == seen


def test_a_store_that_does_not_answer_is_waited_for(container: Container) -> None:
    happen(container, "thing/bad")
    fragile = Fragile(StoreUnavailable("no answer"))
    reactor = Reactor("fragile", frozenset({"thing.happened"}), fragile)
    for _ in range(ATTEMPTS + 1):
        with pytest.raises(StoreUnavailable):
            react(container, reactor)
    assert not container.store.count(Reaction)


def test_one_reactor_that_fails_does_not_hold_up_the_others(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(container, "thing/bad")
    failing, whole = Fragile(ValueError("broken")), Fragile(ValueError("broken"))
    kinds = frozenset({"thing.happened"})
    both = (
        Reactor("failing", kinds, failing),
        Reactor("whole", kinds, lambda c, e: whole.seen.append(e.subject)),
    )
    monkeypatch.setattr(reactors, "REACTORS", both)
    with pytest.raises(ValueError, match="broken"):
        react_all(container)
    assert whole.seen == ["thing/bad"]
