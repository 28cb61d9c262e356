"""The replay of one policy: history goes by in steps, and in each the loop does what it does live.

In a step the requests of its time are answered by what serves, what came by its end is delivered, and the controller
takes its turn. What was done is in the policy's own store, how far it came in a file beside it, written once a step is
done: a replay that was killed goes on with the step that it was killed in, each part of which may be done again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.apply import apply
from homeostat.app.backtest.detecting import Detecting, finding
from homeostat.app.backtest.history import History
from homeostat.app.backtest.memory import Memory
from homeostat.app.backtest.plan import Plan
from homeostat.app.backtest.policies import Policy, stage
from homeostat.app.backtest.results import Result, is_kept, kept, result
from homeostat.app.backtest.trainings import SharedTrainings
from homeostat.app.backtest.world import Store, World
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.datasets import append_log
from homeostat.app.deliveries import Parcel, deliver
from homeostat.app.judging import judge
from homeostat.app.outcomes import log_of
from homeostat.app.projects import load_project
from homeostat.app.serving import load_version
from homeostat.app.training import execute, submit
from homeostat.app.trainingdata import CHANGED_AT, LEAST_SINCE, moment
from homeostat.domain.contracts import attribute
from homeostat.domain.errors import Conflict
from homeostat.domain.ids import new_id
from homeostat.domain.records import Dataset, Deployment, ModelVersion, Run
from homeostat.engine.serving.frames import rows_of
from homeostat.engine.serving.log import to_frame
from homeostat.engine.serving.predictions import Prediction, decide, shadow
from homeostat.engine.serving.routing import LiveArm, Routes, key_text
from homeostat.engine.serving.scorer import Loaded

_TURNS: Final = 20
_ACTOR: Final = "backtest"
_REACHED: Final = "reached.json"

_log = logging.getLogger(__name__)


class Reached(msgspec.Struct, frozen=True):
    """How far a replay has come: the end of its last step, and in how many something was asked."""

    at: datetime
    asked: int = 0


class Replay:
    """One policy of a plan.

    Args:
        plan: What is replayed.
        folder: Where the plan is.
        policy: Which of its policies.
        memory: What the replay of another policy of the plan knows of history.
    """

    def __init__(self, plan: Plan, folder: Path, policy: Policy, memory: Memory | None = None) -> None:
        self._plan, self._policy = plan, policy
        self._whole, self._folder = folder, plan.home(folder, policy)
        file = stage(
            folder / "project", plan.file, policy, plan.model, self._folder / "project" / plan.project
        )
        declared = load_project(file)
        self._model = declared.models[plan.model]
        self.memory = memory or Memory(History(folder / "history", self._model))
        self._history = self.memory.history
        self._state = _reached(self._folder, plan.start)
        self._world = World(self._folder / "home", folder / "blobs", self._state.at, self.memory)
        self._world.jobs.run = self._job
        self._trainings = SharedTrainings(folder / "trainings")
        self._controller = Controller(self._world)
        self._loaded: dict[int, Loaded] = {}
        detector, task = policy.detector, self._model.task
        self._detecting = Detecting(detector, self._history, task) if detector else None
        apply(self._world, declared)

    def run(self) -> Result:
        """All of it, or the rest.

        Raises:
            Conflict: the first model does not come to serve.
        """
        with self._world:
            if self._state.at == self._plan.start and (known := self._as_another()):
                return known
            self._begin()
            self._recall()
            while self._state.at < self._plan.end:
                self._step(min(self._state.at + self._plan.step, self._plan.end))
            plan = self._plan
            return result(
                self._world, self._model, self._policy.name, self._policy.given, plan.span, plan.start
            )

    def _begin(self) -> None:
        """Deliver what came before the replay, and have the first model trained and serve."""
        world, name = self._world, self._model.name
        if self._arms():
            return
        for dataset in self._history.datasets:
            rows = self._history.came(dataset, None, self._plan.start)
            if rows.height:
                deliver(world, [Parcel(dataset, rows, "before")])
        why = ""
        if not world.store.find(Run, ("model", "=", name), ("state", "!=", "failed"), limit=1):
            try:
                submit(world, name, reason="first model", actor=_ACTOR)
            except Conflict as error:
                why = str(error)
        self._settle()
        if self._arms():
            return
        last = self._last_run()
        versions = world.store.find(ModelVersion, ("model", "=", name), order=["-version"], limit=1)
        why = versions[0].stage_reason if versions else last.error if last else why
        raise Conflict(
            f"the first model of {name}, trained on what came before {self._plan.start:%Y-%m-%d}, does not serve: "
            f"{why}",
            remedy="Begin later with --from, or look at its gates",
        )

    def _recall(self) -> None:
        """Show the detector again what it saw before the replay was interrupted."""
        start, until = self._plan.start, self._state.at
        if self._detecting is not None and until > start:
            log = self._logged(self._world, start, until)
            for _ in self._detecting.recall(log, start, until, self._plan.step):
                pass

    def _as_another(self) -> Result | None:
        """What came of a replay of another detector, where this one would have asked for the same trainings.

        Until one asks and the other does not, both see the same answers.
        """
        plan, policy, name = self._plan, self._policy, self._model.name
        for other in plan.policies:
            home = plan.home(self._whole, other)
            if not (policy.detector and other.detector and other.text == policy.text and is_kept(home)):
                continue
            mine, its = finding(policy.detector), finding(other.detector)
            with Store(home / "home", self._whole / "blobs") as container:
                runs = container.store.find(Run, ("model", "=", name), order=["created_at"])
                log = self._logged(container, plan.start, plan.end)
            asked = {run.created_at for run in runs if run.reason == its}
            detecting = Detecting(policy.detector, self._history, self._model.task)
            for now in detecting.recall(log, plan.start, plan.end, plan.step):
                trained = max((run.created_at for run in runs if run.created_at < now), default=plan.start)
                if detecting.asks(trained, now, plan.rest) != (now in asked):
                    break
            else:
                return kept(home).of(policy.name, given=policy.given, reasons={its: mine})
        return None

    def _logged(self, container: Container, at: datetime, now: datetime) -> pl.DataFrame:
        """What was answered from ``at`` until ``now``, as the log has it."""
        from homeostat.app.reading import read

        log = read(container, log_of(self._model.name))
        return log.filter(pl.col("at") >= at, pl.col("at") < now).collect()

    def _step(self, now: datetime) -> None:
        at, asked, name = self._state.at, self._state.asked, log_of(self._model.name)
        log = self._world.store.get(Dataset, name)
        # A replay that was killed had come so far. What was delivered since is not to answer the same once more.
        before = log is not None and log.position > asked
        answers = [] if before else self._ask(at, now)
        self._world.time.set(now)
        if answers:
            append_log(self._world, name, to_frame(answers))
        if answers or before:
            asked += 1
        self._deliver(at, now)
        if self._detecting is not None:
            if before:
                list(self._detecting.recall(self._logged(self._world, at, now), at, now, now - at))
            else:
                self._detecting.saw(self._scored(answers), at, now)
            self._heed()
        change = self._known_change(now)
        if change is not None:
            self._train(f"it is known that the world changed at {change:%Y-%m-%d %H:%M}", change)
        self._settle()
        self._state = Reached(now, asked)
        self._write()

    def _deliver(self, at: datetime, now: datetime) -> None:
        came = {name: self._history.came(name, at, now) for name in self._history.datasets}
        token = f"until {now.isoformat()}"
        deliver(self._world, [Parcel(name, rows, token) for name, rows in came.items() if rows.height])

    def _ask(self, at: datetime, now: datetime) -> list[Prediction]:
        """Answer the requests of a step as the arms that serve answer them, shadows too."""
        requests = self._history.asked(at, now)
        arms = self._arms()
        if not requests.height:
            return []
        live = [LiveArm(arm.version, arm.role, arm.weight, self._version(arm.version).scorer) for arm in arms]
        routes = Routes(self._model.name, live)
        first = self._version(routes.champion.version)
        rows = rows_of(requests, first.columns)
        time, key = first.time and attribute(first.time), [attribute(name) for name in first.key]
        times = [getattr(row, time) if time else now for row in rows]
        keys = [key_text([getattr(row, name) for name in key]) for row in rows]
        items = [
            Prediction(new_id(asked), row, text, asked, asked, routes)
            for row, text, asked in zip(rows, keys, times, strict=True)
        ]
        decide(items)
        shadow([item for item in items if item.shadowed])
        return items

    def _version(self, number: int) -> Loaded:
        if number not in self._loaded:
            self._loaded[number] = load_version(self._world, self._model.name, number)
        return self._loaded[number]

    def _scored(self, items: Sequence[Prediction]) -> pl.DataFrame:
        keys = list(self._model.task.request.keys)
        rows = [(*(getattr(item.row, attribute(name)) for name in keys), item.score) for item in items]
        return pl.DataFrame(rows, schema=[*keys, "score"], orient="row") if rows else pl.DataFrame()

    def _heed(self) -> None:
        """Train for what was detected since the last training, once the project's cooldown is over."""
        assert self._detecting is not None
        last = self._last_run()
        trained = last.created_at if last else self._plan.start
        if self._detecting.asks(trained, self._world.time.now(), self._plan.rest):
            self._train(finding(self._detecting.name))

    def _known_change(self, now: datetime) -> datetime | None:
        """The newest change that the policy knows, where labels enough came since to learn it, and none was trained."""
        past = [one for one in self._policy.at if one < now]
        if not past:
            return None
        change, task = max(past), self._model.task
        last = self._last_run()
        trained = moment(last.tags, CHANGED_AT) if last else None
        labels = self._history.came(task.source.name, change, now).drop_nulls(task.label)
        known = self._history.asked(change, now).join(labels, on=list(task.request.keys), how="semi")
        return change if trained != change and known.height >= LEAST_SINCE else None

    def _last_run(self) -> Run | None:
        found = self._world.store.find(
            Run, ("model", "=", self._model.name), order=["-created_at", "-id"], limit=1
        )
        return found[0] if found else None

    def _train(self, reason: str, changed_at: datetime | None = None) -> None:
        """Ask for a training, once at a time."""
        world, now = self._world, self._world.time.now()
        if not world.store.count(Run, ("model", "=", self._model.name), ("created_at", ">=", now)):
            submit(world, self._model.name, reason=reason, actor=_ACTOR, changed_at=changed_at)

    def _settle(self) -> None:
        for _ in range(_TURNS):
            if not self._controller.tick().busy:
                return

    def _job(self, arguments: Sequence[str]) -> None:
        match arguments:
            case ["train", run]:
                execute(self._world, run, using=self._trainings.fit)
            case ["judge", model, version]:
                judge(self._world, model, int(version))
            case _:
                raise Conflict(f"there is no job {' '.join(arguments)}")

    def _arms(self) -> list[Any]:
        deployment = self._world.store.get(Deployment, self._model.name)
        return [arm for arm in deployment.arms if arm.role != "shadow"] if deployment else []

    def _write(self) -> None:
        fresh = self._folder / f"{_REACHED}.part"
        fresh.write_bytes(msgspec.json.encode(self._state))
        fresh.replace(self._folder / _REACHED)


def reached(home: Path, start: datetime) -> datetime:
    """How far the replay of a policy has come."""
    return _reached(home, start).at


def _reached(home: Path, start: datetime) -> Reached:
    file = home / _REACHED
    return msgspec.json.decode(file.read_bytes(), type=Reached) if file.is_file() else Reached(start)
