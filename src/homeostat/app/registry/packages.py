"""Versions that the loop makes: numbered as all are, and shown as MLflow model directories among the run's files.

A client downloads and loads them from there like those of any other version. What serves is the package itself, whose
digest is the version's; its files are kept once.
"""

from __future__ import annotations

from collections.abc import Mapping

from homeostat.app.artifacts import put_in
from homeostat.app.container import Container
from homeostat.app.registry.directories import mlflow_of
from homeostat.app.registry.models import take_number
from homeostat.domain.errors import Conflict
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.tracking import ModelTag
from homeostat.engine.registry import package
from homeostat.engine.registry.exporting import ARTIFACT_PATH
from homeostat.engine.tracking.places import SCHEME, path_of, run_root
from homeostat.ports.meta import Transaction

Shown = dict[str, tuple[str, int]]
"""The digest and the size of each file by its path."""


def show(container: Container, run: Run, files: Mapping[str, bytes], digest: str) -> Shown:
    """Keep a package as clients of MLflow find it; as it is, where MLflow has no flavor for its model.

    Args:
        container: The ports.
        run: The run that made it, ended.
        files: The files of the package.
        digest: Its digest.
    """
    try:
        kept = mlflow_of(container, files, digest, run, container.clock.now())
    except Conflict:
        kept = dict(files)
    return {name: (container.blobs.put(data), len(data)) for name, data in kept.items()}


def add_candidate(
    tx: Transaction, container: Container, run: Run, manifest: package.Manifest, shown: Shown
) -> ModelVersion:
    """Make the next version of a run's model, whose gates have not judged it yet.

    Args:
        tx: The transaction.
        container: The ports.
        run: The run that made it.
        manifest: The package's files by name, which are in the blobs.
        shown: What clients of MLflow find, likewise.
    """
    number = take_number(tx, container, run.model)
    now = container.clock.now()
    source = f"{run_root(f'{SCHEME}:/{run.experiment}', run.id)}/{ARTIFACT_PATH}"
    for name, (digest, size) in shown.items():
        put_in(container, tx, f"{path_of(source)}/{name}", [digest], size)
    made = ModelVersion(
        model=run.model,
        version=number,
        digest=package.digest(manifest),
        manifest=manifest,
        run=run.id,
        stage="candidate",
        metrics=run.metrics,
        tags=run.tags,
        source=source,
        created_at=now,
        updated_at=now,
    )
    tx.insert(made)
    if run.tags:
        tx.insert(*(ModelTag(model=run.model, version=number, key=k, value=v) for k, v in run.tags.items()))
    return made
