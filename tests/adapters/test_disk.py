"""Temporary files: where there is space, closed when the work upon them fails, and a disk's errors told by name."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from homeostat.adapters.disk import kept
from homeostat.domain.errors import NotFound, StoreUnavailable


@pytest.mark.parametrize("error", [NotFound("a blob"), OSError(errno.EIO, "Input/output error")])
def test_a_file_upon_which_work_fails_is_closed(tmp_path: Path, error: Exception) -> None:
    kind = StoreUnavailable if isinstance(error, OSError) else NotFound
    with pytest.raises(kind), kept("a package", tmp_path / "new" / "home") as file:
        raise error
    assert file.closed
    assert list((tmp_path / "new" / "home").iterdir()) == []


def test_a_disk_that_does_not_take_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(
            StoreUnavailable, match=rf"a package cannot be kept below {tmp_path}/file: .*written there"
        ),
        kept("a package", tmp_path / "file"),
    ):
        pass
    with kept("a package", tmp_path) as file, file:
        file.write(b"some")
    with (
        pytest.raises(StoreUnavailable, match=r"No space left on device\. Free some space there"),
        kept("a package", tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
