"""Artifacts over HTTP: whole or not at all, in ranges, by any path a client can write, and never anywhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeostat.app import artifacts, tracking
from homeostat.app.artifacts import CHUNK, listing, write
from homeostat.app.container import Container
from homeostat.app.logged_models import create_logged_model
from homeostat.app.settings import Settings
from homeostat.domain.errors import NotFound
from homeostat.domain.tracking import ArtifactFile
from homeostat.server.mlflow.app import Mlflow
from homeostat.server.room import Room
from tests.server.asking import Answer, ask

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
RUN = "1/ab12/artifacts"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def container(home: Path) -> Iterator[Container]:
    with Container(Settings(home=home / "home")) as container:
        yield container


@pytest.fixture(scope="module")
def app(container: Container) -> Iterator[Mlflow]:
    with ThreadPoolExecutor(2) as pool:
        yield Mlflow(container, pool, Room(1 << 30))


@pytest.fixture(autouse=True)
def empty(container: Container) -> Iterator[None]:
    yield
    with container.store.begin() as tx:
        tx.delete(ArtifactFile)


@pytest.mark.parametrize("prefix", ["/api", "/ajax-api"])
def test_up_listed_down_and_gone(app: Mlflow, prefix: str) -> None:
    proxy = f"{prefix}/2.0/mlflow-artifacts/artifacts"
    assert ask(app, "PUT", f"{proxy}/{RUN}/d/b%20b.txt", body=[b"hel", b"", b"lo"]).status == 200
    assert ask(app, "PUT", f"{proxy}/{RUN}/empty.bin").status == 200
    assert ask(app, "GET", proxy, f"path={quote(RUN)}").json == {
        "files": [{"path": "d", "is_dir": True}, {"path": "empty.bin", "is_dir": False, "file_size": 0}]
    }
    found = ask(app, "GET", proxy, f"path={quote(RUN)}/d").json
    assert found == {"files": [{"path": "b b.txt", "is_dir": False, "file_size": 5}]}
    assert ask(app, "GET", proxy, "path=none").json == {}
    got = ask(app, "GET", f"{proxy}/{RUN}/d/b%20b.txt")
    assert (got.status, got.body) == (200, b"hello")
    assert got.headers["content-type"] == "text/plain"
    assert got.headers["content-length"] == "5"
    assert got.headers["content-disposition"] == 'attachment; filename="b b.txt"'
    assert got.headers["x-content-type-options"] == "nosniff"
    assert ask(app, "GET", f"{proxy}/{RUN}/empty.bin").body == b""
    assert ask(app, "DELETE", f"{proxy}/{RUN}/d").json == {}
    assert ask(app, "GET", f"{proxy}/{RUN}/d/b%20b.txt").status == 404
    assert ask(app, "DELETE", f"{proxy}/{RUN}/d").status == 200


def test_a_file_of_several_chunks(app: Mlflow, container: Container) -> None:
    data = os.urandom(2 * CHUNK + 12345)
    pieces = [data[start : start + 300_001] for start in range(0, len(data), 300_001)]
    assert ask(app, "PUT", f"{PROXY}/{RUN}/big", body=pieces).status == 200
    assert ask(app, "GET", f"{PROXY}/{RUN}/big").body == data
    part = ask(app, "GET", f"{PROXY}/{RUN}/big", headers={"range": f"bytes={CHUNK - 7}-{CHUNK + 6}"})
    assert (part.status, part.body) == (206, data[CHUNK - 7 : CHUNK + 7])
    assert part.headers["content-range"] == f"bytes {CHUNK - 7}-{CHUNK + 6}/{len(data)}"


@pytest.mark.parametrize("body", [[], [b"x" * 100], [b"x" * CHUNK, b"y" * 100], [b"x" * CHUNK] * 2])
def test_a_torn_upload_leaves_nothing_to_see(app: Mlflow, container: Container, body: list[bytes]) -> None:
    write(container, f"{RUN}/there", b"before")
    for path in ("new", "there"):
        assert ask(app, "PUT", f"{PROXY}/{RUN}/{path}", body=body, whole=False) == Answer()
    assert [entry.name for entry in listing(container, RUN)] == ["there"]
    assert ask(app, "GET", f"{PROXY}/{RUN}/there").body == b"before"


def test_a_disk_that_is_full_is_told(
    app: Mlflow, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = container.settings.home / "no-folder"
    blocked.write_text("a file where the blobs' folder should be")
    with (
        Container(Settings(home=container.settings.home, blobs=str(blocked))) as full,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = ask(Mlflow(full, pool, Room(1 << 30)), "PUT", f"{PROXY}/{RUN}/x", body=[b"x" * CHUNK, b"x"])
        assert answer.status == 503
        assert answer.json["error_code"] == "TEMPORARILY_UNAVAILABLE"
        assert listing(full, RUN) == []


def test_bytes_that_are_gone_are_not_made_up(app: Mlflow, container: Container) -> None:
    file = write(container, f"{RUN}/x", os.urandom(CHUNK + 5))
    container.blobs.delete(file.chunks[1])
    with pytest.raises(NotFound):  # the server closes the connection, short of what was promised
        ask(app, "GET", f"{PROXY}/{RUN}/x")
    container.blobs.delete(file.chunks[0])
    assert ask(app, "GET", f"{PROXY}/{RUN}/x").status == 404


def test_who_goes_away_is_not_read_for(
    app: Mlflow, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "CHUNK", 10)
    write(container, f"{RUN}/x", os.urandom(2000))
    answer = ask(app, "GET", f"{PROXY}/{RUN}/x", whole=False)
    assert answer.status == 200
    assert len(answer.body) < 200


@pytest.mark.parametrize(
    ("asked", "status", "body", "shown"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=3-", 206, b"3456789", "bytes 3-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=5-3", 200, b"0123456789", ""),
        ("bytes=0-1,3-4", 200, b"0123456789", ""),
        ("bytes=a-b", 200, b"0123456789", ""),
        ("lines=1-2", 200, b"0123456789", ""),
        ("bytes=" + "9" * 30 + "-", 200, b"0123456789", ""),
    ],
)
def test_ranges(app: Mlflow, container: Container, asked: str, status: int, body: bytes, shown: str) -> None:
    write(container, f"{RUN}/x", b"0123456789")
    answer = ask(app, "GET", f"{PROXY}/{RUN}/x", headers={"range": asked})
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers.get("content-range", "") == shown
    assert answer.headers["content-length"] == str(len(body))


def test_a_range_of_what_has_changed_is_all_of_it(app: Mlflow, container: Container) -> None:
    write(container, f"{RUN}/x", b"0123456789")
    tag = ask(app, "GET", f"{PROXY}/{RUN}/x").headers["etag"]
    some = {"range": "bytes=1-2", "if-range": tag}
    assert ask(app, "GET", f"{PROXY}/{RUN}/x", headers=some).body == b"12"
    write(container, f"{RUN}/x", b"9876543210")
    assert ask(app, "GET", f"{PROXY}/{RUN}/x", headers=some).body == b"9876543210"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain.bin", 'attachment; filename="plain.bin"'),
        ('a"b;\\c', "attachment; filename=\"a_b;_c\"; filename*=UTF-8''a%22b%3B%5Cc"),
        ("日本", "attachment; filename=\"download\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC"),
    ],
)
def test_names_in_headers(app: Mlflow, container: Container, name: str, shown: str) -> None:
    write(container, f"{RUN}/{name}", b"1")
    answer = ask(app, "GET", f"{PROXY}/{RUN}/{quote(name, safe='')}")
    assert answer.headers["content-disposition"] == shown


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "%2e%2e/x",
        "%2E%2E%2Fx",
        "%252e%252e/x",
        "..%5Cx",
        "a/../../x",
        "/etc/passwd",
        "%2Fetc/passwd",
        "C:%5Cx",
        "file:/etc/passwd",
        "a%00b",
        "a%0Ab",
        "a%ffb",
        "a%23b",
        "n" * 256,
        "n/" * 1500 + "n",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(
    app: Mlflow, container: Container, home: Path, path: str
) -> None:
    assert container.store.count(ArtifactFile) == 0
    before = sorted(home.rglob("*"))
    for method in ("PUT", "GET", "DELETE"):
        answer = ask(app, method, f"{PROXY}/{path}", body=[b"x"] if method == "PUT" else [])
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    listed = ask(app, "GET", PROXY, f"path={path}")
    assert listed.status == 400
    assert sorted(home.rglob("*")) == before
    assert container.store.count(ArtifactFile) == 0


RAW = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?"), max_size=30
) | st.lists(
    st.sampled_from(
        ["..", "%2e", "%2E", "%25", "%2f", "/", "\\", "%5c", "a", "%00", "%ff", "%C3%A9", ".", "artifacts"]
    )
).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=RAW, method=st.sampled_from(["PUT", "GET", "DELETE", "POST", "HEAD"]))
def test_any_path_is_answered_without_harm(app: Mlflow, container: Container, path: str, method: str) -> None:
    answer = ask(app, method, f"{PROXY}/{path}", body=[b"x"])
    assert answer.status in (200, 400, 404)
    if method == "PUT" and answer.status == 200:
        assert ask(app, "GET", f"{PROXY}/{path}").body == b"x"
        assert ask(app, "DELETE", f"{PROXY}/{path}").status == 200
        assert ask(app, "GET", f"{PROXY}/{path}").status in (400, 404)


def test_nobody_can_remove_everything(app: Mlflow, container: Container) -> None:
    write(container, f"{RUN}/x", b"1")
    assert ask(app, "DELETE", f"{PROXY}/").status == 400
    assert ask(app, "DELETE", f"{PROXY}/.").status == 400
    assert ask(app, "DELETE", PROXY).json["error_code"] == "ENDPOINT_NOT_FOUND"
    assert container.store.count(ArtifactFile) == 1


def test_what_goes_past_the_server_is_answered_so_that_the_client_falls_back(app: Mlflow) -> None:
    for call in ("create", "complete", "abort"):
        answer = ask(app, "POST", f"/api/2.0/mlflow-artifacts/mpu/{call}/1/ab12/artifacts")
        assert answer.status == 501
        assert answer.json["message"].startswith(
            "Multipart upload is not supported for the current artifact repository"
        )
    answer = ask(app, "GET", f"/api/2.0/mlflow-artifacts/presigned/{RUN}/x")
    assert (answer.status, answer.json["error_code"]) == (501, "NOT_IMPLEMENTED")
    for call in ("upload", "download"):
        answer = ask(
            app,
            "POST",
            f"/api/2.0/mlflow/artifacts/presigned-{call}-url",
            body=[b'{"run_id": "ab12", "path": "x"}'],
            headers={"content-type": "application/json"},
        )
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_files_of_a_run_and_of_a_logged_model(app: Mlflow, container: Container) -> None:
    run = tracking.create_run(container, 0)
    model = create_logged_model(container, 0, run=run.id)
    write(container, f"0/{run.id}/artifacts/d/x.txt", b"run")
    write(container, f"0/models/{model.id}/artifacts/d/x.txt", b"model")
    listed = {"root_uri": f"mlflow-artifacts:/0/{run.id}/artifacts", "files": [{"path": "d", "is_dir": True}]}
    for name in ("run_id", "run_uuid"):
        assert ask(app, "GET", "/api/2.0/mlflow/artifacts/list", f"{name}={run.id}").json == listed
        assert ask(app, "GET", "/get-artifact", f"{name}={run.id}&path=d/x.txt").body == b"run"
    inner = ask(app, "GET", "/api/2.0/mlflow/artifacts/list", f"run_id={run.id}&path=d&page_token=t").json
    assert inner["files"] == [{"path": "d/x.txt", "is_dir": False, "file_size": 3}]
    one = f"/ajax-api/2.0/mlflow/logged-models/{model.id}/artifacts"
    assert ask(app, "GET", f"{one}/directories").json == {
        "root_uri": f"mlflow-artifacts:/0/models/{model.id}/artifacts",
        "files": [{"path": "d", "is_dir": True}],
    }
    inner = ask(app, "GET", f"{one}/directories", "artifact_directory_path=d").json
    assert inner["files"] == [{"path": "d/x.txt", "is_dir": False, "file_size": 5}]
    assert ask(app, "GET", f"{one}/files", "artifact_file_path=d/x.txt").body == b"model"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/get-artifact", "path=x", 400),
        ("/get-artifact", "run_id=none&path=x", 404),
        ("/get-artifact", "run_id={run}", 400),
        ("/get-artifact", "run_id={run}&path=none", 404),
        ("/get-artifact", "run_id={run}&path=../x", 400),
        ("/get-artifact", "run_id={run}&path=/x", 400),
        ("/get-artifact", "run_id={run}&path=%ff", 400),
        ("/get-artifact", "run_id={far}&path=x", 400),
        ("/model-versions/get-artifact", "version=1&path=x", 400),
        ("/model-versions/get-artifact", "name=none&version=1&path=x", 404),
        ("/model-versions/get-artifact", "name=none&version=one&path=x", 400),
        ("/api/2.0/mlflow/artifacts/list", "", 400),
        ("/api/2.0/mlflow/artifacts/list", "run_id=none", 404),
        ("/api/2.0/mlflow/artifacts/list", "run_id={run}&path=..", 400),
        ("/api/2.0/mlflow/artifacts/list", "run_id={run}&path=/etc", 400),
        ("/api/2.0/mlflow/artifacts/list", "run_id={far}", 400),
        ("/api/2.0/mlflow/logged-models/m-none/artifacts/directories", "", 404),
        ("/api/2.0/mlflow/logged-models/m-none/artifacts/files", "artifact_file_path=x", 404),
        ("//model-versions/get-artifact", "name=none&version=1&path=../x", 400),
        ("/model-versions/get-artifact", f"name=none&version={'9' * 5000}&path=x", 400),
    ],
)
def test_what_cannot_be_is_told(
    app: Mlflow, container: Container, path: str, query: str, status: int
) -> None:
    run = tracking.create_run(container, 0).id
    known = tracking.experiment_by_name(container, "far")
    far = known or tracking.create_experiment(container, "far", artifacts="s3://bucket/far")
    answer = ask(app, "GET", path, query.format(run=run, far=tracking.create_run(container, far.id).id))
    assert answer.status == status
    assert answer.json["message"]


def test_small_files_from_pages(app: Mlflow, container: Container) -> None:
    run = tracking.create_run(container, 0).id
    at = "/ajax-api/2.0/mlflow/upload-artifact"
    assert ask(app, "POST", at, f"run_uuid={run}&path=d/x.txt", body=[b"up"]).status == 200
    assert ask(app, "GET", "/get-artifact", f"run_id={run}&path=d/x.txt").body == b"up"
    most = [b"x" * (1 << 20)] * 10
    assert ask(app, "POST", at, f"run_uuid={run}&path=most", body=most).status == 200
    for query, body, message in [
        (f"run_uuid={run}&path=more", [*most, b"x"], "Artifact size is too large. Max size is 10MB."),
        (f"run_uuid={run}&path=none", [], "Request must specify data."),
        (f"run_uuid={run}", [b"x"], "Request must specify path."),
        ("path=x", [b"x"], "Request must specify run_uuid."),
        (f"run_uuid={run}&path=../x", [b"x"], "Invalid path"),
        ("run_uuid=none&path=x", [b"x"], "Run with id=none not found"),
    ]:
        answer = ask(app, "POST", at, query, body=body)
        assert answer.status in (400, 404)
        assert answer.json["message"].startswith(message)
    assert [entry.name for entry in listing(container, f"0/{run}/artifacts")] == ["d", "most"]
