"""The files of a run as people look for them: its own, and those of the models that it logged, below the model's name.

MLflow's clients show both as one as well; where a file and a model's file would have one path, it is the run's own.
"""

from __future__ import annotations

import msgspec

from homeostat.app import artifacts
from homeostat.app.container import Container
from homeostat.app.tracking.experiments import experiment
from homeostat.app.tracking.runs import run
from homeostat.domain.tracking import ArtifactFile, LoggedModel
from homeostat.engine.tracking.places import clean, here, path_of, place_of, run_root


class RunFile(msgspec.Struct, frozen=True):
    """A file of a run: its path from the topmost folder, and its bytes."""

    path: str
    size: int


def run_files(container: Container, id: str, folder: str = "") -> list[RunFile]:
    """Every file of a run below a folder, however deep, by path; nothing when there is no such folder.

    Args:
        container: The ports.
        id: The run's id.
        folder: Which; empty: all of them.

    Raises:
        NotFound: there is no such run.
        BadRequest: the path cannot be, or the files are kept elsewhere.
    """
    folder = clean(folder)
    name, _, rest = folder.partition("/")
    found: dict[str, int] = {}
    for model, root in _models(container, id).items():
        if name in ("", model):
            below = artifacts.walk(container, f"{root}/{rest}")
            found |= {f"{model}/{path}": size for path, size in below}
    found |= artifacts.walk(container, f"{_root(container, id)}/{folder}")
    return [RunFile(path, size) for path, size in sorted(found.items())]


def place_in_run(container: Container, id: str, path: str) -> str:
    """Under which path of all artifacts a file of a run is kept; its own where there is neither.

    Raises:
        NotFound: there is no such run.
        BadRequest: the path cannot be, or the files are kept elsewhere.
    """
    own = f"{_root(container, id)}/{clean(path)}"
    place = place_of(own)
    name, _, rest = place.path.partition("/")
    if not rest or container.store.get(ArtifactFile, place.root, place.path) is not None:
        return own
    root = _models(container, id).get(name)
    return own if root is None else f"{root}/{rest}"


def _root(container: Container, id: str) -> str:
    return path_of(run_root(experiment(container, run(container, id).experiment).artifacts, id))


def _models(container: Container, id: str) -> dict[str, str]:
    """Where the files of the models that a run logged are, by name: of several the newest."""
    logged = container.store.find(LoggedModel, ("run", "=", id), order=["created_at"])
    places = {one.name: here(one.artifacts) for one in logged if one.deleted_at is None}
    return {name: root for name, root in places.items() if root}
