"""A blob is there whole or not at all, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO

import pytest

from homeostat.adapters.blobs import FileBlobs
from homeostat.domain.errors import NotFound, StoreUnavailable

WRITER = """
import sys, os
from pathlib import Path
from homeostat.adapters.blobs import FileBlobs
blobs = FileBlobs(Path(sys.argv[1]))
number = 0
while True:
    print(blobs.put(b"%d" % number + os.urandom(1 << 16)), flush=True)
    number += 1
"""


def _file_of(root: Path, digest: str) -> Path:
    return next(root.rglob(digest.removeprefix("sha256:")))


@pytest.mark.parametrize("keep", [0, 1, 4095])
def test_a_torn_blob_is_a_miss_and_can_be_put_again(tmp_path: Path, keep: int) -> None:
    blobs, data = FileBlobs(tmp_path), b"x" * 4096
    digest = blobs.put(data)
    with _file_of(tmp_path, digest).open("r+b") as file:
        file.truncate(keep)
    with pytest.raises(NotFound, match="torn"):
        blobs.get(digest)
    with pytest.raises(NotFound, match="torn"):
        blobs.open(digest)
    assert blobs.put(data) == digest
    assert blobs.get(digest) == data


def test_an_altered_blob_is_a_miss(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    digest = blobs.put(b"right")
    _file_of(tmp_path, digest).write_bytes(b"wrong")
    with pytest.raises(NotFound, match="altered"):
        blobs.get(digest)


def test_what_was_put_outlives_kill_9_and_nothing_is_torn(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        acknowledged += [writer.stdout.readline().decode().strip() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().decode().splitlines()
        writer.stdout.close()
        writer.wait()
    blobs = FileBlobs(tmp_path)
    stored = {blob.digest for blob in blobs.stored()}
    assert stored >= set(acknowledged)
    for digest in stored:
        blobs.get(digest)


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    blobs, limits = FileBlobs(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    small = blobs.put(b"small")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(StoreUnavailable, match="HOMEOSTAT_BLOBS"):
            blobs.put(b"x" * (1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [blob.digest for blob in blobs.stored()] == [small]
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []


def test_a_blob_that_cannot_be_read_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, opened = FileBlobs(tmp_path), []

    def broken(file: BinaryIO) -> str:
        opened.append(file)
        raise OSError(5, "Input/output error")

    digest = blobs.put(b"data")
    monkeypatch.setattr("homeostat.adapters.blobs.file.digest_file", broken)
    with pytest.raises(StoreUnavailable, match="Input/output"):
        blobs.open(digest)
    assert [file.closed for file in opened] == [True]


@pytest.mark.parametrize(
    "ask",
    [
        FileBlobs.get,
        FileBlobs.open,
        lambda blobs, digest: blobs.discard(digest, datetime.now(UTC)),
        lambda blobs, _: list(blobs.stored()),
        lambda blobs, _: blobs.put(b"data"),
    ],
)
def test_a_file_that_the_disk_does_not_give_is_a_store_that_does_not_answer(
    tmp_path: Path, ask: Callable[[FileBlobs, str], object]
) -> None:
    blobs = FileBlobs(tmp_path)
    file = _file_of(tmp_path, digest := blobs.put(b"data"))
    file.unlink()
    file.symlink_to(file)  # so that nothing finds its end
    with pytest.raises(StoreUnavailable, match="symbolic links"):
        ask(blobs, digest)


def test_a_file_that_the_disk_does_not_let_go_is_a_store_that_does_not_answer(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    file = _file_of(tmp_path, digest := blobs.put(b"data"))
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreUnavailable, match="cannot remove"):
        blobs.delete(digest)


def test_what_is_put_while_it_is_being_discarded_is_there(tmp_path: Path) -> None:
    blobs, data = FileBlobs(tmp_path), b"x" * 100
    digest, long_ago = blobs.put(data), 1_000_000_000.0
    collector = Thread(target=_collect, args=(blobs, digest, stop := Event()))
    collector.start()
    try:
        for _ in range(2_000):
            assert blobs.put(data) == digest
            assert blobs.get(digest) == data  # it was put of late, so nobody removes it
            os.utime(_file_of(tmp_path, digest), (long_ago, long_ago))
    finally:
        stop.set()
        collector.join()


def _collect(blobs: FileBlobs, digest: str, stop: Event) -> None:
    while not stop.is_set():
        blobs.discard(digest, datetime(2020, 1, 1, tzinfo=UTC))
