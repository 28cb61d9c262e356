"""Policies over history: what each did, the same however often it was killed on the way."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from homeostat.adapters.tables import ArrowTables
from homeostat.app.apply import apply
from homeostat.app.backtest import job
from homeostat.app.backtest.detecting import Detecting
from homeostat.app.backtest.history import files_in
from homeostat.app.backtest.plan import Plan, read_plan
from homeostat.app.backtest.policies import DECLARED, Policy, beside, read_policy
from homeostat.app.backtest.replay import Replay, reached
from homeostat.app.backtest.results import Result, kept
from homeostat.app.backtest.running import prepare
from homeostat.app.changing import HELD_OUT
from homeostat.app.container import Container
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.reading import read
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, ContractBroken, DeclarationError, HomeostatError, NotFound
from homeostat.domain.records import ModelVersion, Run, Window
from homeostat.engine.control.changes import Losses
from tests.app.backtest.streaming import BEGIN, CHANGE, END, HOW_MUCH, NEVER, OFTEN, PROJECT, history, project

pytestmark = pytest.mark.slow

ALL = (
    Policy(name="never", text=NEVER, given=True),
    Policy(name="often", text=OFTEN, given=True),
    DECLARED,
    beside("DDM", "1d"),
    beside("oracle", "1d", (CHANGE + timedelta(days=3),)),
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return history(tmp_path_factory.mktemp("tables"))


def planned(home: Path, tables: Path, *policies: Policy, text: str = PROJECT, **more: Any) -> Path:
    declared = load_project(project(home / "answers", text))
    with Container(Settings(home=home / "home")) as container:
        return prepare(
            container, declared, policies, **({"start": BEGIN, "end": END, "data": files_in(tables)} | more)
        )


def replayed(folder: Path, number: int = 0) -> Result:
    assert job.main([str(folder), str(number)]) == 0
    plan = read_plan(folder)
    return kept(plan.home(folder, plan.policies[number]))


def table(result: Result) -> Any:
    """All of a result but what the processor took."""
    built = msgspec.to_builtins(msgspec.structs.replace(result, seconds=0.0))
    for one in built["trainings"]:
        one["seconds"] = 0.0
    return built


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tables: Path) -> dict[str, Result]:
    """Each policy, undisturbed."""
    folder = planned(tmp_path_factory.mktemp("whole"), tables, *ALL)
    return {policy.name: replayed(folder, number) for number, policy in enumerate(ALL)}


def test_a_loop_that_trains_again_beats_the_frozen_model(whole: dict[str, Result]) -> None:
    never, often, declared = (whole[name] for name in ("never", "often", "declared"))
    assert never.requests == often.requests == 50 * (END - BEGIN).days
    assert [made.outcome for made in never.trainings] == ["promoted"]
    assert not never.retrained
    assert len(often.retrained) == 4
    assert declared.metrics["log_loss"] < never.metrics["log_loss"]
    assert declared.pages > 0
    # The same first model, asked the same: the same answers until the first of them trains again.
    assert never.spans[0].metrics == often.spans[0].metrics
    assert sum(span.rows for span in never.spans) == never.labelled == never.requests - 49
    assert often.seconds == pytest.approx(sum(made.seconds for made in often.retrained))


def test_what_is_compared_with_trains_when_it_is_told_or_finds_it(whole: dict[str, Result]) -> None:
    (told,) = whole["oracle"].retrained
    assert told.at == CHANGE + timedelta(days=6)  # labels come a day late, and a hundred are needed
    assert "known that the world changed at 2026-01-16" in told.reason
    assert whole["DDM"].retrained[0].at > CHANGE
    assert "DDM" in whole["DDM"].retrained[0].reason


def test_what_a_detector_finds_waits_until_the_cooldown_is_over(
    tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detecting, "labelled", lambda self, labels, label: True)
    found = replayed(planned(tmp_path, tables, beside("ADWIN", "1d")))
    assert [made.at for made in found.retrained] == [BEGIN + timedelta(days=2 * turn) for turn in range(1, 7)]


def test_a_detector_that_asks_for_the_trainings_of_another_has_its_result(
    tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = Replay._ask, []

    def noted(self: Replay, at: datetime, now: datetime) -> Any:
        asked.append(self._policy.name)
        return ask(self, at, now)

    monkeypatch.setattr(Replay, "_ask", noted)
    both = [beside("ADWIN", "1d"), beside("DDM", "1d")]
    for late, replaying in ((0, {"ADWIN"}), (9, {"ADWIN", "DDM"})):  # how long the second finds nothing

        def finds(self: Detecting, labels: pl.DataFrame, label: str, late: int = late) -> bool:
            vars(self)["looks"] = looks = vars(self).get("looks", 0) + 1
            return self.name == "ADWIN" or looks > late

        with monkeypatch.context() as patched:
            patched.setattr(Detecting, "labelled", finds)
            alone = replayed(planned(tmp_path / f"alone{late}", tables, both[1]))
            asked.clear()
            folder = planned(tmp_path / f"both{late}", tables, *both)
            first, second = replayed(folder), replayed(folder, 1)
        assert table(second) == table(alone)
        assert set(asked) == replaying
        assert len(first.retrained) == 6
        assert {made.reason for made in second.retrained} == {"DDM detected a change in the errors"}


def test_what_a_detector_saw_is_recalled_from_the_log(
    tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where requests were repeated, and where the champion answered for a canary that could not."""
    asked = pl.read_parquet(tables / "asked.parquet")
    later = pl.col("at") >= BEGIN + timedelta(days=3)  # the canary begins a day before
    asked = asked.with_columns(pl.when(later & (pl.col("id") % 10 == 0)).then(None).otherwise("z").alias("z"))
    repeated = asked.filter(later, pl.col("id") % 3 == 0)
    (tmp_path / "rows").mkdir()
    pl.concat([asked, repeated]).write_parquet(tmp_path / "rows" / "asked.parquet")
    pl.read_parquet(tables / "answered.parquet").write_parquet(tmp_path / "rows" / "answered.parquet")
    text = PROJECT.replace('"log_loss"), hs.single_row_latency("p99", at_most="1ms")]', '"log_loss")][:0]')
    text = text.replace('history="8d",', "").replace(
        "return LogisticRegression()", "return (_Patient if len(data.y) < 300 else LogisticRegression)()"
    )
    text += "\nfrom sklearn.ensemble import HistGradientBoostingClassifier as _Patient\n"
    rules = "hs.when(hs.every('2d'), check_every='1d')\nrollout = hs.Canary(share=0.5, decide_within='9d')\n"
    both = [
        Policy(name=name, text=f"import homeostat as hs\nretrain = {rules}", detector=name)
        for name in ("ADWIN", "DDM")
    ]
    labelled, seen = Detecting.labelled, []

    def noted(self: Detecting, labels: pl.DataFrame, label: str) -> bool:
        seen.append((self.name, pl.concat(self._waiting).sort(pl.all()).rows() if self._waiting else []))
        return labelled(self, labels, label)

    monkeypatch.setattr(Detecting, "labelled", noted)
    folder = planned(tmp_path, tmp_path / "rows", *both, text=text, end=BEGIN + timedelta(days=6))
    replayed(folder)
    live = [rows for _, rows in seen]
    seen.clear()
    replayed(folder, 1)
    home = read_plan(folder).home(folder, both[0]) / "home"
    with Container(Settings(home=home, blobs=str(folder / "blobs"))) as container:
        container.tables = ArrowTables(home / "tables")
        log = read(container, "answer.predictions").collect()
    assert log.filter(pl.col("error").is_not_null(), pl.col("status") == 200).height > 0
    assert [rows for _, rows in seen] == live


