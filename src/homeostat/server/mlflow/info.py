"""What the server is, as clients ask before they begin."""

from __future__ import annotations

from typing import Final

import msgspec

from homeostat.app.container import Container
from homeostat.server.mlflow.wire import Endpoint

VERSION: Final = "3.17.2"
"""The release of MLflow whose protocol is spoken, as ``/version`` tells it."""


class Ask(msgspec.Struct, frozen=True):
    """``server-info``."""


class ServerInfo(msgspec.Struct, frozen=True):
    """What is there beside the calls that every server answers."""

    store_type: str = "SqlStore"
    workspaces_enabled: bool = False
    trace_archival_enabled: bool = False
    multipart_uploads_enabled: bool = False
    multipart_downloads_enabled: bool = False
    presigned_upload_run_id_supported: bool = False
    presigned_upload_model_id_supported: bool = False
    features_enabled: dict[str, bool] = msgspec.field(default_factory=lambda: {"gateway": False})


def _info(container: Container, asked: Ask) -> ServerInfo:
    return ServerInfo()


ENDPOINTS: Final[tuple[Endpoint, ...]] = (Endpoint("GET", "3.0/mlflow/server-info", Ask, _info),)
