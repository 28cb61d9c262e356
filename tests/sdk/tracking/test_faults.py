"""Whatever dies, whenever: each point that reached the spool arrives, and arrives once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.app.artifacts import content
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.app.tracking import history, run, run_data
from homeostat.domain.records import Run
from homeostat.domain.tracking import ArtifactFile, Metric, MetricBlock
from tests.server.ups import Up, environment, eventually

pytestmark = pytest.mark.slow

LOGGING = Path(__file__).with_name("logging_process.py")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def up(home: Path) -> Iterator[Up]:
    running = Up(home).ready()
    yield running
    running.stop()


class Logging:
    """A logging process."""

    def __init__(self, home: Path, server: str, count: int, pause: float, run: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(LOGGING), str(count), str(pause), *([run] if run else [])],
            env=environment(home, HOMEOSTAT_SERVER=server),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.step = -1
        self.run = self.line()

    def line(self) -> str:
        """What it says next; the last step that it said it had logged is kept."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        self.step = int(line) if line.isdigit() else self.step
        return line

    def until(self, said: str) -> None:
        """Wait until it has said something."""
        while (line := self.line()) != said:
            assert line, self.process.communicate()[1]

    def kill(self) -> int:
        """Kill it; gives the last step that it said it had logged."""
        self.process.kill()
        while self.line():
            pass
        self.process.communicate()
        return self.step

    def end(self) -> str:
        """Let it end; gives what it complained about."""
        _, errors = self.process.communicate("\n", timeout=280)
        assert self.process.returncode == 0, errors
        return errors


