"""Why something is as it is, in a sentence: the reasons that were kept when each thing was done, in their order.

Of a version: why it was trained, what the gates said, how it was brought in, and what became of it. Of a run: why it
began and what it made. Of a deployment: why it serves what it serves. Of a model: why it was trained last, and why it
was not trained since.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.explain import resolved, why
from homeostat.app.trainingdata import DATA_SINCE, moment
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.events import Event
from homeostat.domain.records import Deployment, Evaluation, ModelVersion, Project, Run
from homeostat.domain.refs import Ref, number_of, parse_ref

_RULES: Final = 100  # more than a model has
_WORDS: Final = {
    "canary": "brought in as a canary",
    "champion": "made champion",
    "rolled-back": "rolled back",
    "superseded": "superseded",
}


class Fact(msgspec.Struct, frozen=True):
    """What was done, and why.

    Args:
        at: When, in the world's time.
        subject: To what, as a reference.
        what: As in ``accepted``.
        because: The reason that was given then.
    """

    at: datetime
    subject: str
    what: str
    because: str


class Reason(msgspec.Struct, frozen=True):
    """Why a thing is as it is.

    Args:
        ref: What was asked about, with the version that an alias points to.
        sentence: The facts as a sentence.
        facts: The oldest first.
    """

    ref: str
    sentence: str
    facts: list[Fact]


def reason(container: Container, ref: str) -> Reason:
    """Why ``ref`` is as it is: a model version or alias, a run, a deployment, or a model with retraining rules.

    Raises:
        BadReference: ``ref`` is no reference.
        BadRequest: nothing is kept of why such a thing is as it is.
        NotFound: there is no such thing.
    """
    parsed = resolved(container, parse_ref(ref if "/" in ref else f"model/{ref}"))
    tell: Callable[[Container, Ref], Reason] | None = _TELLS.get(parsed.kind)
    if parsed.kind == "model" and parsed.version:
        tell = _version
    if tell is None:
        raise BadRequest(
            f"nothing is kept of why {parsed} is as it is",
            remedy="Ask about model/NAME, model/NAME@VERSION, run/ID or deployment/NAME, or use homeostat lineage",
        )
    return tell(container, parsed)


def _version(container: Container, ref: Ref) -> Reason:
    record = container.store.get(ModelVersion, ref.name, number_of(ref.version) or 0)
    if record is None:
        raise NotFound(f"there is no {ref}", remedy=f"homeostat models show {ref.name} lists its versions")
    run = container.store.get(Run, record.run) if record.run else None
    facts = [_training(run)] if run is not None else []
    facts += [_changed(event) for event in _events(container, str(ref)) if "reason" in event.body]
    if not facts:
        return Reason(
            str(ref), f"{ref} was registered on {_time(record.created_at)}; nothing was decided of it.", []
        )
    return Reason(str(ref), _sentence(f"{ref} was", facts), facts)


def _run(container: Container, ref: Ref) -> Reason:
    run = container.store.get(Run, ref.name)
    if run is None:
        raise NotFound(f"there is no {ref}", remedy="homeostat runs ls lists them")
    facts = [Fact(run.created_at, str(ref), "began", run.reason)]
    if run.ended_at is not None:
        facts.append(Fact(run.ended_at, str(ref), run.state, run.error))
    made = container.store.find(ModelVersion, ("run", "=", run.id), limit=1)
    if made:
        version = str(Ref("model", made[0].model).at(made[0].version))
        facts.append(
            Fact(made[0].created_at, version, f"made {version}, now {made[0].stage}", made[0].stage_reason)
        )
    return Reason(str(ref), _sentence(str(ref), facts), facts)


def _deployment(container: Container, ref: Ref) -> Reason:
    found = container.store.get(Deployment, ref.name)
    if found is None:
        raise NotFound(f"there is no {ref}", remedy="homeostat status lists them")
    newest = container.ledger.find(subject=str(ref), kinds=["deployment.changed"], limit=1)
    arms = " and ".join(f"@{arm.version} as {arm.role} ({arm.weight:.0%})" for arm in found.arms)
    serves = f"serves {arms}" if arms else "serves nothing"
    facts = [Fact(event.at, str(ref), serves, event.body["reason"]) for event in newest]
    since = f" since {_time(facts[0].at)}: {facts[0].because}" if facts else ": nothing was accepted yet"
    return Reason(str(ref), f"{ref} {serves}{since}.", facts)


def _model(container: Container, ref: Ref) -> Reason:
    """The last training, and the rules as they were looked at last."""
    store = container.store
    of = store.find(Run, ("model", "=", ref.name), ("kind", "=", "train"), order=["-created_at"], limit=1)
    facts = [_training(run) for run in of]
    last = f"trained last on {_time(of[0].created_at)}: {of[0].reason}" if of else "never trained"
    said = f"{ref} was {last}"
    rules = _rules(container, ref.name)
    if rules is False:
        return Reason(str(ref), f"{said}; it has no rules to be trained again by.", facts)
    looked = why(container, ref.name, limit=_RULES)
    if not looked:
        return Reason(str(ref), f"{said}; its rules were not looked at yet.", facts)
    newest = [one for one in looked if one.at == looked[0].at]
    facts += [Fact(one.at, f"trigger/{ref.name}", _rule(one), one.reason) for one in newest]
    if any(one.run for one in newest):
        return Reason(str(ref), f"{said}.", facts)
    held = "; ".join(f"{one.rule}: {one.reason}" for one in newest)
    return Reason(
        str(ref),
        f"{said}; at the last look, on {_time(looked[0].at)}, nothing was to be done: {held}.",
        facts,
    )


def _rules(container: Container, name: str) -> bool | None:
    """Whether a model is declared with rules; None where it is not declared, as one that was removed."""
    model = declared(container).models.get(name) if container.store.find(Project, limit=1) else None
    return None if model is None else model.retrain is not None


_TELLS: Final = {"model": _model, "trigger": _model, "run": _run, "deployment": _deployment}


def _events(container: Container, subject: str) -> list[Event]:
    return container.ledger.find(subject=subject, limit=1_000)[::-1]


def _training(run: Run) -> Fact:
    since = moment(run.tags, DATA_SINCE)
    what = f"trained on what came since {_time(since)} alone" if since else "trained"
    return Fact(run.created_at, f"run/{run.id}", what, run.reason)


def _changed(event: Event) -> Fact:
    word = event.kind.partition(".")[2]
    return Fact(event.at, event.subject, _WORDS.get(word, word.replace("-", " ")), str(event.body["reason"]))


def _rule(evaluation: Evaluation) -> str:
    return f"{evaluation.rule}: {'fired' if evaluation.fired else 'did not fire'}"


def _sentence(subject: str, facts: list[Fact]) -> str:
    """What was done, in its order; when, where it is another day than before."""
    told, before = [], None
    for fact in facts:
        on = f" on {_time(fact.at)}" if fact.at.date() != before else ""
        told.append(f"{fact.what}{on}{f': {fact.because}' if fact.because else ''}")
        before = fact.at.date()
    return f"{subject} {'; '.join(told)}."


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
