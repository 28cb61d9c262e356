"""Artifacts: whole or not at all, in their folders, on both databases and both stores of blobs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest

from homeostat.app import artifacts
from homeostat.app.artifacts import Entry, Upload, content, find, listing, remove, write
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.tracking import ArtifactFile
from tests.adapters.blobs.s3_server import s3

__all__ = ["s3"]
RUN = "3/ab12/artifacts"


@pytest.fixture(params=["file", "s3"])
def container(
    request: pytest.FixtureRequest, tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Container]:
    blobs = str(tmp_path / "blobs")
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        blobs = f"s3://bucket/{uuid.uuid4().hex}"
    with Container(Settings(home=tmp_path / "home", store=store_url, blobs=blobs)) as container:
        yield container


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(artifacts, "CHUNK", 1000)
    return 1000


def read(container: Container, path: str) -> bytes:
    return b"".join(content(container, find(container, path)))


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000, 4321])
@pytest.mark.parametrize("step", [1, 7, 1000, 5000])
def test_what_went_in_comes_out(container: Container, small_chunks: int, size: int, step: int) -> None:
    data = os.urandom(size)
    upload = Upload(container, f"{RUN}/model/weights.bin")
    for start in range(0, size, max(step, size // 50)):
        if upload.take(data[start : start + max(step, size // 50)]):
            upload.put()
    file = upload.finish()
    assert (file.root, file.path, file.size) == (RUN, "model/weights.bin", size)
    assert len(file.chunks) == -(-size // small_chunks)
    assert read(container, f"{RUN}/model/weights.bin") == data


def test_a_part_of_a_file(container: Container, small_chunks: int) -> None:
    data = os.urandom(3500)
    file = write(container, f"{RUN}/x", data)
    for start, end in [(0, 1), (0, 1000), (999, 1001), (1000, 2000), (2500, 3500), (3499, 9999), (0, 3500)]:
        assert b"".join(content(container, file, start, end)) == data[start:end]
    assert b"".join(content(container, file, 3500)) == b""


def test_nothing_is_visible_before_the_end_and_the_old_one_until_then(
    container: Container, small_chunks: int
) -> None:
    write(container, f"{RUN}/x", b"old")
    old = find(container, f"{RUN}/x")
    upload = Upload(container, f"{RUN}/x")
    upload.take(b"new" * 1000)
    upload.put()
    assert read(container, f"{RUN}/x") == b"old"
    other = Upload(container, f"{RUN}/y")
    other.take(b"y" * 5000)
    other.put()
    assert listing(container, RUN) == [Entry("x", 3)]
    upload.finish()
    assert read(container, f"{RUN}/x") == b"new" * 1000
    assert b"".join(content(container, old)) == b"old"  # who began to read the old one reads on


def test_folders(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_PAGE", 3)
    for path in [
        "dir.txt",
        "dir-x/a",
        "dir0",
        "z",
        "a",
        "ü/é",
        *(f"dir/{n}/f{m}" for n in range(5) for m in range(4)),
    ]:
        write(container, f"{RUN}/{path}", path.encode())
    write(container, "3/models/m-1/artifacts/MLmodel", b"m")
    write(container, "4/cd34/artifacts/x", b"x")
    write(container, "top.txt", b"top")
    assert listing(container, RUN) == [
        Entry("a", 1),
        Entry("dir"),
        Entry("dir-x"),
        Entry("dir.txt", 7),
        Entry("dir0", 4),
        Entry("z", 1),
        Entry("ü"),
    ]
    assert listing(container, f"{RUN}/dir") == [Entry(str(number)) for number in range(5)]
    assert listing(container, f"{RUN}/dir/3") == [Entry(f"f{number}", 8) for number in range(4)]
    assert listing(container, "") == [Entry("3"), Entry("4"), Entry("top.txt", 3)]
    assert listing(container, "3") == [Entry("ab12"), Entry("models")]
    assert listing(container, "3/ab12") == [Entry("artifacts")]
    assert listing(container, f"{RUN}/a") == []
    assert listing(container, f"{RUN}/none") == []
    assert listing(container, "none") == []


def test_a_file_is_no_folder(container: Container) -> None:
    write(container, f"{RUN}/a/b", b"1")
    for path in [f"{RUN}/a", RUN, "3/ab12", "3", f"{RUN}/a/b/c", f"{RUN}/a/b/c/d"]:
        with pytest.raises(Conflict):
            write(container, path, b"2")
    write(container, "4", b"1")
    with pytest.raises(Conflict, match="There is a file at '4'"):
        write(container, "4/cd34/artifacts/x", b"2")
    for path in [f"{RUN}/a", RUN, "3", ""]:
        with pytest.raises(BadRequest, match="directory"):
            find(container, path)
    for path in ["", f"{RUN}/a/"]:
        with pytest.raises(BadRequest, match="filename"):
            Upload(container, path)
    with pytest.raises(NotFound, match="No such artifact"):
        find(container, f"{RUN}/a/c")
    assert [file.path for file in container.store.find(ArtifactFile)] == ["4", "a/b"]


def test_remove(container: Container) -> None:
    for path in ["a", "a.txt", "d/x", "d/e/y", "d0"]:
        write(container, f"{RUN}/{path}", b"1")
    write(container, "3/models/m-1/artifacts/MLmodel", b"m")
    write(container, "30/cd34/artifacts/x", b"x")
    assert remove(container, f"{RUN}/none") == 0
    assert container.ledger.find(kinds=["artifacts.removed"]) == []
    assert remove(container, f"{RUN}/d", actor="ada") == 2
    event = container.ledger.find(kinds=["artifacts.removed"])[0]
    assert (event.subject, event.actor) == ("run/ab12", "ada")
    assert event.body == {"path": f"{RUN}/d", "files": 2}
    assert [entry.name for entry in listing(container, RUN)] == ["a", "a.txt", "d0"]
    assert remove(container, f"{RUN}/a") == 1
    assert remove(container, RUN) == 2
    assert remove(container, "3") == 1
    assert [file.root for file in container.store.find(ArtifactFile)] == ["30/cd34/artifacts"]
    with pytest.raises(BadRequest, match="every artifact"):
        remove(container, "/".join([".", "."]))


def test_two_writers_on_one_path_leave_one_whole_file(container: Container, small_chunks: int) -> None:
    contents = [bytes([65 + number]) * (2500 + number) for number in range(4)]

    def send(data: bytes) -> None:
        for _ in range(5):
            write(container, f"{RUN}/x", data)

    writers = [Thread(target=send, args=(data,)) for data in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if container.store.count(ArtifactFile):
            assert read(container, f"{RUN}/x") in contents
    for writer in writers:
        writer.join()
    assert read(container, f"{RUN}/x") in contents
    assert container.store.count(ArtifactFile) == 1


def test_a_file_and_a_folder_of_one_name_do_not_come_at_once(container: Container) -> None:
    def send(path: str) -> bool:
        try:
            write(container, f"{RUN}/{path}", b"1")
        except Conflict:
            return False
        return True

    paths = [f"{number}{below}" for number in range(8) for below in ("", "/x")]
    with ThreadPoolExecutor(8) as pool:
        kept = sum(pool.map(send, paths))
    names = [entry.name for entry in listing(container, RUN)]
    assert (kept, names) == (8, [str(number) for number in range(8)])


def test_a_torn_chunk_is_not_given_out(container: Container, small_chunks: int) -> None:
    file = write(container, f"{RUN}/x", os.urandom(2500))
    container.blobs.delete(file.chunks[1])
    parts = content(container, file)
    assert len(next(parts)) == 1000
    with pytest.raises(NotFound, match="no blob"):
        next(parts)
