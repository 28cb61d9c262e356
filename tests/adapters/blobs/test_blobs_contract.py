"""What every store of blobs promises."""

from __future__ import annotations

import io
import resource
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from homeostat.adapters.blobs import FileBlobs, S3Blobs
from homeostat.adapters.blobs.layout import place_of
from homeostat.adapters.blobs.s3 import open_store
from homeostat.adapters.clock import SystemClock
from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import Conflict, NotFound, StoreUnavailable
from homeostat.ports.blobs import Blobs
from tests.adapters.blobs.s3_server import s3

__all__ = ["s3"]


@pytest.fixture(params=["file", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "file":
        return FileBlobs(tmp_path / "blobs")
    return S3Blobs(f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("s3"))


@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256)) * 4096])
def test_gives_back_what_it_took(blobs: Blobs, data: bytes) -> None:
    digest = blobs.put(data)
    assert digest == digest_bytes(data)
    assert blobs.get(digest) == data
    assert blobs.exists(digest)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256)) * (1 << 17)])
def test_files_come_and_go_as_bytes_do(blobs: Blobs, data: bytes) -> None:
    given = io.BytesIO(data)
    given.seek(3)  # it is all of the file that counts
    digest = blobs.put_file(given)
    assert digest == digest_bytes(data)
    with blobs.open(digest) as file:
        assert file.read() == data
        assert file.seek(0) == 0
        assert file.read(2) == data[:2]
    assert blobs.get(digest) == data
    assert blobs.put_file(io.BytesIO(data)) == blobs.put(data) == digest
    assert [blob.size for blob in blobs.stored()] == [len(data)]


class Changing(io.BytesIO):
    """A file that another writes to once it was read for the first time."""

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        if not piece:
            self.getbuffer()[:1] = b"y"
        return piece


@pytest.mark.parametrize("size", [100, 20 << 20])
def test_a_file_that_changes_while_it_is_read_is_not_stored(blobs: Blobs, tmp_path: Path, size: int) -> None:
    with pytest.raises(Conflict, match="changed while it was read"):
        blobs.put_file(Changing(b"x" * size))
    assert list(blobs.stored()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_put_again_changes_nothing(blobs: Blobs) -> None:
    assert blobs.put(b"twice") == blobs.put(b"twice")
    assert [blob.digest for blob in blobs.stored()] == [digest_bytes(b"twice")]


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "sha256:../../etc/passwd", "", "nonsense"])
def test_a_missing_blob_is_not_found(blobs: Blobs, digest: str) -> None:
    with pytest.raises(NotFound):
        blobs.get(digest)
    with pytest.raises(NotFound):
        blobs.open(digest)


def test_an_absent_digest_does_not_exist(blobs: Blobs) -> None:
    assert not blobs.exists(digest_bytes(b"never stored"))


def test_delete_removes_one_and_nothing_else(blobs: Blobs) -> None:
    kept, gone = blobs.put(b"kept"), blobs.put(b"gone")
    blobs.delete(gone)
    blobs.delete(gone)
    assert not blobs.exists(gone)
    with pytest.raises(NotFound):
        blobs.get(gone)
    assert [blob.digest for blob in blobs.stored()] == [kept]


def test_stored_lists_all_with_size_and_age(blobs: Blobs) -> None:
    assert list(blobs.stored()) == []
    sizes = {blobs.put(b"x" * number): number for number in range(20)}
    assert {blob.digest: blob.size for blob in blobs.stored()} == sizes
    assert all(abs(blob.at - SystemClock().wall()) < timedelta(minutes=1) for blob in blobs.stored())


def test_discard_spares_what_was_put_of_late(blobs: Blobs) -> None:
    digest, later = blobs.put(b"old"), SystemClock().wall() + timedelta(minutes=1)
    assert not blobs.discard(digest, later - timedelta(hours=1))
    assert blobs.get(digest) == b"old"
    assert blobs.discard(digest, later)
    assert not blobs.exists(digest)
    assert not blobs.discard(digest, later)


def test_what_is_put_again_is_young_again(blobs: Blobs) -> None:
    digest = blobs.put(b"twice")
    between = next(iter(blobs.stored())).at + timedelta(seconds=1)
    while SystemClock().wall() <= between + timedelta(seconds=1):  # S3 tells whole seconds
        blobs.put(b"twice")
    assert not blobs.discard(digest, between)
    assert blobs.exists(digest)


def test_an_s3_server_that_does_not_answer_is_named() -> None:
    options = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    with pytest.raises(StoreUnavailable, match=r"s3://bucket/x .*AWS_ENDPOINT_URL"):
        S3Blobs("s3://bucket/x", options).put(b"data")


def test_a_missing_bucket_is_unavailable(s3: dict[str, str]) -> None:
    with pytest.raises(StoreUnavailable, match="s3://nowhere"):
        S3Blobs("s3://nowhere/x", s3).put(b"data")


def test_an_altered_object_is_a_miss(s3: dict[str, str]) -> None:
    url = f"s3://bucket/{uuid.uuid4().hex}"
    blobs = S3Blobs(url, s3)
    digest = blobs.put(b"right")
    open_store(url, dict(s3)).put(place_of(digest), b"wrong")
    for read in (blobs.get, blobs.open):
        with pytest.raises(NotFound, match="torn or altered"):
            read(digest)


def test_a_local_disk_that_is_full_is_not_the_object_stores(s3: dict[str, str]) -> None:
    blobs, limits = S3Blobs(f"s3://bucket/{uuid.uuid4().hex}", s3), resource.getrlimit(resource.RLIMIT_FSIZE)
    digest = blobs.put(bytes(1 << 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(StoreUnavailable, match=r"cannot be kept below /.*: .*TMPDIR"):
            blobs.open(digest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
