"""The controller under fault: what dies is found, recorded and done again; what it decides is on record."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import psutil
import pytest

from homeostat.adapters.clock import SimulatedClock, SystemClock
from homeostat.app import explain
from homeostat.app.apply import apply
from homeostat.app.attempts import ATTEMPTS
from homeostat.app.container import Container
from homeostat.app.controller import Controller, Tick
from homeostat.app.datasets import append_log, seal
from homeostat.app.deliveries import ingest
from homeostat.app.judging import judge
from homeostat.app.leases import lease_of
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain import records
from homeostat.domain.errors import StoreUnavailable
from tests.app.idling import Idle

pytestmark = pytest.mark.slow

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import homeostat as hs
from sklearn.linear_model import LogisticRegression


class Ask(hs.Contract):
    id: str
    at: datetime
    size: Annotated[float, hs.Check(ge=-10, le=10)]


class Answer(hs.Contract):
    id: str
    known_at: datetime
    good: bool


asks = hs.Dataset("asks", key="id", time="at", contract=Ask)
answers = hs.Dataset("answers", key="id", time="known_at", contract=Answer)


@hs.on_request
def size(r):
    return r.select("size")


def train(data):
    mark = Path({mark!r})
    if not mark.exists():
        mark.write_text("began")
        time.sleep(60)
    return LogisticRegression().fit(data.X, data.y)


def leaves(data):
    raise SystemExit(3)


def backwards(data):
    return LogisticRegression().fit(data.X, 1 - data.y)


model = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=answers, request=asks),
    features=[size],
    train=train,
    gates=[hs.beats("champion", "log_loss", margin=-5.0)],
    rollout=hs.Canary(share=0.5, decide_within="1d", min_requests=50, tolerance=0.05),
    slo=hs.SLO(log_loss=0.6),
    retrain=hs.when(hs.new_labels(500), hs.slo_burn("log_loss"), cooldown="1h"),
)
"""


class Hands(SystemClock):
    """Real time that is moved by hand."""

    def __init__(self, real: datetime) -> None:
        super().__init__()
        self.real = real

    def wall(self) -> datetime:
        return self.real


def rows(count: int, first: int = 0, at: datetime = START) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(first)
    size = rng.normal(size=count)
    ids = [f"r{first + i}" for i in range(count)]
    times = [at + timedelta(seconds=i) for i in range(count)]
    good = rng.random(count) < 1 / (1 + np.exp(-3 * size))
    asks = pl.DataFrame({"id": ids, "at": times, "size": size})
    answers = pl.DataFrame({"id": ids, "known_at": [t + timedelta(minutes=1) for t in times], "good": good})
    return asks, answers


def opened(folder: Path) -> Container:
    return Container(Settings(home=folder / "home", clock="simulated"))


