"""The package of a model version: its files, how they are stored, and how they are read back.

Files: that of the model, by whose name its format is known (``formats``; ``model.skops`` for most), ``signature.json``,
``environment.txt``, ``example.json`` (one request), ``features.json`` (the features that it led to), ``reference.json``
(what monitoring compares live rows with), and any others the caller adds, such as an ONNX graph that serves in the
model's place (``conversion``). Or the files of an MLflow model, as they were (``flavors.py``). A package is its
manifest ``{"files": {name: digest}}``; the digest of the manifest is the version's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
import polars as pl

from homeostat.domain.contracts import Column
from homeostat.domain.digests import canonical, digest_bytes, digest_of
from homeostat.domain.errors import NotFound, Unsafe
from homeostat.engine.registry import conversion, flavors, formats
from homeostat.engine.registry.scores import Scores, one_number
from homeostat.engine.registry.scores import predict as predict
from homeostat.ports.blobs import Blobs

SIGNATURE: Final = "signature.json"
ENVIRONMENT: Final = "environment.txt"
EXAMPLE: Final = "example.json"
FEATURES: Final = "features.json"
REFERENCE: Final = "reference.json"
_DETAILS: Final = (SIGNATURE, ENVIRONMENT, EXAMPLE, REFERENCE)

T = TypeVar("T")

Files = dict[str, bytes]
Manifest = dict[str, Any]


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes and gives.

    Args:
        features: The columns the estimator was fitted on, in order.
        request: The columns of a request.
        key: Which of them identify it.
        time: Which of them is its event time.
        views: The feature views behind the features, as ``feature-view/name@version``.
        label: What is predicted: the probability that this column is true or of a class, or its value.
        task: The type of the task.
        classes: The classes of a multi-class task, in the order of their numbers.
    """

    features: tuple[Column, ...]
    request: tuple[Column, ...]
    key: tuple[str, ...]
    time: str | None
    views: tuple[str, ...]
    label: str
    task: str = "binary"
    classes: tuple[str | int | bool, ...] = ()


@dataclass(frozen=True)
class Package:
    """A model version read back; every file was checked against the manifest."""

    estimator: Any
    signature: Signature
    environment: str
    example: dict[str, Any]
    reference: dict[str, Any]
    files: Mapping[str, bytes]
    digest: str

    def predict(self, X: pl.DataFrame) -> Scores:
        """As the function ``predict``, for its task."""
        return predict(self.estimator, X, self.signature.task, len(self.signature.classes))

    def score(self, X: pl.DataFrame) -> Scores:
        """The one number that stands for each prediction."""
        return one_number(self.predict(X))


def classifier(model: Any) -> Any:
    """What a training function gave as something with ``predict_proba``: boosters and ONNX graphs are wrapped."""
    return formats.classifier(model)


def pack(
    estimator: Any,
    signature: Signature,
    *,
    environment: str,
    example: Mapping[str, Any],
    reference: Mapping[str, Any],
    extra: Mapping[str, bytes] | None = None,
    trusted: Sequence[str] = (),
) -> Files:
    """The files of a package, by name.

    Raises:
        Unsafe: no format keeps the estimator without code in its file, or it holds types that loading would refuse.
        NotInstalled: the library of its format is missing.
    """
    return {
        **(extra or {}),
        **formats.dump(estimator, trusted),
        SIGNATURE: canonical(signature),
        ENVIRONMENT: environment.encode(),
        EXAMPLE: canonical(example),
        REFERENCE: canonical(reference),
    }


def store(blobs: Blobs, files: Mapping[str, bytes]) -> Manifest:
    """Put the files into ``blobs`` and return the manifest."""
    return {"files": {name: blobs.put(files[name]) for name in sorted(files)}}


def signature(data: bytes) -> Signature | None:
    """What a file named ``SIGNATURE`` says; None where it is another program's file of that name."""
    try:
        return msgspec.json.decode(data, type=Signature)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def digest(manifest: Manifest) -> str:
    """The digest of a model version."""
    return digest_of({"files": manifest["files"]})


