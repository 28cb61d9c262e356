"""A newcomer's way: init, plan, apply, train, and asking why, all without a server."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.invoking import Shell
from tests.server.ups import environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project that was applied and trained once."""
    folder = tmp_path_factory.mktemp("first") / "churn"
    settings = environment(folder / ".homeostat")

    def homeostat(*arguments: str, cwd: Path) -> None:
        command = [sys.executable, "-m", "homeostat", *arguments]
        done = subprocess.run(command, env=settings, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    homeostat("init", "churn", cwd=folder.parent)
    assert len((folder / "project.py").read_text().splitlines()) < 40
    homeostat("apply", cwd=folder)
    homeostat("train", "--reason", "the first", "--param", "trees=20", cwd=folder)
    return folder


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Path:
    """The same, for one test to change."""
    return shutil.copytree(once, tmp_path / "trained" / "churn")


def test_plan_before_and_after_apply(homeostat: Shell) -> None:
    homeostat("init", "churn")
    homeostat.cd(homeostat.folder / "churn")
    planned = homeostat("plan", "--json").json
    assert [(change["ref"], change["action"]) for change in planned] == [
        ("dataset/customers", "create"),
        ("model/churned", "create"),
    ]
    said = homeostat("plan").out
    assert "+ dataset/customers" in said
    assert "2 to create" in said
    assert "Applied." in homeostat("apply").out
    assert "Nothing to change." in homeostat("apply").out
    assert {change["action"] for change in homeostat("plan", "--json").json} == {"keep"}
    project = homeostat.folder / "project.py"
    project.write_text(
        project.read_text().replace('beats("baseline", "log_loss")', 'beats("baseline", "auc")')
    )
    assert "~ model/churned  (gates)" in homeostat("plan").out


def test_what_training_left(homeostat: Shell, trained: Path) -> None:
    homeostat.cd(trained)
    status = homeostat("status", "--json").json
    assert status["deployments"][0]["arms"] == [{"version": 1, "weight": 1.0, "role": "champion"}]
    assert status["runs"][0]["reason"] == "the first"
    said = homeostat("status").out
    assert "@1 champion 100%" in said
    assert "No server runs here" in said
    assert "run/" in homeostat("lineage", "model/churned@champion").out
    tree = homeostat("lineage", "dataset/customers@1", "--direction", "down", "--json").json
    assert any(node["ref"].startswith("run/") for node in tree["down"])
    kinds = [event["kind"] for event in homeostat("ledger", "ls", "--json", "-n", "100").json]
    assert "run.succeeded" in kinds
    assert "model.version-created" in homeostat("ledger", "ls", "--kind", "model.version-created").out


def test_home_may_stand_before_or_after_the_command(homeostat: Shell, trained: Path) -> None:
    home = trained / ".homeostat"
    before = homeostat("--home", home, "status", "--json").json
    after = homeostat("status", "--json", "--home", home).json
    assert before["deployments"] == after["deployments"] != []


def test_training_again_with_another_result(homeostat: Shell, trained: Path) -> None:
    homeostat.cd(trained)
    gates = homeostat(
        "train", "churned", "--param", "trees=100", "--tag", "by=me", "--as", "ann", "--json"
    ).json
    assert gates["run"]["actor"] == "ann"
    assert gates["version"]["tags"] == {"by": "me"}
    assert gates["gates"][0]["passed"]
    said = homeostat("promote", "churned@1", "--reason", "the first was better", "--as", "bob").out
    assert said == "model/churned@1 is the champion of deployment/churned.\n"
    assert "serves @2" in homeostat("rollback", "churned", "--as", "cid").out
    moved = homeostat("ledger", "ls", "--kind", "deployment.changed", "-n", "2", "--json").json
    assert [event["actor"] for event in moved] == ["cid", "bob"]


def test_rejected_is_status_3(homeostat: Shell, trained: Path) -> None:
    homeostat.cd(trained)
    (trained / "bad.py").write_text(
        "from sklearn.dummy import DummyClassifier\n\n"
        "def train(data):\n    return DummyClassifier(strategy='constant', constant=0).fit(data.X, data.y)\n"
    )
    homeostat("apply")
    said = homeostat("train", "--using", "bad:train", status=3).out
    assert "It is rejected" in said


def test_a_training_function_that_fails_shows_its_own_lines(homeostat: Shell, trained: Path) -> None:
    homeostat.cd(trained)
    (trained / "worse.py").write_text("def train(data):\n    return 1 / len(data.X[:0])\n")
    homeostat("apply")
    said = homeostat("train", "--using", "worse:train", status=1).err
    assert "worse.py" in said
    assert "ZeroDivisionError" in said
    assert "homeostat/app" not in said
    assert homeostat("status", "--json").json["runs"][0]["state"] == "failed"


def test_why_says_it_in_a_sentence(homeostat: Shell, trained: Path) -> None:
    homeostat.cd(trained)
    said = homeostat("why", "model/churned@champion").out
    a_time = r"( on [-\d]+ [:\d]+)"
    assert re.match(
        rf"model/churned@1 was trained{a_time}: the first; accepted{a_time}?: passed 1 gate; "
        rf"made champion{a_time}?: the first version to pass its gates\.\n",
        said,
    )
    told = homeostat("why", "model/churned@1", "--json").json
    assert [fact["what"] for fact in told["facts"]] == ["trained", "accepted", "made champion"]
    assert said.startswith(told["sentence"])
    run = told["facts"][0]["subject"]
    assert re.match(
        rf"{run} began{a_time}: the first; succeeded{a_time}?; made model/churned@1, now champion{a_time}?: the first",
        homeostat("why", run).out,
    )
    model = homeostat("why", "churned").out
    assert re.match(
        r"model/churned was trained last on .*: the first; it has no rules to be trained again by\.$", model
    )
    served = homeostat("why", "deployment/churned").out
    assert re.match(r"deployment/churned serves @1 as champion \(100%\) since .*: the first version", served)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "other"], "model/other"),
        (["train", "--param", "trees"], "NAME=VALUE"),
        (["train", "--param", "leaves=3"], "takes no parameter 'leaves'"),
        (["promote", "churned"], "homeostat promote churned@3"),
        (["promote", "churned@77"], "model/churned@77"),
        (["rollback", "other"], "deployment/other"),
        (["why", "other"], "Declared models are: churned"),
        (["why", "churned@77"], "homeostat models show churned"),
        (["why", "run/01J"], "run/01J"),
        (["why", "dataset/rows"], "nothing is kept of why dataset/rows"),
        (["lineage", "churned"], "kind/name"),
        (["lineage", "prediction/P1"], "prediction/P1"),
        (["status", "--server", "http://127.0.0.1:9"], "homeostat up"),
        (["status", "--store", "mysql://x"], "sqlite:///file"),
    ],
)
def test_what_cannot_be_done_says_what_can(
    homeostat: Shell, trained: Path, arguments: list[str], told: str
) -> None:
    homeostat.cd(trained)
    outcome = homeostat(*arguments, status=1)
    assert outcome.out == ""
    assert "error: " in outcome.err
    assert told in outcome.err
    assert "  do: " in outcome.err


