"""What the executor of local processes promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.adapters.executors import LocalExecutor
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.ports.executor import JobState
from tests.server.ups import eventually

# A job that does what its arguments say.
JOB = """
import os, signal, subprocess, sys, time
what, *rest = sys.argv[1:]
if what == "say":
    print(*rest, os.environ["FROM_SETTINGS"])
elif what == "who":
    print(os.getpid(), "a_library" in sys.modules)
elif what == "fail":
    raise SystemExit("it went wrong")
elif what == "wait":
    if rest and rest[0] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "60"])
    print(os.getpid(), child.pid, flush=True)
    time.sleep(60)
"""

PARENT = """
import sys, time
from pathlib import Path
from homeostat.adapters.executors import LocalExecutor
executor = LocalExecutor({}, logs=Path(sys.argv[1]), monotonic=time.monotonic, module="a_job")
executor.submit("orphan", ["wait"])
print("started", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _job_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_job.py").write_text(JOB)
    (tmp_path / "a_library.py").write_text("import os; print(os.getpid(), file=open('imported', 'a'))")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(
        {"FROM_SETTINGS": "set"},
        logs=tmp_path / "logs",
        monotonic=time.monotonic,
        module="a_job",
        grace=0.5,
    )
    yield executor
    executor.close()


@pytest.fixture
def ready(tmp_path: Path) -> Iterator[tuple[LocalExecutor, list[float]]]:
    """One that keeps a process for ten of the seconds that the list counts, ready for the next job."""
    seconds = [0.0]
    executor = LocalExecutor(
        {},
        logs=tmp_path / "logs",
        monotonic=lambda: seconds[0],
        module="a_job",
        libraries=["a_library"],
        kept=10,
    )
    yield executor, seconds
    executor.close()


def ended(executor: LocalExecutor) -> dict[str, JobState]:
    told: dict[str, JobState] = {}

    def look() -> bool:
        states = executor.states()
        told.update({name: state for name, state in states.items() if state != "running"})
        return "running" not in states.values()

    eventually(look)
    return told


def processes(log: Path) -> list[int]:
    return eventually(lambda: [int(word) for word in log.read_text().split()] if log.exists() else [])


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its parent to take note is dead."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_job_runs_with_arguments_environment_and_log(executor: LocalExecutor) -> None:
    executor.submit("one", ["say", "hello world", "--x=1"])
    assert executor.states() == {"one": "running"}
    assert ended(executor) == {"one": "succeeded"}
    assert executor.log_of("one").read_text() == "hello world --x=1 set\n"


def test_ended_jobs_are_told_once(executor: LocalExecutor) -> None:
    executor.submit("good", ["say"])
    executor.submit("bad", ["fail"])
    assert ended(executor) == {"good": "succeeded", "bad": "failed"}
    assert executor.states() == {}
    assert "it went wrong" in executor.log_of("bad").read_text()


def test_a_name_can_be_used_again_once_its_job_ended(executor: LocalExecutor) -> None:
    executor.submit("again", ["say", "1"])
    with pytest.raises(Conflict, match="again"):
        executor.submit("again", ["say", "2"])
    ended(executor)
    executor.submit("again", ["say", "2"])
    ended(executor)
    assert executor.log_of("again").read_text() == "1 set\n2 set\n"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_name_that_cannot_name_a_log_is_refused(executor: LocalExecutor, name: str) -> None:
    with pytest.raises(BadRequest):
        executor.submit(name, ["say"])


@pytest.mark.parametrize("manner", ["polite", "deaf"])
def test_cancel_stops_a_job_and_its_children(executor: LocalExecutor, manner: str) -> None:
    executor.submit("long", ["wait", manner])
    running = processes(executor.log_of("long"))
    assert all(alive(pid) for pid in running)
    executor.cancel("long")
    assert ended(executor) == {"long": "failed"}
    eventually(lambda: not any(alive(pid) for pid in running))


def test_cancel_of_none_is_no_error(executor: LocalExecutor) -> None:
    executor.cancel("never")
    executor.submit("short", ["say"])
    ended(executor)
    executor.cancel("short")


def test_close_stops_every_job(executor: LocalExecutor) -> None:
    for name in ("a", "b"):
        executor.submit(name, ["wait"])
    running = [pid for name in ("a", "b") for pid in processes(executor.log_of(name))]
    executor.close()
    eventually(lambda: not any(alive(pid) for pid in running))
    assert executor.states() == {}


def test_jobs_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(logs)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        running = processes(logs / "orphan.log")
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in running))


def waiting(tmp_path: Path, count: int = 1) -> int:
    """The process that imported the library as the latest."""
    imported = tmp_path / "imported"
    return eventually(lambda: pids[-1] if len(pids := processes(imported)) >= count else 0)


def who(executor: LocalExecutor, name: str) -> list[str]:
    executor.submit(name, ["who"])
    assert ended(executor) == {name: "succeeded"}
    return executor.log_of(name).read_text().split()


def test_a_process_with_its_libraries_waits_for_the_job_after_one_that_ended(
    ready: tuple[LocalExecutor, list[float]], tmp_path: Path
) -> None:
    executor, _ = ready
    assert who(executor, "first")[1] == "False"
    spare = waiting(tmp_path)
    assert who(executor, "second") == [str(spare), "True"]
    assert waiting(tmp_path, 2) != spare


def test_one_that_waited_and_died_is_replaced(
    ready: tuple[LocalExecutor, list[float]], tmp_path: Path
) -> None:
    executor, _ = ready
    who(executor, "first")
    os.kill(waiting(tmp_path), signal.SIGKILL)
    eventually(lambda: not alive(waiting(tmp_path)))
    assert who(executor, "second")[1] == "False"


def test_one_that_cannot_be_started_keeps_no_end_from_being_told(
    ready: tuple[LocalExecutor, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, _ = ready
    executor.submit("one", ["who"])

    def fails(*asked: object) -> None:
        raise OSError("too many processes")

    with monkeypatch.context() as patch:
        patch.setattr(executor, "_start", fails)
        assert set(ended(executor)) == {"one"}
    assert executor.states() == {}


def test_one_waits_no_longer_than_it_may(ready: tuple[LocalExecutor, list[float]], tmp_path: Path) -> None:
    executor, seconds = ready
    who(executor, "first")
    spare = waiting(tmp_path)
    seconds[0] = 9.0
    executor.states()
    assert alive(spare)
    seconds[0] = 10.0
    executor.states()
    eventually(lambda: not alive(spare))


def test_one_that_waits_ends_with_the_executor(
    ready: tuple[LocalExecutor, list[float]], tmp_path: Path
) -> None:
    executor, _ = ready
    who(executor, "first")
    spare = waiting(tmp_path)
    executor.close()
    eventually(lambda: not alive(spare))


def test_a_library_that_is_missing_is_told_by_the_job(tmp_path: Path) -> None:
    (tmp_path / "a_job.py").write_text("import sys\nif sys.argv[1] == 'second': import not_there")
    executor = LocalExecutor(
        {}, logs=tmp_path / "logs", monotonic=time.monotonic, module="a_job", libraries=["not_there"]
    )
    try:
        for name in ("first", "second"):
            executor.submit(name, [name])
            ended(executor)
        assert "No module named 'not_there'" in executor.log_of("second").read_text()
    finally:
        executor.close()
