"""Experiments and runs: made, renamed, deleted and brought back, each with its event, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.records import Run

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def container(store_url: str, tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as made:
        yield made


def kinds(container: Container, subject: str) -> list[str]:
    return [event.kind for event in container.ledger.find(subject=subject, newest=False)]


def test_the_default_experiment_is_always_there(container: Container) -> None:
    assert tracking.experiment(container, 0).name == "Default"
    assert tracking.experiment(container, 0).artifacts == "mlflow-artifacts:/0"
    assert [one.id for one in tracking.search_experiments(container).items] == [0]
    with pytest.raises(NotFound, match="No Experiment with id=7 exists"):
        tracking.experiment(container, 7)
    assert tracking.experiment_by_name(container, "none") is None
    with pytest.raises(Conflict, match=r"Experiment\(name=Default\) already exists"):
        tracking.create_experiment(container, "Default")


def test_the_life_of_an_experiment(container: Container) -> None:
    made = tracking.create_experiment(container, "one", artifacts="s3://b/one", tags={"t": "1"})
    assert (made.id, made.artifacts) == (1, "s3://b/one")
    for _ in range(2):  # the second time it is as it was
        tracking.tag_experiment(container, 1, "u", "2")
    assert tracking.experiment_tags(container, [0, 1]) == {0: {}, 1: {"t": "1", "u": "2"}}
    tracking.untag_experiment(container, 1, "u")
    with pytest.raises(NotFound, match="No tag with name: u"):
        tracking.untag_experiment(container, 1, "u")
    assert tracking.rename_experiment(container, 1, "two").name == "two"
    with pytest.raises(Conflict, match="already exists"):
        tracking.rename_experiment(container, 1, "Default")

    before = tracking.create_run(container, 1)
    tracking.delete_run(container, before.id)
    run = tracking.create_run(container, 1)
    assert tracking.delete_experiment(container, 1).deleted_at is not None
    assert tracking.run(container, run.id).deleted_at is not None
    for refused in (
        lambda: tracking.create_run(container, 1),
        lambda: tracking.tag_experiment(container, 1, "a", "b"),
        lambda: tracking.rename_experiment(container, 1, "three"),
    ):
        with pytest.raises(BadRequest, match=r"'active' state|non-active"):
            refused()
    with pytest.raises(NotFound):
        tracking.delete_experiment(container, 1)
    with pytest.raises(Conflict, match="already exists in deleted state"):
        tracking.create_experiment(container, "two")
    assert [one.id for one in tracking.search_experiments(container, view="deleted").items] == [1]

    assert tracking.restore_experiment(container, 1).deleted_at is None
    assert tracking.run(container, run.id).deleted_at is None
    assert tracking.run(container, before.id).deleted_at is not None  # it was deleted by itself
    with pytest.raises(NotFound):
        tracking.restore_experiment(container, 1)
    wanted = ["created", "tagged", "untagged", "renamed", "deleted", "restored"]
    assert kinds(container, "experiment/1") == [f"experiment.{what}" for what in wanted]
    assert container.ledger.verify().ok


@pytest.mark.parametrize("name", ["", "a" * 501])
def test_names_that_experiments_cannot_have(container: Container, name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        tracking.create_experiment(container, name)
    assert caught.value.field == "name"


def test_threads_that_make_experiments_take_different_numbers(container: Container) -> None:
    made: list[int] = []
    refused: list[Conflict] = []

    def work(number: int) -> None:
        made.append(tracking.create_experiment(container, f"e{number}").id)
        try:
            made.append(tracking.create_experiment(container, "same").id)
        except Conflict as error:
            refused.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [1, 2, 3, 4, 5]
    assert len(refused) == 3


def test_the_life_of_a_run(container: Container) -> None:
    run = tracking.create_run(container, 0, actor="ada", started_at=AT, tags={"t": "1"}, id="r1")
    assert (run.id, run.state, run.started_at, run.ended_at) == ("r1", "running", AT, None)
    assert tracking.run_data(container, ["r1"])["r1"].tags == {"t": "1", "mlflow.runName": run.name}
    with pytest.raises(Conflict):
        tracking.create_run(container, 0, id="r1")

    ended = tracking.update_run(container, "r1", state="failed", name="renamed", error="why")
    assert ended.ended_at is not None
    assert (ended.name, ended.error) == ("renamed", "why")
    assert tracking.run_data(container, ["r1"])["r1"].tags["mlflow.runName"] == "renamed"
    assert tracking.update_run(container, "r1", ended_at=AT).ended_at == AT
    assert tracking.update_run(container, "r1", state="running").ended_at is None

    assert tracking.delete_run(container, "r1").deleted_at is not None
    assert tracking.delete_run(container, "r1").deleted_at is not None
    with pytest.raises(BadRequest, match="must be in the 'active' state"):
        tracking.update_run(container, "r1", name="no")
    assert [one.id for one in tracking.search_runs(container, [0], view="deleted").items] == ["r1"]
    assert tracking.search_runs(container, [0]).items == []
    assert tracking.restore_run(container, "r1").deleted_at is None
    assert tracking.restore_run(container, "r1").deleted_at is None
    wanted = ["created", "renamed", "failed", "resumed", "deleted", "restored"]
    assert kinds(container, "run/r1") == [f"run.{what}" for what in wanted]


def test_a_run_has_one_name(container: Container) -> None:
    assert tracking.create_run(container, 0, tags={"mlflow.runName": "tagged"}).name == "tagged"
    assert tracking.create_run(container, 0, name="same", tags={"mlflow.runName": "same"}).name == "same"
    assert tracking.create_run(container, 0).name
    with pytest.raises(BadRequest, match="with different values"):
        tracking.create_run(container, 0, name="one", tags={"mlflow.runName": "two"})
    with pytest.raises(NotFound, match="No Experiment with id=9 exists"):
        tracking.create_run(container, 9)
    with pytest.raises(NotFound, match="Run with id=none not found"):
        tracking.delete_run(container, "none")


def test_no_run_lives_on_in_a_deleted_experiment(container: Container) -> None:
    ids = [tracking.create_experiment(container, f"e{number}").id for number in range(8)]

    def run(id: int) -> None:
        with suppress(BadRequest):
            tracking.create_run(container, id)

    with ThreadPoolExecutor(8) as pool:
        works = (run, partial(tracking.delete_experiment, container))
        for one in [pool.submit(work, id) for id in ids for work in works]:
            one.result()
    assert [one for one in container.store.find(Run) if one.deleted_at is None] == []
