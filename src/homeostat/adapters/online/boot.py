"""Which start of the machine this is: what was written without a flush is good for no other."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_KERNEL: Final = Path("/proc/sys/kernel/random/boot_id")
VOLATILE: Final = ("data.mdb", "lock.mdb")


def boot_id() -> str:
    """The kernel's id of this boot; empty where the kernel has none to tell."""
    return _KERNEL.read_text("ascii").strip() if _KERNEL.exists() else ""


@contextmanager
def of_this_boot(folder: Path, boot: str) -> Iterator[None]:
    """Hold ``folder`` while it is opened, emptied first of what an earlier boot may have left torn."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "boot").open("a+", encoding="ascii") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        mark.seek(0)
        if mark.read() != boot:
            for name in VOLATILE:
                (folder / name).unlink(missing_ok=True)
            mark.truncate(0)
            mark.write(boot)
            mark.flush()
        yield
