"""The files of model versions as Homeostat's own clients fetch and send them: one tar file."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from homeostat.app.registry.directories import Layout, export_files, from_tar, import_directory, to_tar
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import ModelVersion
from homeostat.server.calls import Call

if TYPE_CHECKING:
    from homeostat.app.container import Container


def export(container: Container, call: Call) -> msgspec.Raw:
    """``GET /models/{name}/versions/{version}/files?layout=``."""
    layout = call.query.get("layout", "mlflow")
    if layout not in ("mlflow", "package"):
        raise BadRequest(f"{layout!r} is no layout", field="layout", remedy="Use mlflow or package")
    files = export_files(container, call.path["name"], call.path["version"], cast("Layout", layout))
    return msgspec.Raw(to_tar(files))  # the answer as it is


def take(container: Container, call: Call) -> ModelVersion:
    """``POST /models/{name}/import``: the tar file of an MLflow model directory."""
    return import_directory(container, call.path["name"], from_tar(call.body))