def declare(folder: Path) -> None:
    """A home with a shop that has sold, in a folder."""
    (folder / "shop").mkdir()
    (folder / "shop" / "project.py").write_text(PROJECT.format(mark=str(folder / "mark")))
    (folder / "home").mkdir()
    SimulatedClock(folder / "home" / "clock", START + timedelta(days=1)).close()
    with opened(folder) as container:
        apply(container, load_project(folder / "shop"))
        asks, answers = rows(400)
        ingest(container, "asks", asks)
        ingest(container, "answers", answers)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Training waits for as long as it is not there."""
    return tmp_path / "mark"


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    declare(tmp_path)
    with opened(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a shop whose first model answers."""
    folder = tmp_path_factory.mktemp("once")
    declare(folder)
    (folder / "mark").touch()
    with opened(folder) as container:
        controller = Controller(container)
        submit(container, "shop", reason="first model")
        until(controller, lambda tick: not tick.busy)
        controller.tick()
    return folder


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Iterator[Container]:
    """The same, for one test to change."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    with opened(tmp_path) as made:
        yield made


def until(controller: Controller, done: Callable[[Tick], bool], seconds: float = 240) -> list[str]:
    did: list[str] = []
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        tick = controller.tick()
        did += tick.did
        if done(tick):
            return did
        time.sleep(0.1)
    raise AssertionError(f"nothing came of it: {did}")


def advance(container: Container, span: timedelta) -> datetime:
    clock = container.clock
    assert isinstance(clock, SimulatedClock)
    clock.set(clock.now() + span)
    return clock.now()


def test_a_training_that_is_killed_is_recorded_and_done_again(container: Container, mark: Path) -> None:
    controller = Controller(container)
    run = submit(container, "shop", reason="first model")
    until(controller, lambda tick: mark.exists())
    (lease,) = container.store.find(records.Lease, ("role", "=", "job"))
    os.kill(lease.pid, signal.SIGKILL)
    did = until(controller, lambda tick: not tick.busy)
    killed = container.store.get(records.Run, run.id)
    assert killed is not None
    assert killed.state == "failed"
    assert "died" in killed.error or "ended" in killed.error
    second, _ = container.store.find(records.Run, order=["-created_at", "-id"])
    assert (second.state, second.attempt, second.reason) == ("succeeded", 2, "first model")
    (failed,) = container.ledger.find(kinds=["run.failed"], limit=9)
    assert (failed.subject, failed.body["again"]) == (f"run/{run.id}", second.id)
    assert any("attempt 2" in text for text in did)
    controller.tick()
    deployment = container.store.get(records.Deployment, "shop")
    assert deployment is not None
    assert [arm.version for arm in deployment.arms] == [1]
    assert not container.store.find(records.Lease, ("role", "=", "job"))
    assert container.ledger.verify().ok


def test_a_training_that_hangs_is_ended_and_done_again(container: Container, mark: Path) -> None:
    controller = Controller(container)
    run = submit(container, "shop", reason="first model")
    until(controller, lambda tick: mark.exists())
    (lease,) = container.store.find(records.Lease, ("role", "=", "job"))
    with container.store.begin() as tx:  # it began two days ago
        since = lease.detail["taken"] - timedelta(days=2).total_seconds()
        tx.put(msgspec.structs.replace(lease, detail=lease.detail | {"taken": since}))
    did = controller.tick().did
    assert any("took longer than 1d and was ended; run/" in text for text in did)
    assert not psutil.pid_exists(lease.pid) or psutil.Process(lease.pid).status() == psutil.STATUS_ZOMBIE
    hung = container.store.get(records.Run, run.id)
    assert hung is not None
    assert hung.state == "failed"
    (again,) = container.store.find(records.Run, ("id", "!=", run.id))
    assert (again.attempt, again.reason) == (2, "first model")


def test_another_controller_takes_over_where_one_died(
    container: Container, mark: Path, tmp_path: Path
) -> None:
    """The first controller's process ends, with its jobs, in the middle of a training."""
    submit(container, "shop", reason="first model")
    with Container(container.settings) as first:
        until(Controller(first), lambda tick: mark.exists())
    until(Controller(container), lambda tick: not tick.busy)
    (run,) = container.store.find(records.Run)
    assert run.state == "succeeded"
    assert container.ledger.verify().ok


def test_a_run_whose_controller_died_after_reaping_is_done_again(container: Container, mark: Path) -> None:
    """Nothing but the run itself says that it was lost: its lease is gone, and no executor knows of it."""
    mark.touch()
    run = submit(container, "shop", reason="first model")
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(run, state="running", attempt=2))
    did = Controller(container).tick().did
    assert any("attempt 3" in text for text in did)
    lost = container.store.get(records.Run, run.id)
    assert lost is not None
    assert lost.state == "failed"


def test_a_lost_run_that_cannot_be_tried_again_keeps_no_other_from_it(
    container: Container, mark: Path
) -> None:
    mark.touch()
    lost = [submit(container, "shop", reason="first model") for _ in range(2)]
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(lost[0], state="running", model="removed"))
        tx.put(msgspec.structs.replace(lost[1], state="running"))
    did = Controller(container).tick().did
    assert any("not tried again: there is no model/removed" in text for text in did)
    assert any("attempt 2" in text for text in did)


def test_a_retry_and_the_failure_before_it_are_recorded_together_or_not_at_all(
    container: Container, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark.touch()
    run = submit(container, "shop", reason="first model")
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(run, state="running"))

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the tables do not answer")

    with monkeypatch.context() as patch:
        patch.setattr("homeostat.app.training.seal", away)
        assert any("the tables do not answer" in text for text in Controller(container).tick().did)
    assert [one.state for one in container.store.find(records.Run)] == ["running"]
    assert any("attempt 2" in text for text in Controller(container).tick().did)


