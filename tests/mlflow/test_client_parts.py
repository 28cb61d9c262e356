"""The official client sends and reads large files past the server, where an object store keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.blobs.s3_server import s3
from tests.mlflow.official import Client, Evaluator
from tests.server.ups import Up

__all__ = ["s3"]


@pytest.fixture
def stored(s3: dict[str, str], tmp_path: Path, evaluator: Evaluator) -> Iterator[Client]:
    """The client of a server whose blobs are in an object store."""
    up = Up(tmp_path / "home", HOMEOSTAT_BLOBS="s3://bucket/parts", **s3).ready()
    yield Client(evaluator, up.note.server)
    up.stop()


def test_large_files_go_in_parts(stored: Client, here: Client) -> None:
    def script() -> dict[str, Any]:
        import os
        import tempfile
        from pathlib import Path
        from unittest import mock

        import mlflow
        import requests

        settings = {
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
            "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "5000000",
            "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": "5242880",
            "MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE": "3000000",
        }
        server = mlflow.get_tracking_uri()
        mlflow.set_experiment("parts")
        past: list[str] = []
        sending = requests.Session.send

        def watched(self: Any, request: Any, **more: Any) -> Any:
            if not request.url.startswith(server):
                past.append(request.method)
            return sending(self, request, **more)

        folder = Path(tempfile.mkdtemp())
        sizes = {"a.bin": 21_000_000, "b.bin": 6_000_000, "small.bin": 10}
        for name, size in sizes.items():
            (folder / name).write_bytes(os.urandom(size))
        with mock.patch.dict(os.environ, settings), mock.patch.object(requests.Session, "send", watched):
            with mlflow.start_run() as run:
                mlflow.log_artifacts(folder, "deep/er")
            sent = sorted(past)
            past.clear()
            back = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/deep/er"))
        return {
            "sent": sent,
            "read": sorted(set(past)),
            "same": [(back / name).read_bytes() == (folder / name).read_bytes() for name in sizes],
        }

    # Of the first file five parts, of the second two; what is in one chunk is read from the object store.
    assert stored(script) == {"sent": ["PUT"] * 7, "read": ["GET"], "same": [True] * 3}
    assert here(script) == {"sent": [], "read": [], "same": [True] * 3}
