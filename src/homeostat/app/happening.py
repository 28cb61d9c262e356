"""What rules wait for that happens once: occasions of schedules, messages, changes of contracts, code and champions.

Each is counted from the last training on, but not from before its rule was first looked at: a schedule that is declared
today has missed nothing. Code and contracts are compared with those that the last training used.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from homeostat.app.clocks import settled
from homeostat.app.code import declared, find_model
from homeostat.app.container import Container
from homeostat.app.trainingdata import datasets_of
from homeostat.domain import records
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.code import code_digest
from homeostat.domain.declarations.rules import (
    CodeChange,
    ContractChange,
    Message,
    News,
    Schedule,
    UpstreamModel,
    occasions,
)
from homeostat.domain.errors import HomeostatError
from homeostat.domain.records import Alias, Evaluation, Run
from homeostat.engine.control.rules import Happened, name_of
from homeostat.ports.meta import Where

_MOST: Final = 1000  # occasions that are counted


def happened(container: Container, model: Model, last: Run | None) -> dict[str, Happened]:
    """What came of each such rule of a model since its ``last`` training, by the rule's name."""
    found = {}
    for rule in model.retrain.leaves if model.retrain else ():
        if isinstance(rule, News):
            name = name_of(rule)
            found[name] = _look(container, model, last, rule, _since(container, model, name, last))
    return found


def newest_occasion(model: Model, now: datetime) -> datetime | None:
    """The last occasion of any schedule of a model up to ``now``."""
    rules = model.retrain.leaves if model.retrain else ()
    found = [_last_occasion(rule, now) for rule in rules if isinstance(rule, Schedule)]
    return max((one for one in found if one is not None), default=None)


def newest_message(container: Container, model: Model) -> datetime | None:
    """When the last message came that any rule of a model waits for."""
    rules = model.retrain.leaves if model.retrain else ()
    found = [_messages(container, rule, None, limit=1) for rule in rules if isinstance(rule, Message)]
    return max((one[0].at for one in found if one), default=None)


def newest_champion(container: Container, model: Model) -> datetime | None:
    """When any model that a rule of a model waits for had its champion changed last."""
    rules = model.retrain.leaves if model.retrain else ()
    found = [
        container.store.get(Alias, rule.model, "champion")
        for rule in rules
        if isinstance(rule, UpstreamModel)
    ]
    return max((one.at for one in found if one is not None), default=None)


def _look(container: Container, model: Model, last: Run | None, rule: News, since: datetime) -> Happened:
    match rule:
        case Schedule():
            return _schedule(rule, max(since, settled(container) or since), container.clock.now())
        case Message():
            return _message(container, rule, since)
        case UpstreamModel():
            return _upstream(container, rule, since)
        case CodeChange():
            return _code(container, model, last)
        case ContractChange():
            return _contracts(container, model, last, rule)


def _since(container: Container, model: Model, rule: str, last: Run | None) -> datetime:
    """From when on a rule counts: the last training, or when the rule was first looked at, if that was later."""
    of: list[Where] = [("trigger", "=", model.name), ("rule", "=", rule)]
    first = container.store.find(Evaluation, *of, order=["at"], limit=1)
    begun = first[0].at if first else container.clock.now()
    return max(begun, last.created_at) if last else begun


def _last_occasion(rule: Schedule, at: datetime) -> datetime | None:
    return next(occasions(rule.cron, rule.timezone, at + timedelta(microseconds=1), back=True), None)


def _schedule(rule: Schedule, since: datetime, now: datetime) -> Happened:
    passed: list[datetime] = []
    for one in islice(occasions(rule.cron, rule.timezone, since), _MOST):
        if one > now:
            break
        passed.append(one)
    if not passed:
        following = next(occasions(rule.cron, rule.timezone, now), None)
        when = f"is due at {following:%Y-%m-%d %H:%M}" if following else "never comes"
        return Happened(count=0, what=f"the next occasion of {rule.cron!r} ({rule.timezone}) {when}")
    newest = _last_occasion(rule, now) or passed[-1]
    if len(passed) == 1:
        what = f"{rule.cron!r} ({rule.timezone}) was due at {newest:%Y-%m-%d %H:%M}"
    else:
        count = f"{len(passed)}" if len(passed) < _MOST else f"{_MOST} or more"
        what = (
            f"{count} occasions of {rule.cron!r} ({rule.timezone}) were due from {passed[0]:%Y-%m-%d %H:%M} to "
            f"{newest:%Y-%m-%d %H:%M}; those that were missed are made up for by one training"
        )
    return Happened(count=len(passed), what=what, newest=newest)