def test_a_training_function_that_exits_has_failed(container: Container, mark: Path) -> None:
    run = submit(container, "shop", reason="first model", using="project:leaves")
    with pytest.raises(SystemExit):
        execute(container, run.id)
    failed = container.store.get(records.Run, run.id)
    assert failed is not None
    assert (failed.state, failed.error) == ("failed", "SystemExit: 3")


def test_a_candidate_whose_judging_never_ends_is_rejected_in_the_end(trained: Container) -> None:
    first = trained.store.get(records.ModelVersion, "shop", 1)
    assert first is not None
    with trained.store.begin() as tx:
        tx.put(msgspec.structs.replace(first, version=2, stage="candidate"))
    clock = Hands(START)
    trained.__dict__["clock"], trained.__dict__["executor"] = clock, Idle()
    controller, begun = Controller(trained), 0
    for _ in range(20):
        begun += sum("judging model/shop@2" in text for text in controller.tick().did)
        clock.real += timedelta(minutes=20)
    second = trained.store.get(records.ModelVersion, "shop", 2)
    assert second is not None
    assert (second.stage, begun) == ("rejected", ATTEMPTS - 1)
    assert "9 times without a verdict" in second.stage_reason


def test_a_candidate_is_judged_again_for_as_long_as_a_store_is_away(
    trained: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained.store.get(records.ModelVersion, "shop", 1)
    assert first is not None
    with trained.store.begin() as tx:
        tx.put(msgspec.structs.replace(first, version=2, stage="candidate"))
    clock = Hands(START)
    trained.__dict__["clock"], trained.__dict__["executor"] = clock, Idle()

    def away(*_: object) -> None:
        raise StoreUnavailable("no blobs")

    controller = Controller(trained)
    with monkeypatch.context() as outage:
        outage.setattr(trained, "package", away)
        for _ in range(3 * ATTEMPTS):
            if any("judging model/shop@2" in text for text in controller.tick().did):
                with pytest.raises(StoreUnavailable):
                    judge(trained, "shop", 2)
            clock.real += timedelta(minutes=20)
    assert judge(trained, "shop", 2).stage == "accepted"


def test_one_dataset_that_cannot_be_sealed_keeps_no_other_from_it(
    trained: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(container: Container, name: str) -> object:
        if name == "answers":
            raise ValueError("a torn batch")
        return seal(container, name)

    monkeypatch.setattr("homeostat.app.controller.seal", bad)
    monkeypatch.setattr("homeostat.app.controller.refresh", lambda _: 1 / 0)
    for name in ("answers", "shop.labels"):
        append_log(trained, name, pl.DataFrame({"prediction_id": ["x"]}))
    advance(trained, timedelta(days=8))
    did = Controller(trained).tick().did
    assert "dataset/answers: ValueError: a torn batch" in did
    assert "the online store: ZeroDivisionError: division by zero" in did
    assert not trained.store.count(records.Batch, ("dataset", "=", "shop.labels"))


def test_a_champion_that_cannot_be_asked_is_no_fault_of_the_candidate(trained: Container) -> None:
    champion = trained.store.get(records.ModelVersion, "shop", 1)
    assert champion is not None
    with trained.store.begin() as tx:
        tx.put(msgspec.structs.replace(champion, digest="sha256:" + "0" * 64))
    version = execute(trained, submit(trained, "shop", reason="another").id)
    assert version is not None
    assert version.stage == "accepted"
    (gate,) = trained.store.find(records.GateResult, ("version", "=", version.version))
    assert gate.reason.startswith("the champion cannot be asked: Unsafe: the manifest has digest")


def test_a_canary_that_a_newer_version_came_after_may_come_again(trained: Container) -> None:
    versions = []
    for _ in range(3):  # the third from what the first canary was made of
        versions.append(execute(trained, submit(trained, "shop", reason="again").id))
        react_all(trained)
        if len(versions) == 1:
            asks, answers = rows(100, 1000)
            ingest(trained, "asks", asks)
            ingest(trained, "answers", answers)
    stages = {one.version: one.stage for one in trained.store.find(records.ModelVersion)}
    assert stages == {1: "champion", 2: "superseded", 3: "superseded", 4: "canary"}


def test_what_fails_is_told_and_the_rest_is_done(
    container: Container, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark.touch()

    def broken(*_: object) -> None:
        raise ValueError("the project's own code")

    monkeypatch.setattr("homeostat.app.controller.sync_workers", broken)
    monkeypatch.setattr("homeostat.app.triggers.watch", broken)
    with container.store.begin() as tx:
        tx.insert(
            records.Rollout(
                id="r", deployment="shop", candidate=2, champion=1, state="running", share=0.5, began_at=START
            )
        )
    did = Controller(container).tick().did
    assert "canaries: ValueError: the project's own code" in did
    assert "monitors of shop: failed: ValueError: the project's own code" in did


def test_the_training_of_one_model_does_not_hold_back_another(container: Container, mark: Path) -> None:
    mark.touch()
    _, answers = rows(200, 1000)
    ingest(container, "answers", answers)
    run = submit(container, "shop", reason="of another model")
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(run, state="running", model="other"))
        tx.put(lease_of(container, "job", f"run/{run.id}"))
    did = Controller(container).tick().did
    assert any(text.startswith("trigger/shop fired") for text in did)
    assert container.store.count(records.Run, ("model", "=", "shop")) == 1


def answered(
    container: Container,
    asks: pl.DataFrame,
    version: int,
    arm: str,
    score: float | None,
    shadow: float,
    error: str | None = None,
) -> None:
    """Rows of the prediction log as a model server writes them."""
    canary = arm == "canary"
    log = asks.select(
        prediction_id=pl.format("p{}", "id"),
        at=pl.lit(container.clock.now()),
        time=pl.col("at"),
        key=pl.col("id"),
        version=pl.lit(version),
        arm=pl.lit(arm),
        score=pl.lit(score, pl.Float64),
        shadow_version=pl.lit(1 if canary else None, pl.Int64),
        shadow_score=pl.lit(shadow if canary else None, pl.Float64),
        error=pl.lit(error, pl.String),
        status=pl.lit(200),
        latency_us=pl.lit(900),
        size__size=pl.col("size"),
    )
    append_log(container, "shop.predictions", log)


def canary(container: Container, controller: Controller, using: str = "") -> records.Rollout:
    submit(container, "shop", reason="by hand", using=using)
    until(controller, lambda tick: not tick.busy)
    controller.tick()
    (rollout,) = container.store.find(records.Rollout)
    assert rollout.state == "running"
    return rollout


def test_a_canary_that_answers_worse_is_rolled_back(trained: Container) -> None:
    controller = Controller(trained)
    rollout = canary(trained, controller, using="project:backwards")
    now = advance(trained, timedelta(hours=1))
    asks, answers = rows(200, 1000, now)
    answered(trained, asks.head(100), rollout.candidate, "canary", 0.05, 0.95)
    answered(trained, asks.tail(100), 1, "champion", 0.5, 0.5)
    ingest(trained, "answers", answers.with_columns(good=pl.lit(True)).head(60))
    advance(trained, timedelta(hours=1))
    controller.tick()
    ended = trained.store.get(records.Rollout, rollout.id)
    assert ended is not None
    assert ended.state == "rolled-back"
    assert (ended.requests, ended.labelled) == (100, 60)
    assert "log loss" in ended.reason
    deployment = trained.store.get(records.Deployment, "shop")
    assert deployment is not None
    assert [(arm.version, arm.weight) for arm in deployment.arms] == [(1, 1.0)]
    version = trained.store.get(records.ModelVersion, "shop", rollout.candidate)
    assert version is not None
    assert version.stage == "rolled-back"
    assert trained.store.find(records.Alert, ("key", "=", f"rollback:{rollout.id}"))


def test_quality_is_held_to_its_level_where_no_rule_asks_for_it(trained: Container, tmp_path: Path) -> None:
    file = tmp_path / "shop" / "project.py"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "retrain=" not in line))
    apply(trained, load_project(file.parent))
    controller, evaluated = Controller(trained), trained.store.count(records.Evaluation)
    now = advance(trained, timedelta(days=1))
    asks, answers = rows(150, 1000, now)
    answered(trained, asks, 1, "champion", 0.05, 0.5)
    ingest(trained, "answers", answers.with_columns(good=pl.lit(True)))
    controller.tick()
    (page,) = trained.store.find(records.Alert, ("key", "=", "slo:shop:log_loss"))
    assert page.severity == "page"
    assert "homeostat train shop" in page.action  # there is no rule that would
    of = (("deployment", "=", "shop"), ("monitor", "=", "log_loss"))
    looked = trained.store.count(records.Window, *of)
    advance(trained, timedelta(hours=23))
    controller.tick()
    assert trained.store.count(records.Window, *of) == looked
    advance(trained, timedelta(hours=1))
    controller.tick()
    assert trained.store.count(records.Window, *of) == looked + 1
    assert trained.store.count(records.Evaluation) == evaluated


