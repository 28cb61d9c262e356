"""Values that are no numbers, as people look at them: those of a run by name, and the latest of a name as it is.

They are files of the run (``homeostat.engine.tracking.shown``), so whoever may write files may write them: what is no
value is left out.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import msgspec

from homeostat.app import artifacts
from homeostat.app.container import Container
from homeostat.app.tracking.runs import run
from homeostat.domain.errors import NotFound
from homeostat.domain.tracking import ArtifactFile, Experiment
from homeostat.engine.tracking import shown
from homeostat.engine.tracking.places import here, run_root
from homeostat.ports.meta import Where

_LARGEST: Final = 16 << 20  # bytes of a JSON file that is read


class LoggedValue(msgspec.Struct, frozen=True):
    """What is logged under a name, and of that the latest.

    Args:
        key: The name.
        type: What the latest is: ``image``, ``plotly``, ``table``, ``histogram``, ``confusion-matrix``, ``curve``,
            ``audio`` or ``text``.
        told: The latest in a line of words.
        count: How many there are.
        step: The step of the latest.
        at: Its time, in milliseconds since 1970.
        file: The path of the run's file that holds it; empty: ``detail`` does.
        detail: What its JSON file holds, where that one value was asked for.
    """

    key: str
    type: str
    told: str
    count: int
    step: int
    at: int
    file: str = ""
    detail: dict[str, Any] = {}


def logged_values(container: Container, id: str, key: str = "") -> list[LoggedValue]:
    """What is logged to a run beside numbers, by name.

    Args:
        container: The ports.
        id: The run's id.
        key: The name of one value, which then comes with its detail; empty: all of them, without.

    Raises:
        NotFound: there is no such run, or no such value.
    """
    places: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    root = root_of(container, id)
    folder = f"{shown.FOLDER}/{key}" if key else shown.FOLDER
    below: tuple[Where, ...] = ("path", ">=", f"{folder}/"), ("path", "<", f"{folder}0")
    for (path,) in container.store.pick(ArtifactFile, ["path"], ("root", "=", root), *below) if root else ():
        place = shown.place_of(path)
        if place is not None and key in ("", place[0]):
            places[place[0]].append((*place[1:], path))
    found = [one for name in sorted(places) if (one := _latest(container, root, name, places[name], key))]
    if key and not found:
        raise NotFound(
            f"run/{id} has no value {key!r} beside its metrics",
            remedy=f"See homeostat runs show {id[:8]} for those there are",
        )
    return found


def _latest(
    container: Container, root: str, name: str, places: list[tuple[int, int, str]], key: str
) -> LoggedValue | None:
    for step, at, path in sorted(places, reverse=True):
        content = _content(container, root, path)
        try:
            kept = msgspec.json.decode(content, type=shown.Kept)
            detail = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError:
            continue
        words = shown.told(kept.type, detail)
        return LoggedValue(name, kept.type, words, len(places), step, at, kept.file, detail if key else {})
    return None


def _content(container: Container, root: str, path: str) -> bytes:
    """The file's bytes; none of one that was removed meanwhile, or is too long to tell a value."""
    file = container.store.get(ArtifactFile, root, path)
    return b"".join(artifacts.content(container, file)) if file and file.size <= _LARGEST else b""


def root_of(container: Container, id: str) -> str:
    """Where the run's files are; empty: not at this server."""
    experiment = container.store.get(Experiment, run(container, id).experiment)
    return here(run_root(experiment.artifacts, id)) if experiment is not None else ""
