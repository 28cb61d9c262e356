"""Disks that fill up: told by a page before they are full, relieved of what nobody names, and spared further trainings.

What serves goes on meanwhile: answers need no disk, and predictions that cannot be kept are counted as lost.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.garbage import free
from homeostat.app.settings import Settings
from homeostat.domain.errors import HomeostatError
from homeostat.domain.records import Alert

LEAST: Final = 256 << 20
"""Bytes; where fewer are left, nothing is trained."""
_KEY: Final = "disk"


def least_free(settings: Settings) -> tuple[int, Path]:
    """The bytes that are left on the fullest disk that anything is kept on, and the folder on it."""
    places = [str(settings.home), settings.blobs, settings.tables, settings.online.removeprefix("lmdb:")]
    if settings.store.startswith("sqlite:///"):
        places.append(str(Path(settings.store.removeprefix("sqlite:///")).parent))
    folders = [Path(place) for place in places if "://" not in place and Path(place).is_dir()]
    return min((shutil.disk_usage(folder).free, folder) for folder in folders or [Path.cwd()])


def cramped(container: Container) -> str:
    """Why nothing is to be trained for want of space; empty where there is enough."""
    left, folder = least_free(container.settings)
    return f"{left >> 20} MiB are left on the disk of {folder}" if left < LEAST else ""


def keep_space(container: Container) -> list[str]:
    """Tell of a disk that is nearly full, and free what no record names; says what was done."""
    left, folder = least_free(container.settings)
    if left >= LEAST:
        if container.store.find(Alert, ("key", "=", _KEY), ("state", "=", "open"), limit=1):
            with container.store.begin() as tx:
                resolve_alert(tx, container, _KEY)
        return []
    if container.store.find(Alert, ("key", "=", _KEY), ("state", "=", "open"), limit=1):
        return []
    # First of all: where nothing is left, there is no room for the alert either.
    try:
        done = f"{free(container, delete=True).bytes >> 20} MiB were freed"
    except (HomeostatError, OSError) as error:
        done = f"nothing more could be freed: {error}"
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key=_KEY,
            subject="worker/disk",
            severity="page",
            summary=f"{left >> 20} MiB are left on the disk of {folder}",
            action="trainings wait, bytes that no record names are freed; give it more space, or run homeostat gc",
            detail={"free": left, "folder": str(folder)},
        )
    return [f"the disk of {folder} is nearly full: {done}; trainings wait"]
