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
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.contracts import Column
from homeostat.domain.digests import canonical, digest_bytes, digest_of
from homeostat.domain.errors import BadScores, NotFound, Unsafe
from homeostat.engine.registry import conversion, flavors, formats
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
        label: What is predicted: the probability that this column is true.
    """

    features: tuple[Column, ...]
    request: tuple[Column, ...]
    key: tuple[str, ...]
    time: str | None
    views: tuple[str, ...]
    label: str


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

    def predict(self, X: pl.DataFrame) -> npt.NDArray[np.float64]:
        """As the function ``predict``."""
        return predict(self.estimator, X)


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


def predict(estimator: Any, X: pl.DataFrame) -> npt.NDArray[np.float64]:
    """The probability of the positive class for each row, shape ``(n,)``, float64.

    Raises:
        BadScores: the estimator gave another number of scores, or one that is not finite or outside 0 to 1.
    """
    scores = np.asarray(estimator.predict_proba(X))
    if scores.ndim == 2:
        scores = _positive(estimator, scores)
    if scores.shape != (len(X),):
        raise _bad(estimator, f"gave scores of shape {scores.shape} for {len(X)} rows")
    scores = scores.astype(np.float64, copy=False)
    # One comparison finds NaN and infinities too: neither lies in the interval.
    if not ((scores >= 0) & (scores <= 1)).all():
        wrong = scores[~((scores >= 0) & (scores <= 1))][0]
        raise _bad(estimator, f"gave the score {wrong}, which is no probability")
    return scores


def _positive(estimator: Any, scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The column of class 1: an estimator that saw one class has one column."""
    classes = list(getattr(estimator, "classes_", [0, 1]))
    if len(classes) != scores.shape[1]:
        raise _bad(estimator, f"gave {scores.shape[1]} columns for {len(classes)} classes")
    if 1 in classes:
        column: npt.NDArray[Any] = scores[:, classes.index(1)]
        return column
    if classes == [0]:
        return np.zeros(len(scores))
    raise _bad(estimator, f"has the classes {classes}, none of which is 1")


def _bad(estimator: Any, what: str) -> BadScores:
    return BadScores(
        f"{type(estimator).__name__} {what}", remedy="Look at what it was fitted on and is asked with"
    )


def _read(blobs: Blobs, name: str, wanted: str) -> bytes:
    data = blobs.get(wanted)
    if digest_bytes(data) != wanted:
        raise Unsafe(f"{name} does not have the digest {wanted}", remedy="It was altered: do not serve it")
    return data
