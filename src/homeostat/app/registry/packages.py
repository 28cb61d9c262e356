"""Versions that the loop makes: numbered as all are, their files shown among the artifacts of their run.

A client downloads them from there like those of any other version. The blobs are those of the package, kept once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from homeostat.app.artifacts import put_in
from homeostat.app.container import Container
from homeostat.app.registry.models import take_number
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.tracking import ModelTag
from homeostat.engine.registry import package
from homeostat.engine.tracking.places import SCHEME, path_of, run_root
from homeostat.ports.meta import Transaction

FOLDER: Final = "model"


def add_candidate(
    tx: Transaction, container: Container, run: Run, manifest: package.Manifest, sizes: Mapping[str, int]
) -> ModelVersion:
    """Make the next version of a run's model, whose gates have not judged it yet.

    Args:
        tx: The transaction.
        container: The ports.
        run: The run that made it.
        manifest: The package's files by name, which are in the blobs.
        sizes: How many bytes each has.
    """
    number = take_number(tx, container, run.model)
    now = container.clock.now()
    source = f"{run_root(f'{SCHEME}:/{run.experiment}', run.id)}/{FOLDER}"
    for name, digest in manifest["files"].items():
        put_in(container, tx, f"{path_of(source)}/{name}", [digest], sizes[name])
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
