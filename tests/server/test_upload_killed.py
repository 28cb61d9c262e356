"""The server killed in the middle of a large upload: nothing of it is visible, and the next one goes through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.ups import Up, eventually

CONTROL = "homeostat.server.control"
PATH = "/api/2.0/mlflow-artifacts/artifacts/1/ab12/artifacts"
BLOCK = os.urandom(1 << 20)
MEGABYTES = 100


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path / "home").ready()
    yield running
    running.stop()


def blocks(count: int, mark: bytes = b"....") -> Iterator[bytes]:
    for number in range(count):
        yield mark + number.to_bytes(4, "big") + BLOCK[8:]


def test_killed_in_the_middle_of_an_upload(up: Up) -> None:
    server = up.note.server
    httpx.put(f"{server}{PATH}/there", content=b"before", timeout=60).raise_for_status()
    control = up.child(CONTROL)

    def until_it_dies(chunks: int) -> Iterator[bytes]:
        for number, block in enumerate(blocks(MEGABYTES, chunks.to_bytes(4, "big"))):
            if number == MEGABYTES // 2:
                eventually(lambda: len(_blobs(up)) >= chunks)  # some of it is on the disk
                control.kill()
                control.wait(100)
            yield block

    for name, chunks in (("new", 3), ("there", 5)):
        control = up.child(CONTROL)
        length = {"content-length": str(MEGABYTES << 20)}
        with pytest.raises(httpx.TransportError):
            httpx.put(f"{server}{PATH}/{name}", content=until_it_dies(chunks), headers=length, timeout=100)
    listed = up.get("/api/2.0/mlflow-artifacts/artifacts?path=1/ab12/artifacts").json()
    assert listed == {"files": [{"path": "there", "is_dir": False, "file_size": 6}]}
    assert up.get(f"{PATH}/new").status_code == 404
    assert up.get(f"{PATH}/there").content == b"before"
    httpx.put(f"{server}{PATH}/new", content=blocks(MEGABYTES), timeout=60).raise_for_status()
    assert up.get(f"{PATH}/new").content == b"".join(blocks(MEGABYTES))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_gigabyte_in_bounded_memory(up: Up) -> None:
    server, control = up.note.server, up.child(CONTROL)
    httpx.put(f"{server}{PATH}/small", content=b"1", timeout=60).raise_for_status()
    used = [control.memory_info().rss]

    def noting(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            used.append(control.memory_info().rss)
            yield piece

    length = {"content-length": str(1 << 30)}
    httpx.put(f"{server}{PATH}/big", content=noting(blocks(1024)), headers=length, timeout=200)
    with httpx.stream("GET", f"{server}{PATH}/big", timeout=200) as answer:
        assert answer.headers["content-length"] == str(1 << 30)
        for piece, sent in zip(noting(answer.iter_bytes(1 << 20)), blocks(1024), strict=True):
            assert piece == sent
    assert max(used) - used[0] < 150 << 20


def _blobs(up: Up) -> list[Path]:
    return [path for path in (up.home / "blobs").glob("??/??/*") if path.stat().st_size > 1000]
