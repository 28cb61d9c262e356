"""Triggers: when a model's monitors and retraining rules are looked at, and what follows. Each look is kept.

Rules are looked at every ``check_every``, and at once where something came that they wait for. Monitors that fail are
kept as an evaluation as well, with their error: the other rules are judged without them, and they are looked at again
when they are due.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from homeostat.app import admission
from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.changing import changed_at, learned, risen, suspected_at
from homeostat.app.code import declared, project
from homeostat.app.container import Container
from homeostat.app.costs import spent
from homeostat.app.failures import failed
from homeostat.app.freezing import frozen
from homeostat.app.happening import happened, newest_champion, newest_message, newest_occasion
from homeostat.app.registry.pointers import champion_of
from homeostat.app.space import cramped
from homeostat.app.training import submit
from homeostat.app.upstream import broken_upstream
from homeostat.app.watching import Watched, watch
from homeostat.domain.declarations import ABTest, Model
from homeostat.domain.declarations.rules import AllOf, AnyOf, CodeChange, ContractChange, Rule, When
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import Conflict, HomeostatError
from homeostat.domain.events import Event, short
from homeostat.domain.ids import new_id
from homeostat.domain.records import (
    Dataset,
    DatasetVersion,
    Evaluation,
    ModelVersion,
    Reaction,
    Rollout,
    Run,
    Window,
)
from homeostat.domain.refs import Ref, parse_ref
from homeostat.engine.control.rules import Facts, Happened, Outcome, Ruling, decide, name_of
from homeostat.ports.meta import Transaction, Where

FIRED: Final = "trigger.fired"
MONITORS: Final = "monitors"
"""The rule under which an evaluation is kept of monitors that failed."""
_WATCH_EVERY: Final = timedelta(days=1)
_LEARNS: Final = ("queued", "running", "succeeded")  # what a training has learned, or will have

_log = logging.getLogger(__name__)


def due(container: Container, model: Model) -> bool:
    """Whether its monitors and rules are to be looked at again; without rules the monitors, once a day."""
    store, now = container.store, container.clock.now()
    looked = store.find(Evaluation, ("trigger", "=", model.name), order=["-at"], limit=1)
    ends = [one.at for one in looked]
    if model.retrain is None:
        of: list[Where] = [("deployment", "=", model.name)]
        ends += [one.end for one in store.find(Window, *of, order=["-end"], limit=1)]
        return not ends or now - max(ends) >= _WATCH_EVERY
    if not ends or now - ends[0] >= parse_duration(model.retrain.check_every):
        return True
    came = [
        newest_occasion(model, now),
        newest_message(container, model),
        newest_champion(container, model),
        _changed(container, model),
        _settled(container, model, model.retrain, ends[0]),
    ]
    return any(one is not None and ends[0] < one <= now for one in came)


def _changed(container: Container, model: Model) -> datetime | None:
    """When the project was applied, where a rule waits for changes of it."""
    rules = model.retrain.leaves if model.retrain else ()
    waits = any(isinstance(rule, CodeChange | ContractChange) for rule in rules)
    return project(container).applied_at if waits else None


def _settled(container: Container, model: Model, when: When, last: datetime) -> datetime | None:
    """When what fired at the last look, and had to stand for longer, has stood for long enough."""
    if when.debounce is None:
        return None
    of: list[Where] = [
        ("trigger", "=", model.name),
        ("at", "=", last),
        ("fired", "=", True),
        ("run", "=", ""),
    ]
    return last + parse_duration(when.debounce) if container.store.find(Evaluation, *of, limit=1) else None


def coming(container: Container, *where: Where) -> list[ModelVersion]:
    """Versions on their way: to their gates, or to their rollout, which the next tick begins."""
    found = container.store.find(ModelVersion, ("stage", "in", ["candidate", "accepted"]), *where)
    return [v for v in found if v.stage == "candidate" or not _stays(container, v)]


def _stays(container: Container, version: ModelVersion) -> bool:
    """Whether an accepted version is not on its way by itself.

    It waits for people (an approval, a signature, the end of a freeze or of its deprecation), it is a challenger, whose
    test may need other arms, or its rollout failed so often that it was set aside.
    """
    if frozen(container, version.model) or admission.obstacle(container, version) is not None:
        return True
    model = declared(container).models.get(version.model)
    challenges = model is not None and isinstance(model.rollout, ABTest)
    if challenges and champion_of(container.store, version.model) is not None:
        return True
    given_up = container.store.find(Reaction, ("reactor", "=", "roll-out"), ("dead", "=", True))
    name = str(Ref("model", version.model).at(version.version))
    return any(container.ledger.read(one.event - 1, limit=1)[0].subject == name for one in given_up)


def evaluate(container: Container, model: Model, did: list[str]) -> Run | None:
    """Look at the monitors and rules of a model, keep what each said, and train it where they say so."""
    watched, failure = _watched(container, model)
    if failure is not None:
        did.append(f"{failure.rule} of {model.name}: {failure.reason}")
    now = container.clock.now()
    if model.retrain is None:
        _keep(container, model, now, [failure] if failure else [])
        return None
    runs = container.store.find(
        Run, ("model", "=", model.name), ("state", "in", _LEARNS), order=["-created_at"], limit=1
    )
    last = runs[0] if runs else None
    news = happened(container, model, last)
    losses = risen(container, model, last)
    suspected = suspected_at(losses, last)
    facts = Facts(
        now=now,
        last_training_at=last.created_at if last else None,
        trainings=_recent(container, model, model.retrain),
        new_labels=_new_labels(container, model, last),
        drift=watched.drift,
        suspicion=watched.suspicion,
        risen=losses,
        learned=learned(container, model, last, suspected),
        levels=watched.levels,
        happened=news,
        fires_since=_fires_since(container, model, model.retrain, news, last),
        spent=spent(container, model),
        failed=failed(container, model.name, model.retrain),
        frozen=_frozen(container, model),
        coming=_on_its_way(container, model),
    )
    ruling = decide(model.retrain, facts)
    since = changed_at(losses, last)
    outcomes = [*ruling.outcomes, *([failure] if failure else [])]

    def fired(tx: Transaction, run: Run) -> None:
        """With the training, in its transaction, the evaluations that it follows from."""
        tx.insert(*_evaluations(container, model, now, outcomes, run.id))
        body = {"run": run.id, "reason": ruling.reason}
        tx.append(Event(kind=FIRED, subject=f"trigger/{model.name}", at=container.clock.now(), body=body))

    run = _train(container, model, ruling, since, suspected, fired, did) if ruling.should_train else None
    if run is None:
        _keep(container, model, now, outcomes)
    return run


def _watched(container: Container, model: Model) -> tuple[Watched, Outcome | None]:
    """What the monitors found; where they failed nothing, and the failure."""
    key = f"{MONITORS}:{model.name}"
    try:
        found = watch(container, model) or Watched()
    except Exception as error:  # noqa: BLE001 - rules that need no monitor are judged all the same
        said = str(error) if isinstance(error, HomeostatError) else f"{type(error).__name__}: {error}"
        _log.error("the monitors of model/%s failed", model.name, exc_info=error)
        with container.store.begin() as tx:
            open_alert(
                tx,
                container,
                key=key,
                subject=f"deployment/{model.name}",
                severity="ticket",
                summary=f"the monitors of {model.name} failed: {short(said)}",
                action="looked at again when they are due; until then rules that need them do not fire",
                detail={"error": said}
                | ({"remedy": error.remedy} if isinstance(error, HomeostatError) else {}),
            )
        reason = f"failed: {short(said)}"
        return Watched(), Outcome(rule=MONITORS, value=None, threshold=None, fired=False, reason=reason)
    with container.store.begin() as tx:
        resolve_alert(tx, container, key)
    return found, None


def _keep(container: Container, model: Model, at: datetime, outcomes: Iterable[Outcome]) -> None:
    with container.store.begin() as tx:
        tx.insert(*_evaluations(container, model, at, outcomes))


def _evaluations(
    container: Container, model: Model, at: datetime, outcomes: Iterable[Outcome], run: str = ""
) -> list[Evaluation]:
    return [
        Evaluation(
            id=new_id(container.clock.wall()),
            trigger=model.name,
            rule=outcome.rule,
            at=at,
            value=outcome.value,
            threshold=outcome.threshold,
            fired=outcome.fired,
            reason=outcome.reason,
            run=run if outcome.fired else "",
        )
        for outcome in outcomes
    ]


def _frozen(container: Container, model: Model) -> str:
    held = frozen(container, model.name)
    return held.why if held else broken_upstream(container, model) or cramped(container)


def _on_its_way(container: Container, model: Model) -> str:
    """What of this model is trained, judged or tried out already; empty where nothing is."""
    store, name = container.store, model.name
    runs = store.find(Run, ("model", "=", name), ("state", "in", ["queued", "running"]), limit=1)
    if runs:
        return f"run/{runs[0].id} is {runs[0].state}"
    if versions := coming(container, ("model", "=", name)):
        return f"model/{name}@{versions[0].version} is {versions[0].stage}"
    rollouts = store.find(Rollout, ("deployment", "=", name), ("state", "=", "running"), limit=1)
    return f"model/{name}@{rollouts[0].candidate} is being rolled out" if rollouts else ""


def _recent(container: Container, model: Model, when: When) -> list[datetime]:
    """When the trainings that the budget counts began, however they ended."""
    if when.at_most is None:
        return []
    since = container.clock.now() - parse_duration(when.at_most[1])
    found = container.store.find(Run, ("model", "=", model.name), ("created_at", ">", since))
    return [run.created_at for run in found if run.kind == "train"]


def _fires_since(
    container: Container, model: Model, when: When, news: dict[str, Happened], last: Run | None
) -> dict[str, datetime]:
    """Since when each rule fires without a break, or since when nothing more came of what it waits for."""
    if when.debounce is None:
        return {}
    found = {}
    for rule in when.rules:
        name = name_of(rule)
        of: list[Where] = [("trigger", "=", model.name), ("rule", "=", name)]
        quiet = container.store.find(Evaluation, *of, ("fired", "=", False), order=["-at"], limit=1)
        after = [one.at for one in quiet] + ([last.created_at] if last else [])
        if after:
            of.append(("at", ">", max(after)))
        first = container.store.find(Evaluation, *of, ("fired", "=", True), order=["at"], limit=1)
        newest = [at for leaf in _names(rule) if leaf in news and (at := news[leaf].newest) is not None]
        since = [*(one.at for one in first), *newest]
        if since:
            found[name] = max(since)
    return found


def _names(rule: Rule) -> list[str]:
    """The names of the rules that a rule combines, or its own."""
    if isinstance(rule, AllOf | AnyOf):
        return [name for one in rule.rules for name in _names(one)]
    return [name_of(rule)]


def _train(
    container: Container,
    model: Model,
    ruling: Ruling,
    since: datetime | None,
    suspected: datetime | None,
    along: Callable[[Transaction, Run], None],
    did: list[str],
) -> Run | None:
    # Rows since before what is known to have changed are not worth a candidate.
    if since is not None and suspected is not None and suspected <= since:
        suspected = None
    try:
        run = submit(
            container,
            model.name,
            reason=ruling.reason,
            actor=f"trigger/{model.name}",
            changed_at=since,
            suspected_at=suspected,
            along=along,
        )
    except Conflict as error:  # no rows yet: the next evaluation tries again
        did.append(str(error))
        return None
    did.append(f"trigger/{model.name} fired: {ruling.reason}")
    return run


def _new_labels(container: Container, model: Model, last: Run | None) -> int:
    """Rows of the label's dataset that the last training had not pinned."""
    name = model.task.source.name
    record = container.store.get(Dataset, name)
    pinned = [parse_ref(text) for text in (last.inputs if last else [])]
    version = next((int(ref.version) for ref in pinned if ref.name == name), 0)
    seen = container.store.get(DatasetVersion, name, version)
    return (record.rows if record else 0) - (seen.rows if seen else 0)
