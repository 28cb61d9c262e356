"""What nothing refers to goes, and nothing else, whatever is being stored at the same time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest

from homeostat.app import artifacts, garbage, purging, tracking
from homeostat.app.artifacts import content, find, listing, write
from homeostat.app.container import Container
from homeostat.app.garbage import each, free
from homeostat.app.logged_models import create_logged_model, delete_logged_model, log_logged_model_params
from homeostat.app.purging import collect
from homeostat.app.settings import Settings
from homeostat.domain.records import ModelVersion, Project, Record, Run, StepExecution
from homeostat.domain.tracking import ArtifactFile, LoggedModel, LoggedModelMetric, LoggedModelParam
from homeostat.engine.tracking.points import Point

NEVER = timedelta(days=-1)  # no blob is too young
NOW = timedelta()


@pytest.fixture
def container(tmp_path: Path, store_url: str) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        yield container


def blobs(container: Container) -> set[str]:
    return {blob.digest for blob in container.blobs.stored()}


def test_everything_that_a_record_names_stays(container: Container) -> None:
    put, now = container.blobs.put, container.clock.now()
    source, code, environment, output, package = map(put, [b"source", b"code", b"lock", b"output", b"model"])
    file = write(container, "1/ab12/artifacts/x", b"artifact")
    put(b"nobody's")
    with container.store.begin() as tx:
        tx.insert(
            Project(name="p", path="/p", digest="d", source=source, declared={}, applied_at=now),
            Run(id="r", kind="train", state="succeeded", code=code, environment=environment, created_at=now),
            StepExecution(
                id="s", pipeline="p", step="s", key="k", state="succeeded", output=output, began_at=now
            ),
            ModelVersion(
                model="m",
                version=1,
                manifest={"files": {"model.skops": package}},
                run="r",
                stage="candidate",
                created_at=now,
                updated_at=now,
            ),
        )
    counted = free(container, delete=False, grace=NEVER)
    assert (counted.blobs, counted.bytes, counted.kept, counted.young) == (1, 8, 6, 0)
    assert len(blobs(container)) == 7
    assert container.ledger.find(kinds=["blobs.freed"]) == []
    assert free(container, delete=True, grace=NEVER) == counted
    assert blobs(container) == {source, code, environment, output, package, *file.chunks}
    event = container.ledger.find(kinds=["blobs.freed"])[0]
    assert event.body == {"blobs": 1, "bytes": 8}
    assert free(container, delete=True, grace=NEVER).blobs == 0
    assert len(container.ledger.find(kinds=["blobs.freed"])) == 1


def test_what_was_put_of_late_stays(container: Container) -> None:
    digest = container.blobs.put(b"on its way in")
    freed = free(container, delete=True)
    assert (freed.blobs, freed.kept, freed.young) == (0, 1, 1)
    assert container.blobs.exists(digest)


def test_an_overwritten_and_a_removed_file_free_their_bytes_but_not_shared_ones(container: Container) -> None:
    write(container, "1/ab12/artifacts/a", b"one")
    write(container, "1/ab12/artifacts/b", b"one")
    write(container, "1/ab12/artifacts/c", b"two")
    write(container, "1/ab12/artifacts/c", b"three")
    artifacts.remove(container, "1/ab12/artifacts/a")
    assert free(container, delete=True, grace=NEVER).bytes == 3
    assert b"".join(content(container, find(container, "1/ab12/artifacts/b"))) == b"one"
    artifacts.remove(container, "1/ab12/artifacts")
    assert free(container, delete=True, grace=NEVER).bytes == 8
    assert blobs(container) == set()


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_each_record_is_seen_once_and_in_order(
    container: Container, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(garbage, "_PAGE", page)
    names = [(f"{root}/artifacts", str(path)) for root in range(3) for path in range(root + 1)]
    now = container.clock.now()
    with container.store.begin() as tx:
        tx.insert(*(ArtifactFile(root=root, path=path, size=0, chunks=[], at=now) for root, path in names))
    assert [(file.root, file.path) for file in each(container.store, ArtifactFile)] == names


def test_every_kind_of_record_is_looked_at_or_is_known_to_name_no_blob() -> None:
    known = set(garbage.kinds())
    assert {Run, ArtifactFile, ModelVersion} <= known - garbage._WITHOUT
    assert known >= garbage._WITHOUT
    assert all(issubclass(kind, Record) and kind.KEY for kind in known)


def test_storing_while_collecting_loses_nothing(tmp_path: Path) -> None:
    """What one writer has made garbage a second ago is what the next one stores."""
    with Container(Settings(home=tmp_path / "home")) as container:
        contents = [os.urandom(100) for _ in range(100)]
        stop, errors, freed = Event(), [], []

        def collecting() -> None:
            while not stop.is_set():
                freed.append(free(container, delete=True, grace=timedelta(seconds=1)).blobs)

        def storing(number: int) -> None:
            chance = random.Random(number)
            try:
                while not stop.is_set():
                    path, data = f"1/{number}/artifacts/{chance.randrange(3)}", chance.choice(contents)
                    write(container, path, data)
                    stop.wait(chance.random() * 0.1)
                    assert b"".join(content(container, find(container, path))) == data
                    if chance.random() < 0.5:
                        artifacts.remove(container, path)
            except BaseException as error:
                errors.append(error)
                stop.set()
                raise

        threads = [Thread(target=collecting), *(Thread(target=storing, args=(n,)) for n in range(3))]
        for thread in threads:
            thread.start()
        stop.wait(5)
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert sum(freed) > 0


def _run(container: Container, experiment: int, **logged: bytes) -> str:
    run = tracking.create_run(container, experiment, tags={"a": "b"})
    tracking.log(container, run.id, metrics=[Point("loss", 0.5, 1, 1)], params={"p": "1"})
    for name, data in logged.items():
        write(container, f"{experiment}/{run.id}/artifacts/{name}", data)
    return run.id


def test_a_deleted_run_goes_with_all_that_is_its_own(container: Container) -> None:
    experiment = tracking.create_experiment(container, "tides").id
    gone, kept = _run(container, experiment, x=b"gone"), _run(container, experiment, x=b"kept")
    tracking.delete_run(container, gone)
    assert collect(container, timedelta(days=1), delete=True).runs == []  # not deleted long enough
    planned = collect(container, NOW, delete=False)
    assert (planned.deleted, planned.runs) == (False, [gone])
    assert container.store.get(Run, gone) is not None
    assert collect(container, NOW, delete=True, actor="ada").runs == [gone]
    for kind in garbage.kinds():
        records = container.store.find(kind)
        assert all(getattr(record, "run", "") != gone for record in records), kind
    assert container.store.find(Run) == [container.store.get(Run, kept)]
    assert listing(container, f"{experiment}/{gone}/artifacts") == []
    assert tracking.run_data(container, [kept])[kept].params == {"p": "1"}
    event = container.ledger.find(subject=f"run/{gone}", kinds=["run.purged"])[0]
    assert event.actor == "ada"


def test_what_would_be_freed_is_counted_before(container: Container) -> None:
    experiment = tracking.create_experiment(container, "tides").id
    gone = _run(container, experiment, x=b"of one", y=b"of both")
    _run(container, experiment, y=b"of both")
    tracking.delete_run(container, gone)
    planned = free(container, delete=False, grace=NEVER)
    assert planned.blobs == 0
    # The blobs are young, so that a plan counts none: let them be old.
    for path in (container.settings.home / "blobs").rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert collect(container, NOW, delete=False).freed.bytes == 6
    assert collect(container, NOW, delete=True).freed.bytes == 6
    assert len(blobs(container)) == 1


def test_a_deleted_experiment_goes_with_runs_models_and_files_and_its_number_is_not_given_again(
    container: Container,
) -> None:
    first = tracking.create_experiment(container, "tides", tags={"a": "b"})
    run = _run(container, first.id, x=b"x")
    model = create_logged_model(container, first.id, run=run, params=[("p", "1")], tags={"t": "1"})
    tracking.log(container, run, metrics=[Point("acc", 0.5, 1, 1, model.id, "d", "e")])
    write(container, f"{first.id}/models/{model.id}/artifacts/MLmodel", b"m")
    write(container, f"{first.id}/elsewhere", b"e")
    tracking.delete_experiment(container, first.id)
    found = collect(container, NOW, delete=True)
    assert (found.runs, found.models, found.experiments) == ([run], [model.id], [f"{first.id} tides"])
    for kind in (ArtifactFile, Run, LoggedModelParam, LoggedModelMetric):
        assert container.store.find(kind) == []
    assert tracking.create_experiment(container, "tides").id == first.id + 1


def test_an_experiment_that_is_restored_meanwhile_keeps_its_models(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = tracking.create_experiment(container, "tides").id
    kept = create_logged_model(container, experiment, params=[("p", "1")])
    write(container, f"{experiment}/models/{kept.id}/artifacts/MLmodel", b"m")
    gone = create_logged_model(container, experiment)
    delete_logged_model(container, gone.id)
    tracking.delete_experiment(container, experiment)
    look = purging._find

    def restored(*given: Any) -> Any:
        found = look(*given)
        tracking.restore_experiment(container, experiment)
        return found

    monkeypatch.setattr(purging, "_find", restored)
    collect(container, NOW, delete=True)
    assert [model.id for model in container.store.find(LoggedModel)] == [kept.id]
    assert container.store.count(LoggedModelParam) == container.store.count(ArtifactFile) == 1
    assert tracking.experiment(container, experiment).deleted_at is None


def test_what_a_registered_version_comes_from_stays(container: Container) -> None:
    experiment = tracking.create_experiment(container, "tides").id
    ids = [_run(container, experiment, x=b"x") for _ in range(4)]
    models = [create_logged_model(container, experiment) for _ in range(2)]
    for id in ids:
        tracking.delete_run(container, id)
    for model in models:
        delete_logged_model(container, model.id)
    now = container.clock.now()
    base = ModelVersion(model="m", version=1, run="", stage="registered", created_at=now, updated_at=now)
    sources = [
        {"run": ids[0]},
        {"source": f"runs:/{ids[1]}/model"},
        {"source": f"mlflow-artifacts:/{experiment}/{ids[2]}/artifacts/model"},
        {"source": f"models:/{models[0].id}"},
    ]
    with container.store.begin() as tx:
        tx.insert(
            *(msgspec.structs.replace(base, version=n, **changes) for n, changes in enumerate(sources, 1))
        )
    tracking.delete_experiment(container, experiment)
    found = collect(container, NOW, delete=True)
    assert (found.runs, found.models, found.experiments) == ([ids[3]], [models[1].id], [])
    reasons = {kept.ref: kept.reason for kept in found.kept}
    assert set(reasons) == {
        *(f"run/{id}" for id in ids[:3]),
        f"logged-model/{models[0].id}",
        f"experiment/{experiment}",
    }
    assert reasons[f"run/{ids[1]}"] == "model/m@2 comes from it"


def test_an_experiment_with_a_run_that_was_brought_back_stays(container: Container) -> None:
    experiment = tracking.create_experiment(container, "tides").id
    back, gone = _run(container, experiment), _run(container, experiment)
    tracking.delete_experiment(container, experiment)
    tracking.restore_run(container, back)
    found = collect(container, NOW, delete=True)
    assert (found.runs, found.experiments) == ([gone], [])
    assert [kept.reason for kept in found.kept] == [f"run/{back} in it is not deleted"]


def test_files_that_lie_elsewhere_are_told_of(container: Container) -> None:
    experiment = tracking.create_experiment(container, "far", artifacts="s3://bucket/far").id
    run = _run(container, experiment)
    tracking.delete_run(container, run)
    found = collect(container, NOW, delete=True)
    assert (found.runs, found.elsewhere) == ([run], [f"s3://bucket/far/{run}/artifacts"])


def test_parameters_of_a_model_stay_while_it_does(container: Container) -> None:
    experiment = tracking.create_experiment(container, "tides").id
    kept, gone = (create_logged_model(container, experiment) for _ in range(2))
    for model in (kept, gone):
        log_logged_model_params(container, model.id, [("p", "1")])
    delete_logged_model(container, gone.id)
    assert collect(container, NOW, delete=True).models == [gone.id]
    assert [param.model for param in container.store.find(LoggedModelParam)] == [kept.id]
