"""Snapshots of projects: written whole, to the disk, and within their folder only; and each has its own modules."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from homeostat.adapters.blobs.file import FileBlobs
from homeostat.app.projects import checkout, import_function, project_file, snapshot
from homeostat.domain.errors import DeclarationError, HomeostatError


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


def test_a_snapshot_has_what_a_training_imports_and_nothing_that_is_installed(
    blobs: FileBlobs, tmp_path: Path
) -> None:
    root = tmp_path / "code"
    for kept in ("loop.txt", "parts/table.py"):  # the first is named as the project's file
        (root / kept).parent.mkdir(parents=True, exist_ok=True)
        (root / kept).write_text(f"# {kept}\n" * 100_000)
    for name in ("venv/lib/a.py", "parts/node_modules/b.py", ".git/c.py", "__pycache__/d.py", "parts/.e.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\xff")
    (root / ".#project.py").symlink_to("nowhere")  # as an editor locks what is being written
    folder = checkout(blobs, snapshot(blobs, root, "loop.txt"), tmp_path / "home")
    assert project_file(folder).name == "loop.txt"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {".project", "loop.txt", "parts/table.py"}
    assert (folder / "parts" / "table.py").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x = 1\n" * 3_000_000, r"wide\.py:1: has more than 16 MiB"),
        (b"x = 1\n# \xe9\n", r"wide\.py:2: is not written in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_kept_is_named(
    blobs: FileBlobs, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "project.py").write_text("x = 1")
    (tmp_path / "code" / "wide.py").write_bytes(content)
    with pytest.raises(DeclarationError, match=said) as caught:
        snapshot(blobs, tmp_path / "code")
    assert caught.value.remedy
    (tmp_path / "code" / "wide.py").unlink()
    (tmp_path / "code" / "wide.py").symlink_to("nowhere")
    with pytest.raises(DeclarationError, match="cannot be read: No such file"):
        snapshot(blobs, tmp_path / "code")


def test_a_snapshot_with_a_path_outside_leaves_nothing(blobs: FileBlobs, tmp_path: Path) -> None:
    digest = blobs.put(msgspec.json.encode({"project.py": "", "../../out.py": ""}))
    with pytest.raises(HomeostatError, match="outside of it"):
        checkout(blobs, digest, tmp_path / "home")
    assert list((tmp_path / "home" / "code").iterdir()) == []


def test_two_versions_of_a_project_have_their_own_modules_also_below_a_folder_without_a_file(
    tmp_path: Path,
) -> None:
    functions = []
    for size in (1, 2):
        root = tmp_path / str(size)
        (root / "parts" / "inner").mkdir(parents=True)
        (root / "parts" / "inner" / "table.py").write_text(f"SIZE = {size}")
        (root / "loop.py").write_text("import parts.inner.table\ndef size(): return parts.inner.table.SIZE")
        functions.append(import_function(root, "loop:size"))
    assert [size() for size in functions] == [1, 2]
