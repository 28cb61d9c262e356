"""Model directories in and out of the registry: MLflow's as they are, and ours as MLflow's.

Files go by in pieces, however large they are; only ours, as MLflow's, are in memory, as they were when they were made.
"""

from __future__ import annotations

import contextlib
import io
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import BinaryIO, Final, Literal

import msgspec

from homeostat.adapters.disk import kept
from homeostat.app.artifacts import put_in
from homeostat.app.container import Container
from homeostat.app.registry import models
from homeostat.app.registry.contents import files_of
from homeostat.app.registry.reading import resolve
from homeostat.app.registry.trees import EMPTY, MOST, Tree, held
from homeostat.app.tracking.experiments import DEFAULT, ensure_default
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.events import Event
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.refs import Ref
from homeostat.domain.tracking import LoggedModel, RegisteredModel
from homeostat.engine.registry import flavors, package
from homeostat.engine.tracking.places import SCHEME, clean, model_root, path_of

Layout = Literal["mlflow", "package"]
READY: Final = "READY"


def import_directory(container: Container, name: str, files: Tree, *, actor: str = "user") -> ModelVersion:
    """Make an MLflow model directory a version of a registered model, which is registered if need be.

    What is in it is kept and not run. Importing the same again gives the version that there is.

    Args:
        container: The ports.
        name: The model.
        files: The directory's files.
        actor: Who asked.

    Raises:
        BadRequest: it is no model directory, or the name, a path or the number of files cannot be.
        Unsafe: its ``MLmodel`` file does not describe a model, or one whose file is not there.
    """
    if flavors.MLMODEL not in files:
        raise BadRequest(
            f"there is no {flavors.MLMODEL} file in the directory",
            remedy="Name one that mlflow.<flavor>.save_model wrote",
        )
    if len(files) > MOST:  # no client could export them
        raise BadRequest(
            f"the directory holds more than {MOST:,} files", remedy="Name the directory of one model"
        )
    for path in files:
        if clean(path) != path.removesuffix(EMPTY):
            raise BadRequest(f"{path!r} is no path of a model's file", remedy="Rename it")
    with files.open(flavors.MLMODEL) as file:
        described = flavors.describe({flavors.MLMODEL: file.read(flavors.LARGEST + 1)})
    flavors.check_whole(described, files)
    manifest, sizes = _stored(container, files)
    digest = package.digest(manifest)
    ensure_default(container)
    if container.store.get(RegisteredModel, name) is None:
        with contextlib.suppress(Conflict):  # another process registered it meanwhile
            models.register(container, name, actor=actor)
    with container.store.begin() as tx:
        models.locked(tx, name)
        known = tx.find(ModelVersion, ("model", "=", name), ("digest", "=", digest), limit=1)
        if known:
            return known[0]
        number, now = models.take_number(tx, container, name), container.clock.now()
        logged = LoggedModel(
            id=f"m-{uuid.uuid4().hex}",
            experiment=DEFAULT,
            name=name,
            status=READY,
            artifacts="",
            created_at=now,
            updated_at=now,
        )
        source = model_root(f"{SCHEME}:/{DEFAULT}", logged.id)
        tx.insert(msgspec.structs.replace(logged, artifacts=source))
        for path, size in sizes.items():
            if not path.endswith(EMPTY):
                put_in(container, tx, f"{path_of(source)}/{path}", [manifest["files"][path]], size)
        made = ModelVersion(
            model=name,
            version=number,
            digest=digest,
            manifest=manifest,
            run="",
            stage="registered",
            source=source,
            logged_model=logged.id,
            actor=actor,
            created_at=now,
            updated_at=now,
        )
        tx.insert(made)
        tx.append(
            Event(
                kind="model.version-created",
                subject=str(Ref("model", name).at(number)),
                at=now,
                actor=actor,
                body={"digest": digest, "source": source, "imported": True},
            )
        )
    return made


def _stored(container: Container, files: Tree) -> tuple[package.Manifest, dict[str, int]]:
    """The manifest of files that are in the blobs from now on, and how large each is."""
    digests, sizes = {}, {}
    for path in sorted(files):
        with files.open(path) as file:
            digests[path] = container.blobs.put_file(file)
            sizes[path] = file.seek(0, io.SEEK_END)
    return {"files": digests}, sizes


def export_files(container: Container, name: str, at: str, layout: Layout = "mlflow") -> Tree:
    """The files of a version, each checked as it is opened.

    Args:
        container: The ports.
        name: The model.
        at: The version's number, or an alias.
        layout: ``package``: as they are kept. ``mlflow``: as an MLflow model directory, which one that came as such is.

    Raises:
        NotFound: there is no such version, or its files are not kept here.
        Conflict: MLflow has no flavor for such a model.
    """
    record = resolve(container.store, name, at).record
    files = kept_files(container, record)
    if layout == "package" or flavors.MLMODEL in files:
        return files
    run = container.store.get(Run, record.run) if record.run else None
    return held(mlflow_of(container, dict(files), record.digest, run, record.created_at))


def mlflow_of(
    container: Container, files: Mapping[str, bytes], digest: str, run: Run | None, made_at: datetime
) -> dict[str, bytes]:
    """The files of a package of ours as an MLflow model directory: of equal packages and runs, equal files.

    Raises:
        Conflict: MLflow has no flavor for such a model.
    """
    from homeostat.engine.registry.exporting import mlflow_files

    code = msgspec.json.decode(container.blobs.get(run.code), type=dict[str, str]) if run and run.code else {}
    created = (run.ended_at if run else None) or made_at
    return mlflow_files(files, digest=digest, created=created, code=code, run=run.id if run else "")


def kept_files(container: Container, record: ModelVersion) -> Tree:
    """The files of a version's package, or of one that a client registered, those at its source.

    Opening one that is missing or altered is a ``NotFound`` that names it.

    Raises:
        NotFound: they are not kept here.
    """
    ref, found = Ref("model", record.model).at(record.version), files_of(container, record)
    if not found:
        uri = record.location or record.source
        raise NotFound(f"the files of {ref} are not here, but at {uri!r}", remedy="Fetch them from there")
    return Tree(
        {path: partial(_open, container, chunks, f"{path} of {ref}") for path, (_, chunks) in found.items()}
    )


def _open(container: Container, chunks: Sequence[str], what: str) -> BinaryIO:
    """A file that is in the blobs; one of several chunks as a temporary file."""
    try:
        if len(chunks) == 1:
            return container.blobs.open(chunks[0])
        with kept(what, container.settings.home) as file:
            for digest in chunks:
                file.write(container.blobs.get(digest))
    except NotFound as error:
        raise NotFound(f"{what} cannot be had: {error.message}", remedy=error.remedy) from error
    file.seek(0)
    return file
