"""Uploads in parts that go past the server, into an object store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from homeostat.app import garbage, uploads
from homeostat.app.artifacts import content, find, listing, write
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.ports.direct import Direct
from homeostat.server.mlflow.app import Mlflow
from homeostat.server.room import Room
from tests.adapters.blobs.s3_server import s3
from tests.server.asking import ask

__all__ = ["s3"]
PATH = "3/ab12/artifacts/model/weights.bin"


@pytest.fixture
def container(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    blobs = f"s3://bucket/{uuid.uuid4().hex}"
    with Container(Settings(home=tmp_path / "home", blobs=blobs)) as container:
        yield container


@pytest.fixture
def direct(container: Container) -> Direct:
    assert container.direct is not None
    return container.direct


def send(addresses: list[str], parts: list[bytes]) -> list[tuple[int, str]]:
    """Put parts where they belong, the last one first; gives their numbers and entity tags."""
    told = []
    for number, data in sorted(enumerate(parts, 1), reverse=True):
        answer = httpx.put(addresses[number - 1], content=data, timeout=60)
        assert answer.status_code == 200
        told.append((number, answer.headers["ETag"]))
    return told


def test_a_file_is_made_of_its_parts(container: Container, direct: Direct) -> None:
    parts = [os.urandom(2_500_000), b"", os.urandom(7)]
    write(container, PATH, b"before")
    id, addresses = uploads.begin(container, direct, PATH, 3)
    told = send(addresses, parts)
    assert b"".join(content(container, find(container, PATH))) == b"before"
    made = uploads.complete(container, direct, PATH, id, told)
    assert b"".join(content(container, find(container, PATH))) == b"".join(parts)
    assert made.size == sum(map(len, parts))
    assert list(direct.uploads()) == []
    found = uploads.address(container, direct, PATH)
    assert found is not None
    address, size = found
    assert (
        httpx.get(address, headers={"range": "bytes=2499998-2500002"}, timeout=60).content
        == b"".join(parts)[2499998:2500003]
    )
    assert size == made.size
    write(container, "empty", b"")
    assert uploads.address(container, direct, "empty") is None


def test_what_is_not_whole_shows_nothing(container: Container, direct: Direct) -> None:
    id, addresses = uploads.begin(container, direct, PATH, 2)
    with pytest.raises(NotFound, match="part 1 "):
        uploads.complete(container, direct, PATH, id, [(1, ""), (2, "")])
    told = send(addresses, [b"a", b"b"])
    send(addresses[:1], [b"torn"])
    with pytest.raises(Conflict, match="is not the one that was sent"):
        uploads.complete(container, direct, PATH, id, told)
    for numbers in ([], [2], [1, 1], [1, 3], [0, 1]):
        with pytest.raises(BadRequest):
            uploads.complete(container, direct, PATH, id, [(number, "") for number in numbers])
    assert listing(container, "3/ab12/artifacts") == []
    uploads.abort(direct, id)
    uploads.abort(direct, id)
    assert list(direct.uploads()) == []
    for wrong in ("", "../../x", "f" * 33, id.upper()):
        with pytest.raises(NotFound):
            uploads.abort(direct, wrong)
    for path, count in [(PATH, 0), (PATH, uploads.MOST + 1), ("../x", 1), ("3/ab12/artifacts", 1)]:
        with pytest.raises((BadRequest, Conflict)):
            uploads.begin(container, direct, path, count)


def test_parts_that_nobody_completes_are_forgotten(container: Container, direct: Direct) -> None:
    id, addresses = uploads.begin(container, direct, PATH, 2)
    send(addresses, [b"a"])
    garbage.free(container, delete=True, grace=timedelta(hours=1))
    assert [upload.id for upload in direct.uploads()] == [id]
    garbage.free(container, delete=False, grace=timedelta(hours=-1))
    assert [upload.id for upload in direct.uploads()] == [id]
    garbage.free(container, delete=True, grace=timedelta(hours=-1))
    assert list(direct.uploads()) == []


def test_files_have_no_addresses_on_a_disk(tmp_path: Path) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        assert container.direct is None


ODD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"path": ""}',
    b'{"path": "a/"}',
    b'{"path": ".."}',
    b'{"path": "a\\u0000b"}',
    b'{"path": "a", "num_parts": 0}',
    b'{"path": "a", "num_parts": "many"}',
    b'{"path": "a", "num_parts": 1e308}',
    # from here on odd only for what follows
    b'{"path": "a", "upload_id": "../../x", "parts": []}',
    b'{"path": "a", "upload_id": "\\ud800", "parts": [{"part_number": 1}]}',
    b'{"path": "a", "upload_id": "0123456789abcdef0123456789abcdef", "parts": [{"part_number": 1}]}',
    b'{"path": "a", "upload_id": "0123456789abcdef0123456789abcdef", "parts": [{"part_number": -1}]}',
    b'{"path": "a", "upload_id": "0123456789abcdef0123456789abcdef", "parts": [' + b"{}," * 10_000 + b"{}]}",
]


@pytest.mark.parametrize("folder", ["0/ab12/artifacts", "%2e%2e", "a%00b"])
def test_odd_calls_are_told_what_is_wrong(container: Container, folder: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        app = Mlflow(container, pool, Room(1 << 30))
        for call in ("create", "complete", "abort", "none"):
            for body in ODD[:12] if call == "create" else ODD:
                path = f"/api/2.0/mlflow-artifacts/mpu/{call}/{quote(folder, safe='/%')}"
                answer = ask(app, "POST", path, body=[body])
                done = call == "abort" and b"0123456789abcdef" in body  # of which nothing is there
                assert answer.status == 200 if done else 400 <= answer.status < 500, (
                    call,
                    body[:60],
                    answer.body,
                )
        answer = ask(app, "GET", f"/api/2.0/mlflow-artifacts/presigned/{quote(folder, safe='/%')}")
        assert 400 <= answer.status < 500
    assert listing(container, "") == []
