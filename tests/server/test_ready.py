"""`homeostat up` says "Ready" once what is deployed answers, and says so where that takes long."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import httpx

from homeostat.adapters.clock import ManualClock, SystemClock
from homeostat.app.container import Container
from homeostat.app.running import noted
from homeostat.app.settings import Settings
from homeostat.server.supervisor import Supervisor
from tests.app import churning
from tests.server.ups import Up

ASKED = {"id": 1, "plan": "a", "usage": 0.5}


def test_what_is_deployed_answers_as_soon_as_it_is_ready(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Container(Settings(home=home)) as container:
        churning.declare(container, tmp_path / "project")
        # A model server imports the project to load the model, and is behind the control process by as much.
        project = tmp_path / "project" / "project.py"
        project.write_text("import time\ntime.sleep(2)\n" + project.read_text())
        churning.apply(container, churning.load_project(project.parent))
        churning.trained(container)
    up = Up(home).ready()
    try:
        answer = httpx.post(f"{up.note.predictions}/predict/churn", json=ASKED, timeout=60)
        assert answer.status_code == 200, answer.text
    finally:
        up.stop()


def test_what_runs_goes_on_where_that_cannot_be_written_down_and_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(Settings(home=tmp_path), SystemClock(), told.append)
    (tmp_path / "run").touch()  # as on a full disk, the note cannot be written
    supervisor.changed()
    supervisor.turned()
    assert len(told) == 1
    assert told[0].startswith("homeostat down and others will not find what runs here")
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    supervisor.turned()
    found = noted(tmp_path)
    assert found is not None
    assert found.supervisor.pid == os.getpid()


def test_model_servers_that_take_long_are_told_of_once(tmp_path: Path) -> None:
    told: list[str] = []
    clock = ManualClock(datetime(2013, 1, 1, tzinfo=UTC))
    supervisor = Supervisor(Settings(home=tmp_path), clock, told.append)
    supervisor.told_ready(1)
    for _ in range(3):
        clock.sleep(6)
        supervisor.turned()
    assert len(told) == 1
    assert told[0].startswith("Control answers at http://127.0.0.1:5000, but no model server answers yet")
    assert "homeostat status says more" in told[0]
    supervisor.told_serving(whole=False)
    supervisor.told_serving(whole=False)  # another one, or one that was begun anew
    assert len(told) == 2
    assert told[1].startswith("A model server cannot load all that is deployed")
    supervisor.told_serving(whole=True)
    supervisor.told_serving(whole=True)  # another one, or the first again
    clock.sleep(60)
    supervisor.turned()
    assert told[2:] == [
        f"Ready at http://127.0.0.1:5000, predictions at http://127.0.0.1:5001; home {tmp_path}"
    ]
    supervisor.told_ready(2)
    assert told[3:] == ["control is ready again"]