def test_a_canary_that_is_no_worse_is_promoted_at_the_deadline(trained: Container) -> None:
    controller = Controller(trained)
    rollout = canary(trained, controller)
    now = advance(trained, timedelta(hours=1))
    asks, answers = rows(100, 1000, now)
    answered(trained, asks, rollout.candidate, "canary", 0.6, 0.6)
    ingest(trained, "answers", answers)
    controller.tick()
    assert trained.store.find(records.Rollout)[0].state == "running"
    advance(trained, timedelta(days=1))
    controller.tick()
    assert trained.store.find(records.Rollout)[0].state == "promoted"
    tree = explain.lineage(trained, "model/shop@champion", "down")
    assert "deployment/shop" in str(tree)
    alias = trained.store.get(records.Alias, "shop", "champion")
    assert alias is not None
    assert alias.version == rollout.candidate


def test_a_prediction_is_traced_to_the_version_that_answered_it(trained: Container) -> None:
    asks, answers = rows(1, 1000)
    answered(trained, asks, 2, "canary", None, 0.7, error="ValueError: the candidate failed")
    ingest(trained, "answers", answers.with_columns(good=pl.lit(True)))
    ingest(trained, "answers", answers.with_columns(good=pl.lit(False)))
    seal(trained, "answers")
    traced = explain.trace(trained, "pr1000")
    assert traced["model"] == "model/shop@1"
    assert (traced["answered"]["arm"], traced["answered"]["score"]) == ("champion", 0.7)
    assert traced["label"] is False


