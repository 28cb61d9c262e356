"""Two days of the demo, for real: servers, requests, training, report, and an end that leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.flights.demo import main
from homeostat.app.container import Container
from homeostat.app.running import noted
from homeostat.app.settings import Settings
from homeostat.domain.errors import Conflict

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "examples.flights.demo"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def environment() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HOMEOSTAT_")}
    return inherited | {"PYTHONPATH": os.pathsep.join(str(path) for path in (ROOT, ROOT / "src"))}


def test_two_days_are_replayed_compared_and_reported(tmp_path: Path) -> None:
    home, report = tmp_path / "home", tmp_path / "told.json"
    command = [*DEMO, "--home", str(home), "--until", "2013-04-03", "--report", str(report)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(report.read_text())
    assert told["requests"]["failed"] == 0
    # 931 flights of 1 April and 938 of 2 April were planned; nearly all landed.
    assert told["requests"]["answered"] > 1800
    assert told["requests"]["labelled"] > 0.95 * told["requests"]["answered"]
    # Only the first model has answered, so what it would have answered is what was answered.
    assert told["loop"]["log_loss"] == pytest.approx(told["frozen"]["log_loss"], rel=1e-9)
    assert told["loop"]["auc"] > 0.65
    assert [one["outcome"] for one in told["trainings"]] == ["promoted"]
    assert told["ledger"]["ok"]
    assert told["trace"]["model"] == "model/flight-delay@1"
    assert {view["from"].partition("@")[0] for view in told["trace"]["features"]} >= {
        "dataset/landings",
        "dataset/weather",
    }
    assert (home / "report.html").stat().st_size > 10_000
    assert noted(home) is None
    assert "champion" in done.stdout


def test_ctrl_c_stops_what_it_started_and_leaves_the_store_whole(tmp_path: Path) -> None:
    home = tmp_path / "home"
    demo = subprocess.Popen(
        [*DEMO, "--home", str(home), "--until", "2013-06-01"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "champion" in line:
            break
    time.sleep(1)
    up = noted(home)
    assert up is not None
    demo.send_signal(signal.SIGINT)
    out, _ = demo.communicate(timeout=280)
    assert demo.returncode == 130
    assert "Interrupted" in out
    assert all(process.find() is None for process in (up.supervisor, *up.children))
    with Container(Settings(home=home, clock="simulated")) as container:
        verdict = container.ledger.verify()
    assert verdict.ok
    assert verdict.checked > 10


def test_a_folder_that_no_demo_made_is_not_wiped(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(Conflict, match="no home of a demo"):
        main(["--home", str(tmp_path)])
    assert (tmp_path / "precious.txt").read_text() == "keep me"
