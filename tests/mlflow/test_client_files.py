"""Artifacts through the official client: there and back, folders, names, and what the server has not."""

from __future__ import annotations

from typing import Any

from tests.mlflow.official import Client


def test_files_and_folders_there_and_back(client: Client) -> None:
    def script() -> dict[str, Any]:
        import tempfile
        from pathlib import Path

        import mlflow

        names = ["a.txt", "empty", "100%.txt", "a+b.txt", "semi;colon&=.txt", "d/b b.txt", "d/e/日本 é.bin"]
        folder = Path(tempfile.mkdtemp())
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"" if name == "empty" else bytes([number]) * 1000)
        asking = mlflow.MlflowClient()
        with mlflow.start_run() as run:
            id = run.info.run_id
            before = asking.list_artifacts(id)
            mlflow.log_artifacts(folder)
            mlflow.log_artifact(folder / "a.txt", "deep/er")
            mlflow.log_dict({"x": 1}, "conf/c.json")
            mlflow.log_text("hello", "t.md")
            mlflow.log_artifact(folder / "a.txt", "deep/er")  # once more, in its place
        back = Path(asking.download_artifacts(id, ""))
        one = Path(mlflow.artifacts.download_artifacts(f"runs:/{id}/d/e"))
        return {
            "before": before,
            "same": all((back / name).read_bytes() == (folder / name).read_bytes() for name in names),
            "one": [path.name for path in one.iterdir()],
            "top": [[f.path, f.is_dir] for f in asking.list_artifacts(id)],
            "sizes": [[f.path, f.file_size] for f in asking.list_artifacts(id, "d")],
            "of a file": asking.list_artifacts(id, "a.txt"),
            "text": mlflow.artifacts.load_text(f"{run.info.artifact_uri}/t.md"),
            "dict": mlflow.artifacts.load_dict(f"runs:/{id}/conf/c.json"),
        }

    assert client(script) == {
        "before": [],
        "same": True,
        "one": ["日本 é.bin"],
        "top": [
            ["100%.txt", False],
            ["a+b.txt", False],
            ["a.txt", False],
            ["conf", True],
            ["d", True],
            ["deep", True],
            ["empty", False],
            ["semi;colon&=.txt", False],
            ["t.md", False],
        ],
        "sizes": [["d/b b.txt", 1000], ["d/e", None]],
        "of a file": [],
        "text": "hello",
        "dict": {"x": 1},
    }


def test_removed_by_the_repository(here: Client) -> None:
    def script() -> list[list[str]]:
        import mlflow
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with mlflow.start_run() as run:
            for name in ("a.txt", "d/b.txt", "d/c.txt"):
                mlflow.log_text("x", name)
        files = get_artifact_repository(run.info.artifact_uri)
        found = []
        for path in ("d/b.txt", "a.txt", None):
            files.delete_artifacts(path)
            found.append([f.path for folder in ("", "d") for f in files.list_artifacts(folder)])
        return found

    assert client_paths(here(script)) == [["a.txt", "d", "d/c.txt"], ["d", "d/c.txt"], []]


def client_paths(found: list[list[str]]) -> list[list[str]]:
    return [sorted(paths) for paths in found]


def test_in_parts_falls_back_to_one(here: Client) -> None:
    """Who asks for uploads and downloads in parts gets them whole, as from a server whose store has none."""

    def script() -> bool:
        import os
        import tempfile
        from pathlib import Path

        import mlflow

        asked = {
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
            "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(6 << 20),
            "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 << 20),
        }
        os.environ.update(asked)
        try:
            data = os.urandom(20 << 20)
            path = Path(tempfile.mkdtemp()) / "big.bin"
            path.write_bytes(data)
            with mlflow.start_run() as run:
                mlflow.log_artifact(str(path))
            back = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/big.bin"))
            return back.read_bytes() == data
        finally:
            for name in asked:
                del os.environ[name]

    assert here(script)


def test_refused_paths_are_told(here: Client) -> None:
    def script() -> list[int]:
        import mlflow
        import requests

        root = f"{mlflow.get_tracking_uri()}/api/2.0/mlflow-artifacts/artifacts"
        return [
            requests.put(f"{root}/{path}", data=b"x", timeout=30).status_code
            for path in ("%2e%2e/x", "%252e%252e/x", "a%00b", "/etc/passwd", "n" * 300)
        ]

    assert here(script) == [400] * 5