def load(
    blobs: Blobs, manifest: Manifest, trusted: Sequence[str] = (), *, expect: str | None = None
) -> Package:
    """Read a package, checking each file against the manifest, and the manifest against ``expect``.

    Args:
        trusted: Types that the project allows beyond the known-safe, as ``module.Class``.
        expect: The digest of the version, when the caller knows it.

    Raises:
        NotFound: a file is missing or torn.
        Unsafe: a file or the manifest was altered, or the model holds a type that nobody allowed.
        NotInstalled: the library of the model's format is missing.
    """
    found = digest(manifest)
    if expect is not None and found != expect:
        raise Unsafe(
            f"the manifest has digest {found} and not {expect}", remedy="It was altered: do not serve it"
        )
    files = {name: _read(blobs, name, wanted) for name, wanted in manifest["files"].items()}
    if flavors.MLMODEL in files:
        return _of_mlflow(files, found, trusted)
    for name in _DETAILS:
        if name not in files:
            raise NotFound(
                f"the package has no {name}", remedy="It was not written by Homeostat; train again"
            )
    return Package(
        estimator=conversion.served(files) or formats.load(files, trusted),
        signature=_decoded(files[SIGNATURE], SIGNATURE, Signature),
        environment=files[ENVIRONMENT].decode(),
        example=_decoded(files[EXAMPLE], EXAMPLE, dict[str, Any]),
        reference=_decoded(files[REFERENCE], REFERENCE, dict[str, Any]),
        files=files,
        digest=found,
    )


def described(blobs: Blobs, manifest: Manifest) -> tuple[Signature, dict[str, Any]]:
    """What a package says of requests: its signature and an example, checked as by ``load``, without its model.

    Raises:
        NotFound: one of them is missing or torn.
        Unsafe: one was altered.
    """
    found = {}
    for name in (SIGNATURE, EXAMPLE):
        kept = next((one for one in (name, flavors.OWN + name) if one in manifest["files"]), "")
        if not kept:
            raise NotFound(f"the package has no {name}", remedy="Train or register the model again")
        found[name] = _read(blobs, kept, manifest["files"][kept])
    signature = _decoded(found[SIGNATURE], SIGNATURE, Signature)
    return signature, _decoded(found[EXAMPLE], EXAMPLE, dict[str, Any])


def _of_mlflow(files: Files, found: str, trusted: Sequence[str]) -> Package:
    """The package that an MLflow model directory is; one that we wrote says more than MLflow's own files do."""
    own = {name: files[flavors.OWN + name] for name in _DETAILS if flavors.OWN + name in files}
    environment = own.get(ENVIRONMENT) or files.get("requirements.txt") or files.get("conda.yaml") or b""
    plain = Signature(
        features=flavors.describe(files).columns, request=(), key=(), time=None, views=(), label=""
    )
    return Package(
        estimator=flavors.restore(files, trusted),
        signature=_decoded(own[SIGNATURE], SIGNATURE, Signature) if SIGNATURE in own else plain,
        environment=environment.decode("utf-8", "replace"),
        example=_decoded(own.get(EXAMPLE, b"{}"), EXAMPLE, dict[str, Any]) or flavors.example(files),
        reference=_decoded(own.get(REFERENCE, b"{}"), REFERENCE, dict[str, Any]),
        files=files,
        digest=found,
    )


def _decoded(data: bytes, name: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unsafe(
            f"{name} of the package is not what Homeostat writes: {error}",
            remedy="Train or register the model again",
        ) from error


def _read(blobs: Blobs, name: str, wanted: str) -> bytes:
    data = blobs.get(wanted)
    if digest_bytes(data) != wanted:
        raise Unsafe(f"{name} does not have the digest {wanted}", remedy="It was altered: do not serve it")
    return data
