"""Workers as processes: they end without losing anything, and start again whatever happened before."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.engine.serving.fakes import ROW
from tests.server.workers import ROOT, Worker, eventually, write_deployments

pytestmark = pytest.mark.slow

FLIGHTS = {"flights": (1, [(1, 1.0, "champion")])}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    write_deployments(tmp_path, FLIGHTS)
    running = Worker(tmp_path).start()
    yield running
    running.stop(signal.SIGKILL)


def test_sigterm_answers_what_is_in_flight_writes_the_log_and_exits_0(worker: Worker) -> None:
    ids = {worker.ask(id=str(n)).json()["prediction_id"] for n in range(50)}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(httpx.post, f"{worker.url}/predict/flights", json=ROW | {"id": "slow"}, timeout=60)
        eventually(lambda: (worker.home / "slow").exists())  # the model is at it, and takes 0.3 s
        worker.process.send_signal(signal.SIGTERM)
        answer = slow.result()
    assert worker.stop() == 0
    assert answer.status_code == 200
    logged = set(worker.logged()["prediction_id"])
    assert logged == ids | {answer.json()["prediction_id"]}
    assert not worker.lease.exists()
    assert not worker.socket.exists()


def test_predictions_that_cannot_be_stored_at_the_end_are_told(worker: Worker) -> None:
    (worker.home / "broken").touch()
    worker.ask()
    assert worker.stop() == 1
    assert "1 predictions could not be stored" in (worker.home / "stderr").read_text()


@pytest.mark.parametrize("before", ["fast", "slow", ""])  # in the event loop, in a thread, and at once
def test_a_worker_whose_model_hangs_ends_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setenv("HANGS", "1")
    write_deployments(tmp_path, FLIGHTS)
    worker = Worker(tmp_path).start()
    try:
        for number in range(3 if before else 0):
            assert worker.ask(id=f"{before} {number}").status_code == 200
        with pytest.raises(httpx.TransportError):
            worker.ask(id="hang")
        assert worker.process.wait(30) == 1
        assert "scripted_worker.py" in (tmp_path / "stderr").read_text().partition("Timeout")[2]
    finally:
        worker.stop(signal.SIGKILL)


def test_a_rollback_takes_effect_while_another_deployment_loads(worker: Worker) -> None:
    loading = worker.home / "slow-3"
    loading.touch()
    champion = [(1, 1.0, "champion")]
    write_deployments(
        worker.home, {"flights": (2, [(2, 1.0, "champion")]), "trains": (1, [(3, 1.0, "champion")])}
    )
    eventually(lambda: worker.stats()["deployments"]["flights"]["generation"] == 2)
    write_deployments(worker.home, {"flights": (3, champion), "trains": (1, [(3, 1.0, "champion")])})
    eventually(lambda: worker.stats()["deployments"]["flights"]["generation"] == 3)  # it looks twice a second
    assert worker.ask("trains").status_code == 503
    loading.unlink()
    eventually(lambda: worker.ask("trains").status_code == 200)


def test_kill_9_leaves_nothing_in_the_way(worker: Worker) -> None:
    worker.ask()
    worker.process.kill()
    worker.process.wait()
    assert worker.socket.exists()
    again = Worker(worker.home, worker.port).start()
    assert again.sync()["generation"] == {"flights": 1}
    assert again.ask().status_code == 200
    assert again.stop() == 0


def test_workers_share_the_port(worker: Worker) -> None:
    other = Worker(worker.home, worker.port, "w2").start()
    pids = set()
    for _ in range(60):
        pids.add(httpx.get(f"{worker.url}/stats", timeout=60).json()["pid"])
    assert pids == {worker.process.pid, other.process.pid}
    assert other.stop() == 0
    for _ in range(20):
        assert httpx.post(f"{worker.url}/predict/flights", json=ROW, timeout=60).status_code == 200


def test_a_worker_that_starts_before_its_store_waits_for_it(tmp_path: Path) -> None:
    running = Worker(tmp_path).start()
    try:
        assert running.client.get("/ready").status_code == 503
        assert running.ask().status_code == 503
        assert running.private.post("/-/sync").status_code == 503
        write_deployments(tmp_path, FLIGHTS)
        eventually(lambda: running.client.get("/ready").status_code == 200)
        assert running.ask().status_code == 200
    finally:
        assert running.stop() == 0


def test_a_worker_whose_store_cannot_be_opened_answers_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "away"
    folder.touch()  # where the folder of the store belongs
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "homeostat.server.worker", "--worker", "w1"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "HOMEOSTAT_HOME": str(tmp_path / "home"),
            "HOMEOSTAT_STORE": f"sqlite:///{folder}/store.db",
            "HOMEOSTAT_SERVE_PORT": str(port),
        },
    )

    def status() -> int | None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=60).status_code
        except httpx.TransportError:
            return None

    try:
        eventually(lambda: status() == 503)
        folder.unlink()
        eventually(lambda: status() == 200)
        process.terminate()
        assert process.wait(100) == 0
    finally:
        process.kill()
        process.wait()


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    write_deployments(tmp_path, FLIGHTS)
    code = (
        "import sys, time; from pathlib import Path; from tests.server.workers import Worker;"
        f"w = Worker(Path({str(tmp_path)!r})).start(); print(w.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not _alive(pid))
    assert not (tmp_path / "lease-w1").exists()


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("worker_id", ["../w1", "a/b"])
def test_a_worker_needs_a_name(worker_id: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "homeostat.server.worker", "--worker", worker_id],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"cannot name a worker" in done.stderr


def test_a_port_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:  # without SO_REUSEPORT, so it is shared with nobody
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "homeostat.server.worker", "--worker", "w1"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "src"),
                "HOMEOSTAT_HOME": str(tmp_path),
                "HOMEOSTAT_SERVE_PORT": port,
            },
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}".encode() in done.stderr
    assert b"HOMEOSTAT_SERVE_PORT" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_worker_says_whether_it_answers_for_all_that_is_deployed_and_once_it_does(tmp_path: Path) -> None:
    def said() -> list[str]:
        lines = (tmp_path / "stderr").read_text().splitlines()
        return [line for line in lines if line in ("lacks", "whole")]

    write_deployments(tmp_path, {"flights": (1, [(9, 1.0, "champion")])})  # which cannot be loaded
    worker = Worker(tmp_path).start()
    try:
        assert said() == ["lacks"]
        worker.deploy(2, (1, 1.0, "champion"))
        eventually(lambda: said() == ["lacks", "whole"])
        assert worker.ask().status_code == 200
        worker.deploy(3, (9, 1.0, "champion"))
        eventually(lambda: worker.stats()["errors"])
    finally:
        worker.stop()
    assert said() == ["lacks", "whole"]