def _messages(
    container: Container, rule: Message, since: datetime | None, limit: int | None = None
) -> list[records.Message]:
    of: list[Where] = [("type", "=", rule.event)]
    of += [("source", "=", rule.source)] if rule.source else []
    of += [("at", ">", since)] if since is not None else []
    return container.store.find(records.Message, *of, order=["-at"], limit=limit)


def _message(container: Container, rule: Message, since: datetime) -> Happened:
    found = _messages(container, rule, since)
    if not found:
        return Happened(count=0, what=f"no message {rule.event} came since {since:%Y-%m-%d %H:%M}")
    newest = found[0]
    about = f" about {newest.subject}" if newest.subject else ""
    told = (
        f"{len(found)} messages {rule.event} came, the last"
        if len(found) > 1
        else f"message {rule.event} came"
    )
    what = f"{told} from {newest.source}{about} at {newest.at:%Y-%m-%d %H:%M}"
    return Happened(count=len(found), what=what, newest=newest.at)


def _upstream(container: Container, rule: UpstreamModel, since: datetime) -> Happened:
    alias = container.store.get(Alias, rule.model, "champion")
    if alias is None:
        return Happened(count=0, what=f"model/{rule.model} has no champion yet")
    what = f"model/{rule.model}@{alias.version} is champion since {alias.at:%Y-%m-%d %H:%M}"
    if alias.at > since:
        return Happened(count=1, what=what, newest=alias.at)
    return Happened(count=0, what=f"{what}, as at the last training")


def _code(container: Container, model: Model, last: Run | None) -> Happened:
    if last is None:
        return Happened(count=1, what="no training used this code yet")
    try:
        before = find_model(container, model.name, last.code)
    except HomeostatError as error:  # such as a snapshot that newer releases refuse
        return Happened(count=1, what=f"the code of run/{last.id} cannot be loaded: {error}")
    old, new = ({view.name: view.digest for view in one.features} for one in (before, model))
    changed = _different(
        ("its training function", code_digest(before.train), code_digest(model.train)),
        *((f"feature view {name}", old.get(name), new.get(name)) for name in sorted({*old, *new})),
    )
    if not changed:
        return Happened(count=0, what=f"the code is that of run/{last.id}")
    return Happened(count=len(changed), what=f"since run/{last.id}, {', '.join(changed)}")


def _contracts(container: Container, model: Model, last: Run | None, rule: ContractChange) -> Happened:
    if last is None:
        return Happened(count=0, what="there was no training whose contracts would be others")
    try:
        before = declared(container, last.code).datasets
    except HomeostatError as error:
        return Happened(count=1, what=f"the contracts of run/{last.id} cannot be read: {error}")
    now = declared(container).datasets
    names = [name for name in datasets_of(model) if name in now and (not rule.of or name in rule.of)]
    changed = []
    for name in names:
        old = {column["name"]: column for column in _columns(before.get(name))}
        new = {column["name"]: column for column in _columns(now[name])}
        of = _different(*((f"column {key}", old.get(key), new.get(key)) for key in sorted({*old, *new})))
        changed += [f"dataset/{name}: {one}" for one in of]
    if not changed:
        return Happened(count=0, what=f"the contracts are those of run/{last.id}")
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return Happened(count=len(changed), what=f"since run/{last.id}, {'; '.join(changed[:3])}{more}")


def _columns(dataset: Any) -> list[dict[str, Any]]:
    return (dataset.spec()["columns"] or []) if dataset is not None else []


def _different(*parts: tuple[str, Any, Any]) -> list[str]:
    """What was added, removed or changed, of parts with what they were and are."""
    return [
        f"{name} {'is new' if before is None else 'is gone' if now is None else 'was changed'}"
        for name, before, now in parts
        if before != now
    ]