def test_verify_names_the_first_broken_event(homeostat: Shell, trained: Path) -> None:
    homeostat.cd(trained)
    assert "The ledger holds" in homeostat("ledger", "verify").out
    with sqlite3.connect(".homeostat/homeostat.db") as database:
        table = "ledger_event"
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = next(name for name in tables if "event" in name)
        database.execute(f"UPDATE {table} SET actor = 'nobody' WHERE seq = 4")
    database.close()
    said = homeostat("ledger", "verify", status=1).out
    assert "broken at event 4" in said
    assert homeostat("ledger", "verify", "--json", status=1).json["broken_at"] == 4


def test_nothing_applied_yet(homeostat: Shell) -> None:
    assert "homeostat init" in homeostat("status").out
    assert "Run homeostat apply" in homeostat("train", status=1).err
    assert "Nothing runs" in homeostat("down").out
    assert "homeostat init" in homeostat("plan", status=1).err
    assert homeostat("ledger", "verify").out.startswith("The ledger holds: 0 events")


def test_doctor(homeostat: Shell) -> None:
    checks = homeostat("doctor", "--port", "0", "--serve-port", "0", "--json").json
    assert all(check["ok"] for check in checks)
    said = homeostat("doctor", "--blobs", "/proc/nowhere", "--port", "0", "--serve-port", "0", status=1).out
    assert "failed" in said
