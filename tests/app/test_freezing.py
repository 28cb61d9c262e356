"""The emergency stop, and what is not tried twice: the loop stands still, says so, and goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.app import explain
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.freezing import freeze, freezes, unfreeze
from homeostat.app.reactors import react_all
from homeostat.app.registry.pointers import champion_of
from homeostat.app.rollouts import return_to
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import Conflict, NotFound
from homeostat.domain.events import Event
from homeostat.domain.records import ModelVersion, Rollout, Run
from tests.app.churning import declare, trained
from tests.cli.invoking import Shell

ALWAYS = 'retrain=hs.when(hs.every("1ms"), cooldown="1ms", check_every="1ms"),'
CANARY = 'rollout=hs.Canary(share=0.5, watch=["errors"], decide_within="1ms", min_requests=0),'


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


def test_nothing_is_trained_while_frozen_and_each_evaluation_says_so(
    container: Container, tmp_path: Path
) -> None:
    declare(container, tmp_path / "project", ALWAYS)
    waiting = submit(container, "churn", reason="before the freeze")
    made = freeze(container, "churn", reason="the labels look wrong", actor="ann")
    with pytest.raises(Conflict, match="the labels look wrong"):
        submit(container, "churn", reason="by hand")
    tick = Controller(container).tick()
    assert not tick.busy
    assert [run.id for run in container.store.find(Run, ("state", "=", "queued"))] == [waiting.id]
    (evaluation,) = explain.why(container, "churn")
    assert evaluation.fired
    assert not evaluation.run
    assert f"held: training is frozen, {made.why}" in evaluation.reason
    assert [one["why"] for one in explain.status(container)["frozen"]] == [made.why]
    ended = unfreeze(container, "churn", reason="they were right", actor="bob")
    assert ended == made
    assert not freezes(container)
    # The freeze and its end are in the ledger, with who and why.
    kinds = [
        (event.kind, event.actor, event.body["reason"])
        for event in container.ledger.find(subject="model/churn", kinds=["loop.frozen", "loop.unfrozen"])
    ]
    assert kinds == [
        ("loop.unfrozen", "bob", "they were right"),
        ("loop.frozen", "ann", "the labels look wrong"),
    ]
    assert container.ledger.verify().ok


def test_what_was_accepted_waits_for_the_end_of_the_freeze(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project")
    execute(container, submit(container, "churn", reason="first").id)
    freeze(container, reason="everything", actor="ann")
    react_all(container)
    assert champion_of(container.store, "churn") is None
    assert not Controller(container).tick().busy
    unfreeze(container, reason="go on", actor="ann")
    react_all(container)
    alias = champion_of(container.store, "churn")
    assert alias is not None
    assert alias.version == 1


def test_a_canary_is_not_promoted_while_frozen(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project", CANARY)
    trained(container)
    trained(container, C=0.5)
    freeze(container, "churn", reason="wait", actor="ann")
    controller = Controller(container)
    controller.tick()
    (rollout,) = container.store.find(Rollout)
    assert rollout.state == "running"
    unfreeze(container, "churn", reason="go on", actor="ann")
    controller.tick()
    (rollout,) = container.store.find(Rollout)
    assert rollout.state == "promoted"


def test_what_was_rolled_back_is_not_tried_again_unchanged(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project")
    trained(container)
    trained(container, C=0.5)
    with container.store.begin() as tx:
        return_to(tx, container, "churn", 1, actor="homeostat", reason="it was slow")
    again = execute(container, submit(container, "churn", reason="once more", params={"C": 0.5}).id)
    assert again is not None
    react_all(container)
    found = container.store.get(ModelVersion, "churn", again.version)
    assert found is not None
    assert found.stage == "rejected"
    assert "rolled back as @2: it was slow" in found.stage_reason
    alias = champion_of(container.store, "churn")
    assert alias is not None
    assert alias.version == 1
    trained(container, C=0.25)  # what is another is tried


def test_a_freeze_holds_however_many_others_came_after_it(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project")
    made = freeze(container, "churn", reason="the labels look wrong", actor="ann")
    with container.store.begin() as tx:  # what a script did that froze and unfroze others
        for number in range(600):
            for kind in ("loop.frozen", "loop.unfrozen"):
                tx.append(
                    Event(
                        kind=kind,
                        subject=f"model/other-{number}",
                        at=container.clock.now(),
                        actor="bob",
                        body={"model": f"other-{number}", "reason": "a script"},
                    )
                )
    assert freezes(container) == [made]
    with pytest.raises(Conflict, match="the labels look wrong"):
        submit(container, "churn", reason="by hand")


def test_what_cannot_be_frozen_is_said(container: Container, tmp_path: Path) -> None:
    declare(container, tmp_path / "project")
    with pytest.raises(NotFound, match="model/chrun"):
        freeze(container, "chrun", reason="a slip", actor="ann")
    with pytest.raises(Conflict, match="no freeze"):
        unfreeze(container, "churn", reason="why not", actor="ann")
    freeze(container, reason="all", actor="ann")
    with pytest.raises(Conflict, match="already"):
        freeze(container, reason="again", actor="bob")
    with pytest.raises(Conflict, match="of its own") as error:
        unfreeze(container, "churn", reason="only this", actor="bob")
    assert "every model by ann" in error.value.remedy


def test_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Container(Settings(home=tmp_path / ".homeostat")) as container:
        declare(container, tmp_path / "project")
    shell = Shell(tmp_path, monkeypatch, capsys)
    done = shell("freeze", "churn", "--reason", "the feed is down", "--as", "ann")
    assert "Frozen: model/churn by ann" in done.out
    assert "homeostat unfreeze churn" in done.out
    assert "Frozen: model/churn by ann" in shell("status").out
    assert "the feed is down" in shell("train", "churn", status=1).err
    assert "No longer frozen: model/churn by ann" in shell("unfreeze", "churn").out
    assert "Frozen" not in shell("status").out
