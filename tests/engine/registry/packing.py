"""Packages in memory for the tests of formats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from homeostat.domain.contracts import Column
from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import NotFound
from homeostat.engine.registry import package
from homeostat.engine.registry.package import Package, Signature

RNG = np.random.default_rng(3)
X = pl.DataFrame(RNG.normal(size=(300, 3)), schema=["a", "b", "c"]).with_columns(
    c=pl.when(pl.col("c") > 1).then(None).otherwise(pl.col("c"))
)
Y = (RNG.random(300) < 1 / (1 + np.exp(-2 * X["a"].to_numpy()))).astype(np.int8)
SIGNATURE = Signature(
    features=tuple(Column(name=name, type="float", nullable=name == "c") for name in X.columns),
    request=(Column(name="id", type="string"),),
    key=("id",),
    time=None,
    views=("feature-view/weather@1",),
    label="late",
)


class Kept:
    """Blobs in a dictionary, which a test may damage."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        self.data[digest_bytes(data)] = data
        return digest_bytes(data)

    def get(self, digest: str) -> bytes:
        if digest not in self.data:
            raise NotFound(f"no blob {digest}")
        return self.data[digest]


def packed(estimator: Any, trusted: Sequence[str] = ()) -> dict[str, bytes]:
    """The files of a package."""
    return package.pack(
        estimator,
        SIGNATURE,
        environment="# python 3.12.1 (CPython)\nnumpy==2.4.0\nscikit-learn==1.9.0\n",
        example={"id": "x"},
        reference={"rows": 1},
        trusted=trusted,
    )


def loaded(files: dict[str, bytes], trusted: Sequence[str] = ()) -> Package:
    """Those files stored, and the package read back."""
    blobs: Any = Kept()
    manifest = package.store(blobs, files)
    return package.load(blobs, manifest, trusted, expect=package.digest(manifest))


class Marker:
    """Makes a file when it is unpickled: what no test may ever see done."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)
