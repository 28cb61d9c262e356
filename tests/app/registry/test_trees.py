"""Files by path, in folders and tar files: as they were, or refused by name before anything is kept."""

from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from homeostat.app.container import Container
from homeostat.app.registry import directories, trees
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, Conflict, NotFound, StoreUnavailable, Unsafe
from homeostat.domain.records import ModelVersion

FILES = {"MLmodel": b"flavors: {x: {}}\n", "a/b.bin": bytes(range(256)) * 40, "empty/": b"", "none": b""}


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    trees.to_tar(trees.held(files), buffer)
    return buffer.getvalue()


def tar_of(*entries: tarfile.TarInfo, format: int = tarfile.GNU_FORMAT, **more: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, **more) as tar:
        for entry in entries:
            tar.addfile(entry)
    return buffer.getvalue()


def unpacked(data: bytes) -> trees.Tree:
    return trees.from_tar(io.BytesIO(data))


def test_files_come_out_of_a_tar_file_as_they_went_in(tmp_path: Path) -> None:
    assert unpacked(packed(FILES)) == FILES
    assert packed(FILES) == packed(dict(reversed(FILES.items())))
    trees.write_tree(unpacked(packed(FILES)), tmp_path / "new" / "folder")
    assert trees.read_tree(tmp_path / "new" / "folder") == FILES
    (tmp_path / "old").mkdir()
    trees.write_tree(unpacked(packed(FILES)), tmp_path / "old")
    assert trees.read_tree(tmp_path / "old") == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_tar_file_that_is_cut_off_anywhere_is_refused() -> None:
    whole = packed(FILES)
    end = len(whole.rstrip(b"\0"))
    for length in {*range(0, end, 97), *range(0, end, 512)}:
        with pytest.raises(BadRequest, match="tar file"):
            unpacked(whole[:length])
    with pytest.raises(BadRequest, match=r"cut off within 'a/b.bin'"):
        unpacked(whole[: whole.index(FILES["a/b.bin"]) + 600])