def test_policies_that_train_at_the_same_time_share_what_comes_of_it(tmp_path: Path, tables: Path) -> None:
    again = Policy(name="again", text=OFTEN)
    folder = planned(tmp_path, tables, ALL[1], again, end=BEGIN + timedelta(days=4))
    first = replayed(folder)
    made = set((folder / "trainings").glob("*.json"))
    assert len(made) == len(first.trainings) == 2
    second = replayed(folder, 1)
    assert set((folder / "trainings").glob("*.json")) == made
    assert second.trainings == first.trainings  # and each is charged with it


def test_a_replay_that_dies_in_any_part_of_a_step_goes_on(
    tmp_path: Path, tables: Path, whole: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = planned(tmp_path, tables, *ALL[:4])
    ask, asked = Replay._ask, []

    def noted(self: Replay, at: datetime, now: datetime) -> Any:
        asked.append((self._policy.name, at))
        return ask(self, at, now)

    monkeypatch.setattr(Replay, "_ask", noted)
    for number, part, calls in ((1, "_deliver", 3), (1, "_settle", 2), (1, "_write", 1), (3, "_settle", 8)):
        original, left = getattr(Replay, part), [calls]

        def dies(
            self: Replay,
            *arguments: Any,
            original: Any = original,
            left: list[int] = left,
            part: str = part,
        ) -> Any:
            made = original(self, *arguments) if left[0] > 1 or part != "_write" else None
            left[0] -= 1
            if left[0] == 0:
                raise HomeostatError("the power failed")
            return made

        with monkeypatch.context() as patched:
            patched.setattr(Replay, part, dies)
            assert job.main([str(folder), str(number)]) == 1
    assert table(replayed(folder, 1)) == table(whole["often"])
    assert table(replayed(folder, 3)) == table(whole["DDM"])  # which was shown what it had seen
    assert len(asked) == len(set(asked))  # what was answered is not asked again, when more is known


def test_a_killed_process_goes_on(tmp_path: Path, tables: Path, whole: dict[str, Result]) -> None:
    folder = planned(tmp_path, tables, ALL[1])
    plan = read_plan(folder)
    home = plan.home(folder, plan.policies[0])
    process = subprocess.Popen([sys.executable, "-m", "homeostat.app.backtest.job", str(folder), "0"])
    while process.poll() is None and reached(home, plan.start) < BEGIN + timedelta(days=4):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.kill()
    process.wait()
    assert table(replayed(folder)) == table(whole["often"])


def test_history_may_be_the_rows_of_a_store(tmp_path: Path, tables: Path, whole: dict[str, Result]) -> None:
    declared = load_project(project(tmp_path / "answers"))
    with Container(Settings(home=tmp_path / "home")) as container:
        apply(container, declared)
        for name, file in files_in(tables).items():
            ingest(container, name, pl.read_parquet(file))
        folder = prepare(container, declared, [ALL[1]], start=BEGIN, end=END)
    assert table(replayed(folder)) == table(whole["often"])


def test_a_row_without_a_time_came_at_none(tmp_path: Path, tables: Path) -> None:
    some = Policy(name="never", text=NEVER, given=True)
    torn = tmp_path / "torn"
    torn.mkdir()
    for file, time in (("asked", "at"), ("answered", "known")):
        rows = pl.read_parquet(tables / f"{file}.parquet")
        lost = pl.concat([rows] * 3).with_columns(
            pl.int_range(pl.len()).alias("id") + 1_000_000, pl.lit(None, rows[time].dtype).alias(time)
        )
        pl.concat([lost, rows]).write_parquet(torn / f"{file}.parquet")
    end = BEGIN + timedelta(days=2)
    sound = replayed(planned(tmp_path / "sound", tables, some, end=end))
    assert table(replayed(planned(tmp_path / "home", torn, some, end=end))) == table(sound)

    lost.write_parquet(torn / "answered.parquet")
    with pytest.raises(ContractBroken, match="dataset/answered says when it came: all 'known' are null"):
        planned(tmp_path / "none", torn, some, end=end)


def test_what_cannot_be_replayed_is_refused(tmp_path: Path, tables: Path) -> None:
    silent = tmp_path / "silent.py"
    silent.write_text("rules = []\n")
    with pytest.raises(DeclarationError, match="retrain"):
        read_policy(silent)
    with pytest.raises(DeclarationError, match="nothing to compare"):
        beside("hourly", "1d")
    with pytest.raises(BadRequest, match="nothing from"):
        planned(tmp_path, tables, DECLARED, end=BEGIN)
    with pytest.raises(BadRequest, match="two policies"):
        planned(tmp_path, tables, DECLARED, DECLARED)
    with pytest.raises(NotFound, match="no rows"):
        planned(tmp_path, tables, DECLARED, data={})
    timeless = project(tmp_path / "timeless")
    timeless.write_text(timeless.read_text().replace('key="id", time="known"', 'key="id"'))
    with (
        Container(Settings(home=tmp_path / "home")) as container,
        pytest.raises(ContractBroken, match="no time"),
    ):
        prepare(container, load_project(timeless), [DECLARED], start=BEGIN, end=END)


def test_a_first_model_that_does_not_serve_is_said(tmp_path: Path, tables: Path) -> None:
    folder = planned(tmp_path, tables, DECLARED, start=BEGIN - timedelta(days=8))
    assert job.main([str(folder), "0"]) == 1
    plan: Plan = read_plan(folder)
    told = msgspec.json.decode((plan.home(folder, DECLARED) / job.FAILED).read_bytes(), type=job.Failed)
    assert "first model" in told.message


DRIFTING = """
import homeostat as hs
retrain = hs.when(hs.concept_drift(), hs.new_labels(growth=0.5), cooldown="12h", check_every="6h")
"""


def test_a_change_is_found_and_the_model_trained_on_what_came_since(tmp_path: Path, tables: Path) -> None:
    policy = Policy(name="drifting", text=DRIFTING, given=True)
    folder = planned(tmp_path, tables, policy, step=timedelta(hours=6))
    found = replayed(folder)
    first = next(one for one in found.retrained if "losses rose" in one.reason)
    assert CHANGE < first.at < CHANGE + timedelta(days=5)
    with Container(Settings(home=read_plan(folder).home(folder, policy) / "home")) as container:
        runs = [run for run in container.store.find(Run, order=["created_at"]) if "changed_at" in run.tags]
    changes = [datetime.fromisoformat(run.tags["changed_at"]) for run in runs]
    assert all(abs(at - CHANGE) < timedelta(days=1) for at in changes)
    assert datetime.fromisoformat(runs[-1].tags["data_since"]) == changes[-1]
    assert len(runs) >= 2  # again as data accrue
    assert found.metrics["accuracy"] > 0.6  # of the frozen model two thirds of the answers are wrong


def test_looks_begin_with_the_losses_of_what_the_training_held_out(tmp_path: Path, tables: Path) -> None:
    policy = Policy(name="drifting", text=DRIFTING, given=True)
    folder = planned(tmp_path, tables, policy, end=BEGIN + timedelta(days=1))
    replayed(folder)
    home = read_plan(folder).home(folder, policy) / "home"
    with Container(Settings(home=home, blobs=str(folder / "blobs"))) as container:
        first = container.store.get(ModelVersion, "answer", 1)
        windows = [one for one in container.store.find(Window) if one.monitor.startswith("concept drift")]
        assert first is not None
        held = msgspec.json.decode(container.blobs.get(first.manifest["files"][HELD_OUT]), type=Losses)
    assert held.rows == sum(look.rows for look in held.looks) == 100
    seen = msgspec.convert(windows[-1].detail["losses"], Losses)
    assert seen.rows == held.rows + sum(one.rows for one in windows)


def test_a_regression_is_measured_as_one(tmp_path: Path, tables: Path) -> None:
    found = replayed(planned(tmp_path, tables, DECLARED, text=HOW_MUCH))
    assert found.shown == ["rmse", "mae", "r2"]
    assert found.retrained  # once the world had changed, the error was beyond what is promised
    assert found.spans[0].metrics["rmse"] == pytest.approx(0.3, abs=0.1)  # the noise
    assert max(one.metrics["rmse"] for one in found.spans) > 0.6
    assert found.metrics["rmse"] > found.metrics["mae"] > 0


def test_a_detector_of_wrong_answers_is_not_compared_with_a_regression(tmp_path: Path, tables: Path) -> None:
    with pytest.raises(BadRequest, match="DDM looks at whether answers are right"):
        planned(tmp_path, tables, beside("DDM", "1d"), text=HOW_MUCH)
