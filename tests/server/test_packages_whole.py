"""Packages over HTTP: whole or not at all, and never in memory."""

from __future__ import annotations

import filecmp
import io
import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from psutil import Process

from homeostat.app.container import Container
from homeostat.app.registry import trees
from homeostat.domain.errors import NotFound
from homeostat.domain.records import ModelVersion
from homeostat.sdk.client import Client
from homeostat.server import transfers
from homeostat.server.api import Api
from tests.server.asking import Answer, ask
from tests.server.ups import Up

CONTROL = "homeostat.server.control"
FILES = {"MLmodel": b"flavors: {x: {}}\n", "model.bin": bytes(range(256)) * 9000}


@pytest.fixture
def app(container: Container) -> Iterator[Api]:
    with ThreadPoolExecutor(2) as pool:
        yield Api(container, pool)


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    trees.to_tar(trees.held(files), buffer)
    return buffer.getvalue()


def asked(app: Api, method: str, path: str, query: str = "", **given: Any) -> Answer:
    given["headers"] = {"host": "127.0.0.1"} | given.get("headers", {})
    return ask(app, method, path, query, **given)


def pieces(data: bytes) -> list[bytes]:
    return [data[start : start + 65_000] for start in range(0, len(data), 65_000)]


def most_of(process: Process, work: Future[Any]) -> int:
    """The most memory that a process has until some work is done."""
    most = process.memory_info().rss
    while not wait([work], 0.02).done:
        most = max(most, process.memory_info().rss)
    return most


def test_a_package_comes_back_as_it_went_in(app: Api, container: Container) -> None:
    data = packed(FILES)
    made = asked(app, "POST", "/models/m/import", body=pieces(data))
    assert (made.status, made.json["version"]) == (200, 1)
    answer = asked(app, "GET", "/models/m/versions/1/files", "layout=package")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-tar")
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.body == data
    digest = made.json["manifest"]["files"]["model.bin"]
    next((container.settings.home / "blobs").rglob(digest.removeprefix("sha256:"))).write_bytes(b"other")
    answer = asked(app, "GET", "/models/m/versions/1/files")
    assert (answer.status, answer.json["error"]["code"]) == (404, "not_found")
    assert answer.json["error"]["message"].startswith("model.bin of model/m@1 cannot be had: blob sha256:")
    assert answer.json["error"]["remedy"]


def test_what_is_cut_off_leaves_nothing(app: Api, container: Container) -> None:
    data = packed(FILES)
    assert asked(app, "POST", "/models/m/import", body=[b"no tar"]).status == 400
    assert container.store.count(ModelVersion) == 0
    before, opened = sorted(container.settings.home.rglob("*")), Process().num_fds()
    assert asked(app, "POST", "/models/m/import", body=pieces(data)[:9], whole=False).status in (0, 400)
    answer = asked(app, "POST", "/models/m/import", body=pieces(data)[:9])
    assert answer.status == 400
    assert answer.json["error"]["message"] == "the tar file is cut off within 'model.bin'"
    assert answer.json["error"]["remedy"] == "Send all of it"
    answer = asked(app, "POST", "/models/m/import", body=[b"x"], headers={"content-encoding": "gzip"})
    assert (answer.status, answer.json["error"]["code"]) == (415, "unsupported_encoding")
    assert container.store.count(ModelVersion) == 0
    assert sorted(container.settings.home.rglob("*")) == before
    assert Process().num_fds() == opened  # temporary files have no names


def test_a_full_disk_is_told_and_leaves_nothing(
    app: Api, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, home = packed(FILES), container.settings.home
    assert asked(app, "POST", "/models/m/import", body=pieces(data)).status == 200
    assert asked(app, "GET", "/models/m/versions/1/files").status == 200
    opened = Process().num_fds()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        taken = asked(app, "POST", "/models/m/import", body=pieces(data))
        given = asked(app, "GET", "/models/m/versions/1/files", "layout=package")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    length = {"content-length": str(1 << 60)}
    large = asked(app, "POST", "/models/m/import", body=pieces(data), headers=length)
    free = iter([1 << 40, 1 << 40, 1 << 20])
    monkeypatch.setattr(transfers, "_LOOK", 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    filled = asked(app, "POST", "/models/m/import", body=pieces(data))
    for answer, message in (
        (taken, f"the body cannot be kept below {home}"),
        (given, f"the package cannot be kept below {home}"),
        (large, f"the body does not fit below {home}"),
        (filled, f"the body does not fit below {home}: 1 MiB are free"),
    ):
        assert (answer.status, answer.json["error"]["code"]) == (503, "store_unavailable")
        assert answer.json["error"]["message"].startswith(message)
        assert answer.json["error"]["remedy"] == "Free some space there"
    assert Process().num_fds() == opened


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path / "home").ready()
    yield running
    running.stop()


def test_a_large_package_in_bounded_memory(up: Up, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_bytes(FILES["MLmodel"])
    with (folder / "large.bin").open("wb") as file:
        for number in range(192):
            file.write(number.to_bytes(4, "big") * (1 << 18))
    control = up.child(CONTROL)
    with Client(up.note.server) as client:
        with pytest.raises(NotFound, match="nothing"):
            client.version("nothing")
        used = control.memory_info().rss
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(client.import_directory, "m", folder)
            most = most_of(control, coming)
            going = pool.submit(client.export, "m", tmp_path / "out")
            most = max(most, most_of(control, going))
    assert coming.result().version == 1
    assert going.result() == 2
    assert most - used < 64 << 20
    assert filecmp.cmp(folder / "large.bin", tmp_path / "out" / "large.bin", shallow=False)
