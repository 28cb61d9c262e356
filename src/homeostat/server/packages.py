"""Versions as Homeostat's own clients fetch and send them: their files as one tar file, signatures, and papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec

from homeostat.adapters.disk import kept
from homeostat.app import modelcard, signatures
from homeostat.app.registry.directories import Layout, export_files, import_directory
from homeostat.app.registry.trees import from_tar, to_tar
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import ModelVersion
from homeostat.engine.registry.card import Card
from homeostat.engine.registry.signing import Signed
from homeostat.server.calls import Call, Vouching

if TYPE_CHECKING:
    from homeostat.app.container import Container
    from homeostat.app.signatures import Signatures


def export(container: Container, call: Call) -> BinaryIO:
    """``GET /models/{name}/versions/{version}/files?layout=``."""
    layout = call.query.get("layout", "mlflow")
    if layout not in ("mlflow", "package"):
        raise BadRequest(f"{layout!r} is no layout", field="layout", remedy="Use mlflow or package")
    files = export_files(container, call.path["name"], call.path["version"], cast("Layout", layout))
    with kept("the package", container.settings.home) as file:
        to_tar(files, file)
    return file


def take(container: Container, call: Call) -> ModelVersion:
    """``POST /models/{name}/import``: the tar file of an MLflow model directory."""
    assert call.file is not None
    return import_directory(container, call.path["name"], from_tar(call.file))


def card(container: Container, call: Call) -> Card:
    """``GET /models/{name}/versions/{version}/card``."""
    return modelcard.card(container, call.path["name"], call.path["version"])


def bom(container: Container, call: Call) -> msgspec.Raw:
    """``GET /models/{name}/versions/{version}/bom``: CycloneDX."""
    return msgspec.Raw(modelcard.bill_of_materials(card(container, call)))


def signed(container: Container, call: Call) -> Signatures:
    """``GET /models/{name}/versions/{version}/signatures``: each verified now."""
    return signatures.standing(container, call.path["name"], call.path["version"])


def bundles(container: Container, call: Call) -> list[Signed]:
    """``GET /models/{name}/versions/{version}/bundles``: the signatures as they were sent."""
    return signatures.bundles(container, call.path["name"], call.path["version"])


def sign(container: Container, call: Call) -> Signatures:
    """``POST /models/{name}/versions/{version}/signatures``."""
    said = call.read(Vouching)
    given = Signed(bundle=said.bundle, public=said.public)
    name, at = call.path["name"], call.path["version"]
    return signatures.add(container, name, at, given, digest=said.digest, actor=said.actor)
