"""The files of a run: however deep, with those of the models that it logged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.app import artifacts, tracking
from homeostat.app.container import Container
from homeostat.app.logged_models import create_logged_model, delete_logged_model
from homeostat.app.settings import Settings
from homeostat.app.tracking.files import RunFile, place_in_run, run_files
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.engine.tracking.places import path_of


@pytest.fixture
def container(tmp_path: Path, store_url: str) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        yield container


def test_files_of_the_run_and_of_its_models(container: Container) -> None:
    run = tracking.create_run(container, 0)
    own = f"0/{run.id}/artifacts"
    for path in ("a.txt", "deep/er/b.txt", "deeper.txt", "tree/own.txt"):
        artifacts.write(container, f"{own}/{path}", path.encode())
    old, tree = (create_logged_model(container, 0, name="tree", run=run.id) for _ in range(2))
    gone = create_logged_model(container, 0, name="gone", run=run.id)
    other = create_logged_model(container, 0, name="other")
    for number, model in enumerate((old, tree, gone, other)):
        artifacts.write(container, f"{path_of(model.artifacts)}/data/m.bin", b"m" * (number + 1))
        artifacts.write(container, f"{path_of(model.artifacts)}/own.txt", b"of the model")
    delete_logged_model(container, gone.id)

    assert run_files(container, run.id) == [
        RunFile("a.txt", 5),
        RunFile("deep/er/b.txt", 13),
        RunFile("deeper.txt", 10),
        RunFile("tree/data/m.bin", 2),  # of two models of one name that which came last
        RunFile("tree/own.txt", 12),
    ]
    assert [file.path for file in run_files(container, run.id, "deep")] == ["deep/er/b.txt"]
    assert [file.path for file in run_files(container, run.id, "tree/data/")] == ["tree/data/m.bin"]
    assert run_files(container, run.id, "a.txt") == run_files(container, run.id, "none") == []

    def read(path: str) -> bytes:
        file = artifacts.find(container, place_in_run(container, run.id, path))
        return b"".join(artifacts.content(container, file))

    assert (read("deep/er/b.txt"), read("tree/data/m.bin")) == (b"deep/er/b.txt", b"mm")
    assert read("tree/own.txt") == b"tree/own.txt"
    for path in ("none", "gone/data/m.bin"):
        with pytest.raises(NotFound):
            read(path)
    for path in ("../up", "/etc/passwd"):
        with pytest.raises(BadRequest):
            run_files(container, run.id, path)
    with pytest.raises(NotFound):
        run_files(container, "none")


def test_files_that_are_kept_elsewhere_are_no_empty_run(container: Container) -> None:
    there = tracking.create_experiment(container, "there", artifacts="s3://bucket/there")
    run = tracking.create_run(container, there.id)
    with pytest.raises(BadRequest, match=r"s3://bucket/there.* not kept by this server"):
        run_files(container, run.id)