def sync(home: Path, server: str = "", folder: Path | None = None) -> subprocess.Popen[str]:
    settings = {"HOMEOSTAT_SERVER": server} if server else {}
    return subprocess.Popen(
        [sys.executable, "-m", "homeostat", "sync", *([str(folder)] if folder else [])],
        env=environment(home, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def synced(home: Path, server: str = "", folder: Path | None = None) -> str:
    process = sync(home, server, folder)
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    return said


def arrived(home: Path, run_id: str) -> list[int]:
    """The steps in the store, each of which was counted once."""
    with Container(Settings(home=home)) as container:
        if container.store.get(Run, run_id) is None:
            return []
        while True:  # a server may be writing
            before = container.store.find(MetricBlock, ("run", "=", run_id))
            steps: list[int] = history(container, run_id, "loss").step.tolist()
            if container.store.find(MetricBlock, ("run", "=", run_id)) == before:
                break
        assert sum(block.count for block in before) == len(steps)
    return steps


def state(home: Path, run_id: str) -> tuple[str, str]:
    with Container(Settings(home=home)) as container:
        found = run(container, run_id)
        return found.state, found.error


def test_a_client_that_is_killed(home: Path) -> None:
    for number in range(3):
        logging = Logging(home, NOBODY, 1_000_000, 0.0005)
        logging.until("1000")  # longer than what is logged may wait for the disk
        time.sleep(0.05 * number)
        said = logging.kill()
        synced(home)
        steps = arrived(home, logging.run)
        assert steps == list(range(len(steps)))
        assert 0 < len(steps) <= said + 2  # what the last moments logged may be lost
        assert state(home, logging.run) == ("failed", "its process ended without a word")


def test_what_was_flushed_outlives_the_client(home: Path) -> None:
    logging = Logging(home, NOBODY, 5000, 0)
    logging.until("flushed")
    logging.process.kill()
    logging.process.communicate()
    synced(home)
    assert arrived(home, logging.run) == list(range(5000))


def test_a_server_that_is_killed_again_and_again(up: Up, home: Path) -> None:
    logging = Logging(home, up.note.server, 3000, 0.001)
    for _ in range(3):
        time.sleep(0.7)
        up.child("homeostat.server.control").kill()
    logging.until("flushed")
    eventually(lambda: len(arrived(home, logging.run)) == 3000)
    logging.end()
    assert arrived(home, logging.run) == list(range(3000))
    assert state(home, logging.run) == ("succeeded", "")


def test_no_server_for_the_whole_run_and_then_sync_twice(home: Path) -> None:
    logging = Logging(home, NOBODY, 2000, 0)
    assert "homeostat sync" in logging.end()
    with Container(Settings(home=home)) as container:
        assert container.store.count(Run) == 0
    assert "sent" in synced(home)
    assert "Nothing waits" in synced(home)
    assert arrived(home, logging.run) == list(range(2000))
    assert state(home, logging.run) == ("succeeded", "")
    with Container(Settings(home=home)) as container:
        assert run_data(container, [logging.run])[logging.run].params == {"count": "2000"}


def test_a_server_that_is_killed_while_many_sync(up: Up, home: Path, tmp_path: Path) -> None:
    """Two processes send one folder, two more a copy of it, where no lock holds them off; the server dies twice."""
    runs = [Logging(home, NOBODY, 20_000, 0) for _ in range(4)]
    for logging in runs:
        logging.until("flushed")
        logging.end()
    shutil.copytree(home / "spool", tmp_path / "copy")
    server = up.note.server
    for attempt in range(3):
        senders = [
            sync(home, server, folder) for folder in (None, None, tmp_path / "copy", tmp_path / "copy")
        ]
        if attempt < 2:
            time.sleep(0.6 + 0.3 * attempt)
            up.child("homeostat.server.control").kill()
        said = [sender.communicate(timeout=280)[0] for sender in senders]
    assert all(sender.returncode == 0 for sender in senders), said
    for logging in runs:
        assert arrived(home, logging.run) == list(range(20_000))
        assert state(home, logging.run) == ("succeeded", "")


def test_a_run_goes_on_in_another_process(up: Up, home: Path) -> None:
    first = Logging(home, NOBODY, 100, 0)
    first.until("flushed")
    first.process.kill()
    first.process.communicate()
    second = Logging(home, up.note.server, 150, 0, run=first.run)
    assert second.run == first.run
    second.until("flushed")
    second.end()
    assert state(home, first.run) == ("succeeded", "")
    synced(home)
    assert state(home, first.run) == ("succeeded", "")
    with Container(Settings(home=home)) as container:
        steps = history(container, first.run, "loss").step.tolist()
    assert len(steps) == 250
    assert set(steps) == set(range(150))


def test_two_processes_write_to_one_run_at_once(home: Path) -> None:
    first = Logging(home, NOBODY, 100, 0)
    second = Logging(home, NOBODY, 150, 0, run=first.run)
    for process in (first, second):
        process.until("flushed")
    second.end()
    first.kill()
    synced(home)
    steps = arrived(home, first.run)
    assert sorted(steps) == sorted([*range(100), *range(150)])
    # The second one began later, so it says how the run stands, whatever became of the first.
    assert state(home, first.run) == ("succeeded", "")


@pytest.mark.timeout(400)
def test_the_server_of_the_home_is_found_wherever_it_listens(home: Path) -> None:
    process = Logging(home, server="", count=100_000, pause=0.05)
    process.until("0")
    up = Up(home).ready()
    eventually(lambda: latest(home, process.run) > 0, within=100)
    up.stop()
    up.log.unlink()
    before = latest(home, process.run)
    up = Up(home).ready()  # on another port
    eventually(lambda: latest(home, process.run) > before, within=100)
    process.kill()
    up.stop()


def latest(home: Path, run_id: str) -> int:
    """The last step in the store, while it goes on; 0 when there is none."""
    with Container(Settings(home=home)) as container:
        found = container.store.get(Metric, run_id, "loss")
    return found.step if found else 0


FULL = """
import resource
import numpy as np
import homeostat as hs

_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
with hs.run("faults", capture=False) as run:
    hs.log(loss=0.0, step=0)
    assert run.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))  # no file grows beyond that, as on a full disk
    for step in range(1, 5000):
        hs.log(loss=step / 2, step=step)
    hs.log(noise=hs.Image(np.random.default_rng(0).random((300, 300))), step=5000)
    assert not run.flush(within=1.5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert run.flush(within=60)
print(run.id)
"""


def test_a_disk_that_is_full_for_a_while(home: Path) -> None:
    words = [sys.executable, "-c", FULL]
    done = subprocess.run(
        words, env=environment(home, HOMEOSTAT_SERVER=NOBODY), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "what is logged waits in memory and is tried again" in done.stderr
    run_id = done.stdout.strip()
    synced(home)
    assert arrived(home, run_id) == list(range(5000))
    assert state(home, run_id) == ("succeeded", "")
    with Container(Settings(home=home)) as container:
        files = {file.path.rpartition(".")[2]: file for file in container.store.find(ArtifactFile)}
        assert files["png"].size > 64 << 10
        assert b"".join(content(container, files["png"])).startswith(b"\x89PNG")


def test_a_run_that_is_being_written_is_left_to_its_process(home: Path) -> None:
    logging = Logging(home, NOBODY, 10, 0)
    logging.until("flushed")
    assert "busy" in synced(home)
    logging.end()
    assert "sent" in synced(home)
