"""The controller: brings what is to what is declared, one tick at a time.

A tick reaps the dead, lets the reactors catch up, starts what is queued, looks at canaries, and evaluates the
monitors and retraining rules that are due. It keeps nothing in memory that the store does not hold, so it can die
between any two steps and the next tick goes on.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from threading import Lock

import msgspec

from homeostat.app.approvals import awaits
from homeostat.app.attending import attend
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.datasets import seal
from homeostat.app.freezing import frozen
from homeostat.app.guarding import guard
from homeostat.app.healing import heal
from homeostat.app.leases import reap
from homeostat.app.online import refresh
from homeostat.app.operating import operate
from homeostat.app.pipelines import give_up
from homeostat.app.reactors import react_all
from homeostat.app.rollouts import step
from homeostat.app.slos import tally
from homeostat.app.training import fail, submit
from homeostat.app.trials import begin_trial, running_trials, step_trial
from homeostat.app.upstream import broken_upstream, settle_contracts
from homeostat.app.watching import Watched, watch
from homeostat.app.workers import sync_workers
from homeostat.domain.declarations import ABTest, Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import Conflict, HomeostatError, NotFound
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import (
    Batch,
    Dataset,
    DatasetVersion,
    Evaluation,
    Lease,
    ModelVersion,
    Rollout,
    Run,
    StepExecution,
    Window,
)
from homeostat.domain.refs import parse_ref
from homeostat.engine.control.rules import Facts, Ruling, decide
from homeostat.ports.meta import Where

_ATTEMPTS = 3
# A version for every few rows would be many small files: batches are read as well from where they wait.
_UNSEALED = 500
_SEAL_AFTER = timedelta(days=7)
_WATCH_EVERY = timedelta(days=1)

_log = logging.getLogger(__name__)


class Tick(msgspec.Struct, frozen=True):
    """What one tick found running (references) and what it did (sentences)."""

    busy: list[str]
    did: list[str]


class Controller:
    """Ticks over one store. Safe for threads: ticks follow one another."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._lock = Lock()

    def tick(self) -> Tick:
        """One round. What fails is recorded and does not keep the rest from being done."""
        did: list[str] = []
        with self._lock:
            for part in (
                self._reap,
                self._react,
                self._start,
                self._canaries,
                self._trials,
                self._guards,
                self._levels,
                self._rules,
                self._keep,
                self._react,
            ):
                try:
                    part(did)
                except Exception as error:  # noqa: BLE001 - it may be the project's own code that fails
                    did.append(_failed(part.__name__.strip("_"), error))
            return Tick(self._busy(), did)

    def _busy(self) -> list[str]:
        store = self._container.store
        runs = store.find(Run, ("kind", "=", "train"), ("state", "in", ["queued", "running"]))
        coming = [f"model/{v.model}@{v.version}" for v in self._coming()]
        going = [run for run in runs if run.state == "running" or not self._frozen(run.model)]
        return [f"run/{run.id}" for run in going] + coming

    def _frozen(self, model: str) -> bool:
        return frozen(self._container, model) is not None

    def _coming(self, *where: Where) -> list[ModelVersion]:
        """Versions on their way: to their gates, or to their rollout, which the next tick begins.

        One that waits for a person's approval, or for the end of a freeze, is not on its way by itself.
        """
        found = self._container.store.find(ModelVersion, ("stage", "in", ["candidate", "accepted"]), *where)
        return [
            v
            for v in found
            if v.stage == "candidate" or not (self._frozen(v.model) or awaits(self._container, v))
        ]

    def _reap(self, did: list[str]) -> None:
        """Give up what the dead were running, and try it again."""
        container = self._container
        for lease in reap(container):
            did.append(f"{lease.subject} lost its process {lease.pid}")
        # Not by what was reaped: a controller that died after reaping would leave its runs running for ever.
        # Runs first: one that ends in between has given back its lease, and is no longer running when looked at again.
        running = container.store.find(Run, ("kind", "=", "train"), ("state", "=", "running"))
        held = {lease.subject for lease in container.store.find(Lease, ("role", "=", "job"))}
        for run in running:
            if f"run/{run.id}" not in held:
                self._retry(run.id, "its process died", did)
        for one in container.store.find(StepExecution, ("state", "=", "running")):
            if f"pipeline/{one.pipeline}" not in held:
                give_up(container, one.pipeline)
        for name, state in container.executor.states().items():
            kind, _, subject = name.partition(".")
            if kind == "train" and state == "failed":
                self._retry(subject, "its process ended before the run did", did)

    def _retry(self, run_id: str, error: str, did: list[str]) -> None:
        container = self._container
        run = container.store.get(Run, run_id)
        if run is None or run.state not in ("queued", "running"):
            return
        fail(container, run_id, error)
        if run.attempt >= _ATTEMPTS:
            did.append(f"run/{run_id} failed: {error}; it was attempt {run.attempt}, the last")
            return
        try:
            again = submit(
                container,
                run.model,
                reason=run.reason,
                actor=run.actor,
                using=run.function,
                params=run.params,
                tags=run.tags,
                attempt=run.attempt + 1,
            )
        except HomeostatError as refusal:  # such as a model that is no longer declared
            did.append(f"run/{run_id} failed: {error}; it is not tried again: {refusal}")
        else:
            did.append(f"run/{run_id} failed: {error}; run/{again.id} is attempt {again.attempt}")

    def _react(self, did: list[str]) -> None:
        if reacted := react_all(self._container):
            did.append(f"reacted to {reacted} events")

    def _start(self, did: list[str]) -> None:
        """Start queued runs, and the judging of candidates whose training process did not get to it."""
        container = self._container
        running = container.executor.states()
        for run in container.store.find(
            Run, ("kind", "=", "train"), ("state", "=", "queued"), order=["created_at"]
        ):
            if running.get(f"train.{run.id}") != "running" and not self._frozen(run.model):
                container.executor.submit(f"train.{run.id}", ["train", run.id])
                did.append(f"started run/{run.id}: {run.reason}")
        for version in container.store.find(ModelVersion, ("stage", "=", "candidate")):
            name = f"judge.{version.model}.{version.version}"
            if running.get(f"train.{version.run}") != "running" and running.get(name) != "running":
                container.executor.submit(name, ["judge", version.model, str(version.version)])
                did.append(f"judging model/{version.model}@{version.version}")

    def _canaries(self, did: list[str]) -> None:
        rollouts = self._container.store.find(Rollout, ("state", "=", "running"))
        if rollouts:
            sync_workers(self._container)
        for rollout in rollouts:
            try:
                decision = step(self._container, rollout)
            except Exception as error:  # noqa: BLE001 - one canary must not keep the others from being looked at
                did.append(_failed(f"rollout/{rollout.id}", error))
                continue
            if decision.action != "continue":
                did.append(f"rollout/{rollout.id}: {decision.action}, {decision.reason}")

    def _trials(self, did: list[str]) -> None:
        """Begin the A/B tests whose arms are complete, and look at those that run."""
        container = self._container
        for model in self._models():
            if isinstance(model.rollout, ABTest) and not self._frozen(model.name):
                try:
                    if (begun := begin_trial(container, model)) is not None:
                        did.append(f"trial/{begun.id} began")
                    for trial in running_trials(container.store, model.name):
                        verdict = step_trial(container, model, trial)
                        if verdict is not None and verdict.action == "end":
                            did.append(f"trial/{trial.id}: {verdict.reason}")
                except Exception as error:  # noqa: BLE001 - one test must not keep the others from being looked at
                    did.append(_failed(f"trial of {model.name}", error))

    def _guards(self, did: list[str]) -> None:
        for model in self._models():
            try:
                if done := guard(self._container, model):
                    did.append(done)
            except Exception as error:  # noqa: BLE001 - one champion must not keep the others from being guarded
                did.append(_failed(f"probation of {model.name}", error))
        did += heal(self._container)

    def _levels(self, did: list[str]) -> None:
        for model in self._models():
            try:
                did += tally(self._container, model)
            except Exception as error:  # noqa: BLE001 - one deployment must not keep the others from being counted
                did.append(_failed(f"service levels of {model.name}", error))
        did += attend(self._container)
        operate(self._container)

    def _models(self) -> list[Model]:
        try:
            return list(declared(self._container).models.values())
        except NotFound:
            return []

    def _rules(self, did: list[str]) -> None:
        for model in self._models():
            if model.watched and self._due(model):
                try:
                    settle_contracts(self._container)
                    self._evaluate(model, did)
                except Exception as error:  # noqa: BLE001 - one model must not keep the others from being judged
                    did.append(_failed(f"trigger/{model.name}", error))

    def _due(self, model: Model) -> bool:
        """Whether its monitors and rules are to be looked at again; without rules the monitors, once a day."""
        store = self._container.store
        if model.retrain is None:
            of: list[Where] = [("deployment", "=", model.name)]
            ends = [one.end for one in store.find(Window, *of, order=["-end"], limit=1)]
            every = _WATCH_EVERY
        else:
            ends = [
                one.at for one in store.find(Evaluation, ("trigger", "=", model.name), order=["-at"], limit=1)
            ]
            every = parse_duration(model.retrain.check_every)
        return not ends or self._container.clock.now() - ends[0] >= every

    def _evaluate(self, model: Model, did: list[str]) -> None:
        container = self._container
        watched = watch(container, model) or Watched()
        if model.retrain is None:
            return
        now = container.clock.now()
        held = frozen(container, model.name)
        runs = container.store.find(
            Run, ("model", "=", model.name), ("state", "!=", "failed"), order=["-created_at"], limit=1
        )
        facts = Facts(
            now=now,
            last_training_at=runs[0].created_at if runs else None,
            trainings=self._recent(model),
            new_labels=self._new_labels(model, runs[0] if runs else None),
            drift=watched.drift,
            suspicion=watched.suspicion,
            levels=watched.levels,
            frozen=held.why if held else broken_upstream(container, model),
        )
        ruling = decide(model.retrain, facts)
        run = self._train(model, ruling, did) if ruling.should_train and not self._training(model) else None
        with container.store.begin() as tx:
            for outcome in ruling.outcomes:
                tx.insert(
                    Evaluation(
                        id=new_id(container.clock.wall()),
                        trigger=model.name,
                        rule=outcome.rule,
                        at=now,
                        value=outcome.value,
                        threshold=outcome.threshold,
                        fired=outcome.fired,
                        reason=outcome.reason,
                        run=run.id if run and outcome.fired else "",
                    )
                )

    def _recent(self, model: Model) -> list[datetime]:
        """When the trainings that the budget counts began, however they ended."""
        assert model.retrain is not None
        if model.retrain.at_most is None:
            return []
        since = self._container.clock.now() - parse_duration(model.retrain.at_most[1])
        found = self._container.store.find(Run, ("model", "=", model.name), ("created_at", ">", since))
        return [run.created_at for run in found if run.kind == "train"]

    def _training(self, model: Model) -> bool:
        """Whether a version of this model is on its way already: trained, judged or tried out."""
        store, name = self._container.store, model.name
        return bool(
            store.count(Run, ("model", "=", name), ("state", "in", ["queued", "running"]))
            or self._coming(("model", "=", name))
            or store.count(Rollout, ("deployment", "=", name), ("state", "=", "running"))
        )

    def _train(self, model: Model, ruling: Ruling, did: list[str]) -> Run | None:
        container = self._container
        try:
            run = submit(container, model.name, reason=ruling.reason, actor=f"trigger/{model.name}")
        except Conflict as error:  # no rows yet: the next evaluation tries again
            did.append(str(error))
            return None
        with container.store.begin() as tx:
            tx.append(
                Event(
                    kind="trigger.fired",
                    subject=f"trigger/{model.name}",
                    at=container.clock.now(),
                    body={"run": run.id, "reason": ruling.reason},
                )
            )
        did.append(f"trigger/{model.name} fired: {ruling.reason}")
        self._start(did)
        return run

    def _new_labels(self, model: Model, last: Run | None) -> int:
        """Rows of the label's dataset that the last training had not pinned."""
        name = model.task.source.name
        record = self._container.store.get(Dataset, name)
        pinned = [parse_ref(text) for text in (last.inputs if last else [])]
        version = next((int(ref.version) for ref in pinned if ref.name == name), 0)
        seen = self._container.store.get(DatasetVersion, name, version)
        return (record.rows if record else 0) - (seen.rows if seen else 0)

    def _keep(self, did: list[str]) -> None:
        """Bring the online store level, and seal batches that have waited for long or are many."""
        container = self._container
        if moved := refresh(container):
            did.append(f"brought {moved} feature views level")
        now = container.clock.now()
        for record in container.store.find(Dataset):
            waiting = container.store.find(Batch, ("dataset", "=", record.name), order=["seq"], limit=1)
            if waiting and (
                record.position - waiting[0].seq >= _UNSEALED or now - waiting[0].at >= _SEAL_AFTER
            ):
                seal(container, record.name)


def _failed(what: str, error: Exception) -> str:
    """Keep an error in the log, an unforeseen one with where it came from; returns the sentence for the tick."""
    if isinstance(error, HomeostatError):
        _log.warning("%s: %s", what, error)
        return f"{what}: {error}"
    _log.error("%s failed", what, exc_info=error)
    return f"{what}: {type(error).__name__}: {error}"
