"""The controller: brings what is to what is declared, one tick at a time.

A tick reaps the dead, lets the reactors catch up, starts what is queued, looks at canaries, and evaluates the
monitors and retraining rules that are due. It keeps nothing in memory that the store does not hold, so it can die
between any two steps and the next tick goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from threading import Lock

import msgspec

from homeostat.app.attending import attend
from homeostat.app.clocks import keep_time
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.datasets import seal
from homeostat.app.freezing import frozen
from homeostat.app.guarding import guard
from homeostat.app.healing import heal
from homeostat.app.judging import may_judge
from homeostat.app.leases import reap, settle_dying, taken_at
from homeostat.app.online import refresh
from homeostat.app.operating import operate
from homeostat.app.pipelines import give_up
from homeostat.app.queueing import next_up
from homeostat.app.reactors import react_all
from homeostat.app.rollouts import step
from homeostat.app.slos import tally
from homeostat.app.space import keep_space
from homeostat.app.tracing.loop import trace_turn
from homeostat.app.training import end, fail, submit
from homeostat.app.trials import begin_trial, end_undeclared, running_trials, step_trial
from homeostat.app.triggers import coming, due, evaluate
from homeostat.app.tuning import abandon
from homeostat.app.upstream import settle_contracts
from homeostat.app.workers import sync_workers
from homeostat.domain.declarations import ABTest, Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import Conflict, HomeostatError, NotFound, StoreUnavailable
from homeostat.domain.records import (
    Batch,
    Lease,
    ModelVersion,
    Rollout,
    Run,
    StepExecution,
)
from homeostat.domain.refs import Ref
from homeostat.ports.executor import JobState
from homeostat.ports.meta import Transaction

_ATTEMPTS = 3
# A version for every few rows would be many small files: batches are read as well from where they wait.
_UNSEALED = 500
_UNSEALED_ROWS = 250_000
_SEAL_AFTER = timedelta(days=7)

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
        clock, parts = self._container.clock, []
        began = clock.wall()
        with self._lock:
            for part in (
                self._time,
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
                name, since = part.__name__.strip("_"), clock.monotonic()
                try:
                    part(did)
                except Exception as error:  # noqa: BLE001 - it may be the project's own code that fails
                    did.append(_failed(name, error))
                parts.append((name, clock.monotonic() - since))
            trace_turn(self._container, began, parts, did)
            return Tick(self._busy(), did)

    def _busy(self) -> list[str]:
        store = self._container.store
        runs = store.find(Run, ("kind", "=", "train"), ("state", "in", ["queued", "running"]))
        versions = [f"model/{v.model}@{v.version}" for v in coming(self._container)]
        going = [run for run in runs if run.state == "running" or not self._frozen(run.model)]
        return [f"run/{run.id}" for run in going] + versions

    def _frozen(self, model: str) -> bool:
        return frozen(self._container, model) is not None

    def _time(self, did: list[str]) -> None:
        did += keep_time(self._container)

    def _reap(self, did: list[str]) -> None:
        """Give up what the dead were running, and try it again."""
        container = self._container
        for lease in reap(container):
            did.append(f"{lease.subject} lost its process {lease.pid}")
        settle_dying(container)
        # Not by what was reaped: a controller that died after reaping would leave its runs running for ever.
        # Runs and steps first: what ends in between has given back its lease, and is no longer running when looked at
        # again; what begins in between has one.
        running = container.store.find(Run, ("kind", "=", "train"), ("state", "=", "running"))
        steps = container.store.find(StepExecution, ("state", "=", "running"))
        leases = {lease.subject: lease for lease in container.store.find(Lease, ("role", "=", "job"))}
        held = leases.keys()
        limit = parse_duration(container.settings.training_limit)
        for run in running:
            own = leases.get(f"run/{run.id}")
            if own is not None and container.clock.wall() - taken_at(own) > limit:
                container.executor.cancel(f"train.{run.id}")
                with container.store.begin() as tx:
                    tx.delete(Lease, ("id", "=", own.id))
                self._retry(
                    run.id, f"it took longer than {container.settings.training_limit} and was ended", did
                )
            if f"run/{run.id}" not in held:
                self._retry(run.id, "its process died", did)
        for one in steps:
            if f"pipeline/{one.pipeline}" not in held:
                give_up(container, one.pipeline)
        self._jobs(did)

    def _jobs(self, did: list[str]) -> Mapping[str, JobState]:
        """How the jobs stand. Ends are told once, so a training that failed is seen to here, whoever asks."""
        states = self._container.executor.states()
        for name, state in states.items():
            kind, _, subject = name.partition(".")
            if kind == "train" and state == "failed":
                self._retry(subject, "its process ended before the run did", did)
        return states

    def _retry(self, run_id: str, error: str, did: list[str]) -> None:
        """Record that a run failed and, in the same transaction, queue it again: between the two it would be lost."""
        container = self._container
        run = container.store.get(Run, run_id)
        if run is None or run.state not in ("queued", "running"):
            return
        if run.attempt >= _ATTEMPTS:
            fail(container, run_id, error)
            abandon(container, run)
            did.append(f"run/{run_id} failed: {error}; it was attempt {run.attempt}, the last")
            return

        def give_up(tx: Transaction, again: Run) -> None:
            if not end(tx, container, run_id, "failed", error, again=again.id):
                raise Conflict(f"run/{run_id} ended by itself meanwhile", remedy="Nothing is to be done")

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
                along=give_up,
            )
        except StoreUnavailable:
            raise  # nothing is recorded yet: the next tick finds it again
        except HomeostatError as refusal:  # such as a model that is no longer declared
            fail(container, run_id, error)
            abandon(container, run)
            did.append(f"run/{run_id} failed: {error}; it is not tried again: {refusal}")
        else:
            abandon(container, run)
            did.append(f"run/{run_id} failed: {error}; run/{again.id} is attempt {again.attempt}")

    def _react(self, did: list[str]) -> None:
        if reacted := react_all(self._container):
            did.append(f"reacted to {reacted} events")

    def _start(self, did: list[str]) -> None:
        """Start queued runs, and the judging of candidates whose training process did not get to it."""
        container = self._container
        running = self._jobs(did)
        for run in next_up(container, running):
            container.executor.submit(f"train.{run.id}", ["train", run.id])
            did.append(f"started run/{run.id}: {run.reason}")
        for version in container.store.find(ModelVersion, ("stage", "=", "candidate")):
            name = f"judge.{version.model}.{version.version}"
            busy = "running" in (running.get(f"train.{version.run}"), running.get(name))
            if not busy and may_judge(container, version):
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
        """Begin the A/B tests whose arms are complete, and look at those that run; end those declared no more."""
        container = self._container
        for model in self._models():
            if not self._frozen(model.name):
                try:
                    if not isinstance(model.rollout, ABTest):
                        if end_undeclared(container, model):
                            did.append(f"ended the A/B test of {model.name}: another rollout is declared")
                        continue
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
            if not model.watched:
                continue
            try:
                if due(self._container, model):
                    settle_contracts(self._container)
                    if evaluate(self._container, model, did):
                        self._start(did)
            except Exception as error:  # noqa: BLE001 - one model must not keep the others from being judged
                did.append(_failed(f"trigger/{model.name}", error))

    def _keep(self, did: list[str]) -> None:
        """Bring the online store level, and seal batches that have waited for long or are many."""
        container = self._container
        did += keep_space(container)
        try:
            if moved := refresh(container):
                did.append(f"brought {moved} feature views level")
        except Exception as error:  # noqa: BLE001 - an online store that is away must not keep rows from being sealed
            did.append(_failed("the online store", error))
        now = container.clock.now()
        waiting: dict[str, list[tuple[int, datetime]]] = {}
        # Not the batches themselves, which may be large.
        for name, rows, at in container.store.pick(Batch, ["dataset", "rows", "at"]):
            waiting.setdefault(name, []).append((rows, at))
        for name, batches in sorted(waiting.items()):
            many = len(batches) >= _UNSEALED or sum(rows for rows, _ in batches) >= _UNSEALED_ROWS
            if many or now - min(at for _, at in batches) >= _SEAL_AFTER:
                try:
                    seal(container, name)
                except Exception as error:  # noqa: BLE001 - one dataset must not keep the others from being sealed
                    did.append(_failed(str(Ref("dataset", name)), error))


def _failed(what: str, error: Exception) -> str:
    """Keep an error in the log, an unforeseen one with where it came from; returns the sentence for the tick."""
    if isinstance(error, HomeostatError):
        _log.warning("%s: %s", what, error)
        return f"{what}: {error}"
    _log.error("%s failed", what, exc_info=error)
    return f"{what}: {type(error).__name__}: {error}"
