"""What a version is made of, read from its files and from the run that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from homeostat.app.artifacts import etag
from homeostat.app.container import Container
from homeostat.app.registry.reading import VersionShown, resolve
from homeostat.app.tracking import run_data
from homeostat.domain.contracts import Column
from homeostat.domain.errors import Unsafe
from homeostat.domain.records import DatasetVersion, ModelVersion, Run
from homeostat.domain.refs import number_of, parse_ref
from homeostat.domain.tracking import ArtifactFile, LoggedModelMetric, LoggedModelParam
from homeostat.engine.registry import conversion, flavors, package
from homeostat.engine.registry.contents import Contents, Data, environment
from homeostat.engine.registry.formats import MODEL_FILES
from homeostat.engine.registry.sources import is_artifact
from homeostat.engine.tracking.places import path_of, place_of
from homeostat.ports.meta import Where

_REQUIREMENTS: Final = "requirements.txt"
_COMMIT: Final = "mlflow.source.git.commit"

Parts = Mapping[str, tuple[str, list[str]]]


def whole_version(container: Container, model: str, at: str = "latest") -> VersionShown:
    """A version with what it is made of.

    Raises:
        NotFound: there is no such model or version.
    """
    shown = resolve(container.store, model, at)
    shown.contents = contents(container, shown.record)
    return shown


def contents(container: Container, record: ModelVersion) -> Contents:
    """What a version is made of; of what is not kept here, or was never recorded, nothing."""
    files = files_of(container, record)
    found = _with_logged_model(container, record, _of_files(container, files))
    run = container.store.get(Run, record.run) if record.run else None
    if run is None:
        return found
    logged = run_data(container, [run.id])[run.id]
    measured = {metric.key: metric.value for metric in logged.metrics if metric.value is not None}
    return msgspec.structs.replace(
        found,
        metrics=record.metrics or measured | found.metrics,
        code=run.code or logged.tags.get(_COMMIT, ""),
        lock=found.lock or run.environment,
        data=[_data(container, text) for text in run.inputs]
        or [Data(ref=f"{read.name}@{read.digest}", digest=read.digest) for read in logged.inputs],
        views=found.views or run.features,
        params=logged.params | run.params | found.params,
        run=f"run/{run.id}",
    )


def _with_logged_model(container: Container, record: ModelVersion, found: Contents) -> Contents:
    """What was logged to the model itself, where a client logged one before it was registered."""
    if not record.logged_model:
        return msgspec.structs.replace(found, metrics=record.metrics)
    mine: Where = ("model", "=", record.logged_model)
    metrics = container.store.find(LoggedModelMetric, mine, order=["timestamp", "step"])
    return msgspec.structs.replace(
        found,
        params={param.key: param.value for param in container.store.find(LoggedModelParam, mine)},
        metrics={metric.key: metric.value for metric in metrics if metric.value is not None},
    )


def files_of(container: Container, record: ModelVersion) -> dict[str, tuple[str, list[str]]]:
    """The files by name, each with its digest and the blobs that it consists of; none where they are not here."""
    if record.manifest:
        return {name: (digest, [digest]) for name, digest in record.manifest["files"].items()}
    uri = record.location or record.source
    if not is_artifact(uri):
        return {}
    place = place_of(path_of(uri))
    where: list[Where] = [("root", "=", place.root)]
    if place.path:  # "0" is the character after "/"
        where += [("path", ">=", f"{place.path}/"), ("path", "<", f"{place.path}0")]
    found = container.store.find(ArtifactFile, *where)
    return {file.path.removeprefix(f"{place.path}/"): (etag(file), file.chunks) for file in found}


def _of_files(container: Container, files: Parts) -> Contents:
    def read(*names: str) -> bytes:
        name = next((name for name in names if name in files), "")
        # What is longer than this is not what it is called; that of several chunks is.
        if not name or len(files[name][1]) > 1:
            return b""
        with container.blobs.open(files[name][1][0]) as file:
            data = file.read(flavors.LARGEST + 1)
        return data if len(data) <= flavors.LARGEST else b""

    own = (package.ENVIRONMENT, flavors.OWN + package.ENVIRONMENT, _REQUIREMENTS)
    lock = next((files[name][0] for name in own if name in files), "")
    text = read(*own).decode("utf-8", "replace")
    signature = package.signature(read(package.SIGNATURE, flavors.OWN + package.SIGNATURE))
    if signature is None:
        return _of_mlflow(read, environment(text), lock)
    answer = Column(name=signature.label, type="float", ge=0, le=1)
    example = read(package.EXAMPLE, flavors.OWN + package.EXAMPLE)
    return Contents(
        kept_as=", ".join(name for name in MODEL_FILES if name in files),
        features=list(signature.features),
        request=list(signature.request),
        answers=[answer],
        shapes={
            "features": [-1, len(signature.features)],
            "request": [-1, len(signature.request)],
            "answers": [-1],
        },
        key=list(signature.key),
        time=signature.time,
        example=flavors.plain(example),
        environment=environment(text),
        lock=lock,
        views=list(signature.views),
        conversion=flavors.plain(read(conversion.VERDICT)),
    )


def _of_mlflow(read: Any, packages: dict[str, str], lock: str) -> Contents:
    """What MLflow's own description says."""
    plain = Contents(environment=packages, lock=lock)
    data = read(flavors.MLMODEL)
    if not data:
        return plain
    try:
        said = flavors.describe({flavors.MLMODEL: data})
    except Unsafe:  # a registered version may hold anything; what serves is looked at by whoever loads it
        return plain
    files = {said.example: read(said.example)} if said.example else {}
    return msgspec.structs.replace(
        plain,
        kept_as=flavors.kept_as(said),
        features=list(said.columns),
        answers=list(said.answers),
        shapes=said.shapes,
        example=flavors.example({flavors.MLMODEL: data} | files),
    )


def _data(container: Container, text: str) -> Data:
    ref = parse_ref(text)
    number = number_of(ref.version) or 0
    found = container.store.get(DatasetVersion, ref.name, number)
    if found is None:
        return Data(ref=text)
    return Data(ref=text, rows=found.rows, digest=found.digest, created_at=found.created_at)
