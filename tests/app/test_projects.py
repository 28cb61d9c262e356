"""Snapshots of projects: written whole, to the disk, and within their folder only."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from homeostat.adapters.blobs.file import FileBlobs
from homeostat.app.projects import checkout, project_file, snapshot
from homeostat.domain.errors import HomeostatError


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


def test_a_snapshot_is_on_the_disk_before_it_is_trusted(
    blobs: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code" / "parts").mkdir(parents=True)
    (tmp_path / "code" / "project.py").write_text("x = 1")
    (tmp_path / "code" / "parts" / "part.py").write_text("y = 2")
    digest = snapshot(blobs, tmp_path / "code")
    synced: set[int] = set()
    sync, rename = os.fsync, Path.rename

    def recorded(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    def last(path: Path, target: Path) -> Path:
        assert {one.stat().st_ino for one in (path, *path.rglob("*"))} <= synced
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(Path, "rename", last)
    folder = checkout(blobs, digest, tmp_path / "home")
    assert project_file(folder).read_text() == "x = 1"
    assert (folder / "parts" / "part.py").read_text() == "y = 2"


def test_a_snapshot_with_a_path_outside_leaves_nothing(blobs: FileBlobs, tmp_path: Path) -> None:
    digest = blobs.put(msgspec.json.encode({"project.py": "", "../../out.py": ""}))
    with pytest.raises(HomeostatError, match="outside of it"):
        checkout(blobs, digest, tmp_path / "home")
    assert list((tmp_path / "home" / "code").iterdir()) == []