def test_a_tar_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    for name in ("/etc/x", "../x", "a/../../x"):
        with pytest.raises(Unsafe, match="leads out"):
            unpacked(tar_of(tarfile.TarInfo(name)))
        with pytest.raises(Unsafe, match="leads out"):
            trees.write_tree(trees.held({name: b""}), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(BadRequest, match="'link' is neither a file"):
        unpacked(tar_of(link))
    for torn in (b"", b"no tar", tar_of(link)[:100], tar_of()):
        with pytest.raises(BadRequest):
            unpacked(torn)


def test_a_tar_whose_files_are_larger_than_it_is_refused() -> None:
    header = bytearray(tar_of(tarfile.TarInfo("big"))[:512])
    header[156:157] = tarfile.GNUTYPE_SPARSE
    for place in (386, 483):  # where its first piece begins, and how long it would be
        header[place : place + 12] = b"%011o\0" % (300 << 20)
    header[398:410] = b"%011o\0" % 0
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(BadRequest, match="sparse file: 'big'"):
        unpacked(bytes(header) + bytes(1024))
    mapped = tarfile.TarInfo("mapped")
    mapped.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    with pytest.raises(BadRequest, match="a sparse file"):
        unpacked(tar_of(mapped, format=tarfile.PAX_FORMAT))
    with pytest.raises(BadRequest, match="no path"):
        unpacked(tar_of(tarfile.TarInfo("a\udcff")))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_names_and_their_number_do_not_decide_on_memory(kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tarfile.TarInfo("name")
    said.type, said.size = kind, 50 << 20
    with pytest.raises(BadRequest, match="a name in the tar file is too long"):
        unpacked(tar_of(said)[:512] + bytes(60 << 20))
    monkeypatch.setattr(trees, "MOST", 3)
    assert len(unpacked(packed(dict.fromkeys("abc", b"")))) == 3
    with pytest.raises(BadRequest, match="more than 3 files"):
        unpacked(packed(dict.fromkeys("abcd", b"")))
    with pytest.raises(BadRequest, match="headers for all"):
        unpacked(tar_of(tarfile.TarInfo("a"), format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}))


def test_what_is_said_of_files_is_not_kept() -> None:
    entries = [tarfile.TarInfo(f"{number}") for number in range(1_000)]
    for entry in entries:
        entry.pax_headers = {"comment": "x" * 7_000}
    data = io.BytesIO(tar_of(*entries, format=tarfile.PAX_FORMAT))
    tracemalloc.start()
    files = trees.from_tar(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(files) == 1_000
    assert most < 3 << 20


def test_a_path_is_that_of_one_file_or_folder() -> None:
    folder = tarfile.TarInfo("a")
    folder.type = tarfile.DIRTYPE
    for path, *entries in (
        ("'a' twice", tarfile.TarInfo("a"), tarfile.TarInfo("a")),
        ("'a' twice", folder, folder),
        ("'a' is both", tarfile.TarInfo("a"), folder),
        ("'a' is both", folder, tarfile.TarInfo("a")),
        ("'a' is both", tarfile.TarInfo("a/b"), tarfile.TarInfo("a-"), tarfile.TarInfo("a")),
    ):
        with pytest.raises(BadRequest, match=path):
            unpacked(tar_of(*entries))


def test_no_more_is_imported_than_a_client_can_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "MOST", 3)
    with (
        Container(Settings(home=tmp_path / "home")) as container,
        pytest.raises(BadRequest, match="more than 3 files"),
    ):
        directories.import_directory(container, "m", trees.held(FILES))


def test_only_folders_that_are_empty_are_told_of() -> None:
    def folder(name: str) -> tarfile.TarInfo:
        made = tarfile.TarInfo(name)
        made.type = tarfile.DIRTYPE
        return made

    names = ("a", "a/b", "a/b/c", "a-", "d", "d/e")
    entries = [folder(name) for name in names] + [tarfile.TarInfo("d/x"), tarfile.TarInfo("a.txt")]
    assert sorted(unpacked(tar_of(*entries))) == ["a-/", "a.txt", "a/b/c/", "d/e/", "d/x"]


def test_folders_that_hold_links_or_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("/etc/passwd")
    with pytest.raises(BadRequest, match="in/link is a link"):
        trees.read_tree(tmp_path / "in")
    os.mkfifo(tmp_path / "in" / "a pipe")
    with pytest.raises(BadRequest, match="in/a pipe is neither a file"):
        trees.read_tree(tmp_path / "in")
    with pytest.raises(BadRequest, match="no folder"):
        trees.read_tree(tmp_path / "nothing")
    with pytest.raises(BadRequest, match="in has no MLmodel file"):
        trees.read_tree(tmp_path / "in", holding="MLmodel")
    with pytest.raises(Conflict, match="there already"):
        trees.write_tree(trees.held({"a": b""}), tmp_path / "in")


def test_what_fails_on_its_way_to_a_folder_leaves_nothing_in_it(tmp_path: Path) -> None:
    def broken(error: Exception) -> trees.Tree:
        def opened() -> BinaryIO:
            raise error

        return trees.Tree({"a": io.BytesIO, "b": opened})

    for error, kind in (
        (NotFound("b"), NotFound),
        (OSError(28, "No space left on device"), StoreUnavailable),
    ):
        with pytest.raises(kind):
            trees.write_tree(broken(error), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "out").mkdir()
        with pytest.raises(kind):
            trees.write_tree(broken(error), tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []
        (tmp_path / "out").rmdir()


def test_a_folder_that_is_there_may_be_another_disks(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def looked() -> BinaryIO:
        seen.append([path.name.partition("-")[0] for path in tmp_path.rglob("*")])
        return io.BytesIO()

    trees.write_tree(trees.Tree({"a": looked}), tmp_path / "out")  # new: there at once
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode
    for name in ("out/a", "out", "usual"):
        path = tmp_path / name
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "out").mkdir()
    trees.write_tree(trees.Tree({"a": looked}), tmp_path / "out")  # nothing is written beside it
    assert seen == [[".out", "files"], ["out", ".out", "files"]]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_files_of_any_size_take_little_memory(tmp_path: Path) -> None:
    large = tmp_path / "in" / "large.bin"
    large.parent.mkdir()
    (tmp_path / "in" / "MLmodel").write_bytes(FILES["MLmodel"])
    with large.open("wb") as file:
        for number in range(40):
            file.write(number.to_bytes(1, "big") * (1 << 20))
    with Container(Settings(home=tmp_path / "home")) as container, (tmp_path / "tar").open("w+b") as tar:
        container.store.count(ModelVersion)  # opens it
        tracemalloc.start()
        trees.to_tar(trees.read_tree(tmp_path / "in"), tar)
        made = directories.import_directory(container, "m", trees.from_tar(tar))
        trees.write_tree(directories.export_files(container, "m", "1"), tmp_path / "out")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert made.version == 1
    assert most < 8 << 20
    assert (tmp_path / "out" / "large.bin").read_bytes() == large.read_bytes()
