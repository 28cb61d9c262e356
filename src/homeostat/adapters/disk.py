"""Temporary files that packages and blobs go by way of; a disk that does not take them is a store that is not there."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from homeostat.domain.errors import StoreUnavailable

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def kept(what: str, folder: Path | None, remedy: str = "Free some space there") -> Iterator[BinaryIO]:
    """A new file in a folder, which is made if need be; the caller closes it, which removes it.

    Where the work upon it fails, it is closed already.

    Args:
        what: What it is to hold.
        folder: Where there is space for it; None: where the system keeps temporary files.
        remedy: What helps where the disk is full.

    Raises:
        StoreUnavailable: a file cannot be read or written.
    """
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        file = cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - the caller closes it
        try:
            yield file
            if not file.closed:  # what is still to be written may not fit either
                file.flush()
        except BaseException:
            with contextlib.suppress(OSError):  # it writes what is left
                file.close()
            raise
    except OSError as error:
        place = folder or tempfile.tempdir or "the folder for temporary files"
        why = error.strerror or str(error)
        raise StoreUnavailable(
            f"{what} cannot be kept below {place}: {why}{f' ({error.filename})' if error.filename else ''}",
            remedy=remedy
            if error.errno in _FULL
            else "See to it that the files can be read and written there",
        ) from error
