"""Projects as they were applied: loaded from their snapshots, each once a process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import msgspec

from homeostat.app.container import Container
from homeostat.app.projects import Declared, checkout, load_project, project_file
from homeostat.domain.declarations import Model
from homeostat.domain.errors import NotFound
from homeostat.domain.records import Deployment, ModelVersion, Project, Run

_P = TypeVar("_P")


def project(container: Container) -> Project:
    """The applied project.

    Raises:
        NotFound: none was applied.
    """
    found = container.store.find(Project, order=["-applied_at"], limit=1)
    if not found:
        raise NotFound(
            "no project was applied to this store", remedy="Run homeostat apply in the project's folder"
        )
    return found[0]


def declared(container: Container, code: str = "") -> Declared:
    """What the project declares: as applied now, or as it was at the snapshot ``code``.

    Raises:
        NotFound: no project was applied, or the snapshot is gone.
        DeclarationError: the snapshot does not load.
    """
    return _load(checkout(container.blobs, code or project(container).source, container.settings.home))


def find_model(container: Container, name: str, code: str = "") -> Model:
    """The declaration of a model, as applied or at a snapshot.

    Raises:
        NotFound: the project declares no such model.
    """
    models = declared(container, code).models
    if name not in models:
        raise NotFound(
            f"there is no model/{name}", remedy=f"The project declares {', '.join(models) or 'none'}"
        )
    return models[name]


def asked_of(container: Container, record: ModelVersion, field: str, kind: type[_P]) -> _P | None:
    """What the project asks of a version's model in a ``field``: now, or at its training where it declares it no more.

    The stored declaration is read: no code of the project is run for a model that it declares.
    """
    try:
        spec = project(container).declared.get(f"model/{record.model}")
        if spec is not None:
            said = spec.get(field)
            return None if said is None else msgspec.convert(said, kind)
        run = container.store.get(Run, record.run) if record.run else None
        if run is None or not run.code:
            return None
        asked: _P | None = getattr(find_model(container, record.model, run.code), field)
        return asked
    except NotFound:  # no project was applied, or it never declared this model
        return None


@lru_cache(maxsize=32)
def _load(folder: Path) -> Declared:
    """A snapshot never changes, so what it declares is loaded once."""
    return load_project(project_file(folder))


def codes_in_use(container: Container) -> tuple[str, ...]:
    """The snapshots that matter now: the applied one, and those of every version that serves."""
    codes = {project(container).source}
    for deployment in container.store.find(Deployment):
        for arm in deployment.arms:
            version = container.store.get(ModelVersion, deployment.model, arm.version)
            run = container.store.get(Run, version.run) if version else None
            if run and run.code:
                codes.add(run.code)
    return tuple(sorted(codes))