def test_every_evaluation_of_a_rule_is_kept_with_its_reason(trained: Container) -> None:
    controller = Controller(trained)
    advance(trained, timedelta(days=1))
    controller.tick()
    found = {e.rule: e for e in explain.why(trained, "trigger/shop", limit=2)}
    assert not found["new labels 500"].fired
    assert "0 labelled rows" in found["new labels 500"].reason
    asks, answers = rows(600, 5000, trained.clock.now())
    ingest(trained, "asks", asks)
    ingest(trained, "answers", answers)
    advance(trained, timedelta(days=1))
    tick = controller.tick()
    found = {e.rule: e for e in explain.why(trained, "shop", limit=2)}
    assert found["new labels 500"].fired
    assert found["new labels 500"].run
    assert any("fired" in text for text in tick.did)
    run = trained.store.get(records.Run, found["new labels 500"].run)
    assert run is not None
    assert "600 labelled rows" in run.reason
    until(controller, lambda tick: not tick.busy)


def test_nothing_is_trained_while_a_source_is_broken(trained: Container) -> None:
    controller = Controller(trained)
    now = advance(trained, timedelta(days=1))
    asks, answers = rows(600, 5000, now)
    ingest(trained, "answers", answers)
    ingest(trained, "asks", asks.with_columns(size=pl.col("size") * 1000))
    controller.tick()
    found = {e.rule: e for e in explain.why(trained, "shop", limit=2)}
    assert found["new labels 500"].fired
    assert "held" in found["new labels 500"].reason
    assert "size" in found["new labels 500"].reason
    assert not found["new labels 500"].run
    (alert,) = trained.store.find(records.Alert)
    assert alert.severity == "page"
    advance(trained, timedelta(days=1, hours=1))
    controller.tick()
    (alert,) = trained.store.find(records.Alert)
    assert alert.state == "resolved"
