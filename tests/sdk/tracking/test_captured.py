"""What a run notes without being asked, and what it never does."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from homeostat.app import artifacts
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.app.tracking import run_data
from homeostat.domain.records import Run
from homeostat.domain.tracking import ArtifactFile
from homeostat.sdk.tracking.console import Console, Tail
from homeostat.sdk.tracking.sampler import Gpus, Sampler
from tests.server.ups import environment

SECRET = "hunter2-correct-horse"
PROGRAM = """
import os, sys, time
from pathlib import Path
import homeostat as hs
import numpy as np
np.random.seed(7)
with hs.run("captured", sample=0.2, group="g", notes="*why*") as outer:
    print("connecting with password=%s" % sys.argv[2])
    print("done", file=sys.stderr)
    spool = Path(os.environ["HOMEOSTAT_HOME"], "spool")
    while not any(b"system/process_" in segment.read_bytes() for segment in spool.glob("*/*/*.wal")):
        time.sleep(0.05)
    with hs.run("captured", name="inner") as inner:
        hs.log(loss=1.0)
"""


def synced(home: Path, folder: Path, *arguments: str, **variables: str) -> None:
    """Run the program without a server, then send what it left."""
    environ = environment(home, HOMEOSTAT_SERVER="http://127.0.0.1:9") | variables
    for command in ([sys.executable, "train.py", *arguments], [sys.executable, "-m", "homeostat", "sync"]):
        if "sync" in command:
            environ = environment(home)
        done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert not any((home / "spool").glob("*/*/files/*"))


def read(container: Container, run: str) -> dict[str, str]:
    """The captured files of a run, by name."""
    found = container.store.find(ArtifactFile)
    return {
        file.path.rpartition("/")[2]: b"".join(artifacts.content(container, file)).decode()
        for file in found
        if run in file.root
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a program that was changed since its commit."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("print('before')\n")
    (folder / ".env").write_text("PASSWORD=none\n")

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)

    git("init", "-q", "-b", "trunk")
    git("add", ".")
    git("commit", "-qm", "first")
    git("remote", "add", "origin", f"https://ada:{SECRET}@example.org/x.git")
    (folder / "train.py").write_text(PROGRAM + f"\napi_key = '{SECRET}'\n")
    (folder / ".env").write_text(f"PASSWORD={SECRET}\nMODE=fast\n")
    (folder / "new.txt").write_text("new")
    return folder


def test_code_command_environment_and_output_without_secrets(project: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    synced(
        home, project, "--token", SECRET, OMP_NUM_THREADS="1", DB_PASSWORD="swordfish-7", MINE="swordfish-7"
    )
    with Container(Settings(home=home)) as container:
        runs = {run.name: run for run in container.store.find(Run)}
        inner = runs.pop("inner")
        outer = next(iter(runs.values()))
        data = run_data(container, [outer.id, inner.id])
        files, inner_files = read(container, outer.id), read(container, inner.id)
    tags = data[outer.id].tags
    head = subprocess.run(
        ["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert tags["mlflow.source.git.commit"] == head.stdout.strip()
    assert tags["mlflow.source.git.branch"] == "trunk"
    assert tags["mlflow.source.git.repoURL"] == "https://ada:***@example.org/x.git"
    assert (tags["homeostat.git.dirty"], tags["mlflow.source.name"]) == ("true", "train.py")
    assert tags["homeostat.command"].endswith("train.py --token ***")
    assert (tags["homeostat.seed.numpy"], tags["homeostat.group"], tags["mlflow.note.content"]) == (
        "7",
        "g",
        "*why*",
    )
    assert files.keys() == {"surroundings.json", "requirements.txt", "uncommitted.diff", "console.txt"}
    assert "numpy==" in files["requirements.txt"]
    assert "-print('before')" in files["uncommitted.diff"]
    assert "MODE" not in files["uncommitted.diff"]
    assert files["console.txt"].startswith("connecting with password=***\ndone\n")
    assert '"OMP_NUM_THREADS": "1"' in files["surroundings.json"]
    for text in (*files.values(), *tags.values()):
        assert SECRET not in text
        assert "swordfish" not in text
    sampled = {metric.key: metric.step for metric in data[outer.id].metrics}
    assert sampled["system/cpu_utilization_percentage"] >= 0
    assert sampled["system/process_memory_megabytes"] >= 0
    assert data[inner.id].tags["mlflow.parentRunId"] == outer.id
    assert data[inner.id].tags["mlflow.source.git.commit"] == tags["mlflow.source.git.commit"]
    assert inner_files == {}


def test_a_git_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from homeostat.engine.tracking import code
    from homeostat.engine.tracking.secrets import Redactor

    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexec sleep 900\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(code, "_PATIENCE", 0.2)
    assert code.code_of(tmp_path, Redactor({})) is None


def test_a_run_ends_though_what_is_beside_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from homeostat.engine.tracking.entries import Began
    from homeostat.sdk.tracking import session
    from homeostat.sdk.tracking.remote import Remote

    class Stuck:
        def __init__(self) -> None:
            self.free, self.over = Event(), Event()

        def first(self, folder: Path) -> None:
            self.free.wait()

        def each(self, folder: Path) -> None:
            pass

        def close(self) -> None:
            self.over.set()

    stuck = Stuck()
    monkeypatch.setattr(session, "_ASIDE", 0.1)
    made = session.Session(tmp_path, "ab12", lambda: Remote("http://127.0.0.1:9"), cast("Any", stuck))
    made.start(Began(experiment="e", at=1))
    assert made.finish(None, 0.1) is False
    stuck.free.set()
    assert stuck.over.wait(60)


def test_a_disk_that_fails_for_a_moment_does_not_end_the_sending(tmp_path: Path) -> None:
    from homeostat.engine.tracking.entries import Began
    from homeostat.engine.tracking.frames import scan
    from homeostat.sdk.tracking import session
    from homeostat.sdk.tracking.sending import Taken

    class Taking:
        def __init__(self) -> None:
            self.took, self.failed = 0, Event()

        def position(self, run: str, stream: str) -> int:
            if not self.failed.is_set():
                self.failed.set()
                raise OSError(errno.EIO, os.strerror(errno.EIO))  # as reading the spool may
            return self.took

        def take(self, run: str, stream: str, after: int, frames: bytes) -> Taken:
            self.took = scan(stream, frames).frames[-1].seq
            return Taken(self.took)

        def put(self, run: str, path: str, content: bytes | Path) -> None:
            """It keeps no files."""

        def close(self) -> None:
            """It holds nothing."""

    taking = Taking()
    made = session.Session(tmp_path, "ab12", lambda: taking)
    made.start(Began(experiment="e", at=1))
    assert taking.failed.wait(60)
    assert made.finish(None, 60.0) is True
    assert taking.took == 1


def test_a_large_difference_is_cut(project: Path, tmp_path: Path) -> None:
    from homeostat.engine.tracking.code import LARGEST, code_of
    from homeostat.engine.tracking.secrets import Redactor

    (project / "train.py").write_text("x = 1\n" * 400_000)
    found = code_of(project, Redactor({}))
    assert found is not None
    assert found.difference.endswith(f"(cut at {LARGEST:,} bytes)\n")
    assert len(found.difference) < LARGEST + 100
    assert found.untracked == 1
    assert code_of(tmp_path, Redactor({})) is None


def test_the_tail_of_what_is_printed() -> None:
    tail = Tail(20)
    tail.write("0%\r50%\r100%\nnext\r\n")
    assert tail.text() == "100%\nnext\n"
    tail.write("a" * 50)
    assert tail.text() == "(…)\n" + "a" * 20
    assert not tail.changed


def test_the_console_is_followed_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out, error = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    console = Console()
    sys.stdout.write("one\n")
    sys.stderr.writelines(["two\n", "three\n"])
    assert not sys.stdout.isatty()
    console.close()
    sys.stdout.write("four\n")
    assert console.tail.text() == "one\ntwo\nthree\n"
    assert (out.getvalue(), error.getvalue()) == ("one\nfour\n", "two\nthree\n")


def test_what_is_printed_is_followed_by_several_who_end_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    first, second = Console(), Console()
    sys.stdout.write("one\n")
    first.close()
    sys.stdout.write("two\n")
    second.close()
    assert sys.stdout is out
    assert [console.tail.text() for console in (first, second)] == ["one\n", "one\ntwo\n"]
    assert out.getvalue() == "one\ntwo\n"


def test_samples_of_this_machine() -> None:
    values = Sampler().sample()
    assert values["system/system_memory_usage_megabytes"] > 0
    assert 0 <= values["system/disk_usage_percentage"] <= 100
    assert values["system/network_receive_megabytes"] >= 0


class TwoGpus:
    """Answers as NVML would on a machine with two GPUs, the second of which tells nothing of its power."""

    @staticmethod
    def _at(pointer: Any) -> Any:
        return pointer._obj

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        self._at(count).value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, handle: Any) -> int:
        self._at(handle).value = number + 1
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: ctypes.c_void_p, used: Any) -> int:
        self._at(used).gpu = 10 * (handle.value or 0)
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, memory: Any) -> int:
        self._at(memory).total, self._at(memory).used = 8_000_000, 2_000_000
        return 0

    def nvmlDeviceGetPowerUsage(self, handle: ctypes.c_void_p, power: Any) -> int:
        self._at(power).value = 75_500
        return 0 if handle.value == 1 else 3


def test_gpus() -> None:
    assert Gpus(TwoGpus()).sample() == {
        "gpu_0_utilization_percentage": 10,
        "gpu_0_memory_usage_megabytes": 2.0,
        "gpu_0_memory_usage_percentage": 25.0,
        "gpu_0_power_usage_watts": 75.5,
        "gpu_1_utilization_percentage": 20,
        "gpu_1_memory_usage_megabytes": 2.0,
        "gpu_1_memory_usage_percentage": 25.0,
    }
