"""Retraining rules: what each looks at, whether it fires, and whether a fired one may train now.

Nothing is looked up here: the caller gathers the Facts, and every evaluation gives an Outcome with its
number and a reason, whether it fired or not, so that "why was it (not) retrained?" always has an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import msgspec

from homeostat.domain.declarations.rules import (
    AllOf,
    AnyOf,
    CodeChange,
    ConceptDrift,
    ContractChange,
    Drift,
    DriftTest,
    Every,
    Message,
    NewLabels,
    Rule,
    Schedule,
    SloBurn,
    UpstreamModel,
    When,
)
from homeostat.domain.durations import format_duration, parse_duration
from homeostat.domain.metrics import HIGHER_IS_BETTER

# A service level on fewer labelled requests than this is not judged: log loss on ten requests is mostly luck.
LEAST_ROWS: Final = 100


class Drifted(Protocol):
    """How far one feature is from its reference; ``monitoring.drift.FeatureDrift`` is one."""

    @property
    def feature(self) -> str:
        """Its name."""

    @property
    def excess(self) -> float:
        """The population stability index beyond what chance explains."""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One service level as it stands: the value over the window, the bound, and how many rows it rests on."""

    value: float | None
    threshold: float
    rows: int
    higher: bool | None = None  # whether more is better; None: as the metric's name says


class Suspicion(msgspec.Struct, frozen=True, kw_only=True):
    """What the test of a drift rule says.

    Args:
        e: The evidence that something drifted.
        needed: What it takes for a report.
        drifted: Whether it was reached.
        suspects: The features that are behind it, the strongest first.
        sizes: Of the features, what ``measure`` names.
        watched: How many features are watched.
        rows: Rows that were looked at since the version took over.
        refused: Features that cannot be watched, with the training rows that it would take.
        measure: ``PSI``, the population stability index beyond chance over the rule's window; ``AUC``, how well a
            classifier tells the newest rows from those of training, 0.5 where it cannot.
    """

    e: float
    needed: float
    drifted: bool
    suspects: list[str]
    sizes: dict[str, float]
    watched: int
    rows: int
    refused: dict[str, int]
    measure: str = "PSI"


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule waits for, since the last training: how often it happened, when last, and what it was."""

    count: int
    what: str
    newest: datetime | None = None


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Money: what the trainings within the budget's time cost, and what the next one will, estimated from the last."""

    cost: float = 0.0
    next: float = 0.0


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Trainings in a row that failed: how many, why the last did, and until when none begins."""

    times: int
    error: str
    until: datetime


class Risen(msgspec.Struct, frozen=True, kw_only=True):
    """What the test of a concept drift rule says of a model's losses.

    Args:
        e: The evidence that they rose.
        needed: What it takes for a report.
        rows: Labelled answers that were looked at since the last change.
        since: When they likely rose: the time of the first request; None: nothing speaks for it.
        after: Labelled answers since then.
        risen: Whether it is reported.
        suspected: Whether it is likely, by a test without a promise where days differ.
    """

    e: float
    needed: float
    rows: int
    since: datetime | None
    after: int
    risen: bool
    suspected: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules look at.

    Args:
        now: The world's time.
        last_training_at: When the last training of this model began; None when there was none.
        trainings: When each training of the budget's time began.
        new_labels: Labelled rows that came since.
        drift: The features' drift, by the rule's ``window`` as it is written.
        suspicion: What the drift tests say, by the rule's name.
        risen: What the tests of losses say, by the rule's name.
        learned: Labelled rows that there were at the last training, since the last change of the world.
        levels: Service levels, by metric.
        happened: What came of what schedules, messages and rules about changes wait for, by the rule's name.
        fires_since: Since when a rule fires, by its name; one that is not here fires since now.
        spent: What the budget of money is compared with.
        failed: The trainings in a row that failed; None where the last did not.
        frozen: Why nothing may be trained now, such as a broken contract of the newest data; else empty.
        coming: What of the model is trained, judged or tried out already; else empty.
    """

    now: datetime
    last_training_at: datetime | None = None
    trainings: Sequence[datetime] = ()
    new_labels: int = 0
    drift: Mapping[str, Sequence[Drifted]] = field(default_factory=dict)
    suspicion: Mapping[str, Suspicion] = field(default_factory=dict)
    risen: Mapping[str, Risen] = field(default_factory=dict)
    learned: int = 0
    levels: Mapping[str, Level] = field(default_factory=dict)
    happened: Mapping[str, Happened] = field(default_factory=dict)
    fires_since: Mapping[str, datetime] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    failed: Failed | None = None
    frozen: str = ""
    coming: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation of one rule; ``held`` when it fired and still must wait."""

    rule: str
    value: float | None
    threshold: float | None
    fired: bool
    reason: str
    held: bool = False


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """All evaluations at one time, and what follows."""

    outcomes: list[Outcome]
    should_train: bool
    reason: str


def name_of(rule: Rule) -> str:
    """What a rule is called."""
    match rule:
        case Drift():
            among = f" in {', '.join(rule.of)}" if rule.of else ""
            return f"drift of {rule.features}{among} past {rule.threshold:g} over {rule.window}"
        case DriftTest():
            among = f" in {', '.join(rule.of)}" if rule.of else ""
            how = "joint drift" if rule.joint else "drift"
            over = f" over {rule.window}" if rule.window != DriftTest().window else ""
            return f"{how}{among}{over}, {rule.false_alarm:g} false a year"
        case SloBurn():
            return f"slo burn {rule.metric}"
        case ConceptDrift():
            return f"concept drift, {rule.false_alarm:g} false a year"
        case NewLabels():
            return f"new labels {rule.rows}" if rule.growth is None else f"new labels, growth {rule.growth:g}"
        case Every():
            return f"every {rule.period}"
        case Schedule():
            return f"schedule {rule.cron} {rule.timezone}"
        case ContractChange():
            among = f" of {', '.join(rule.of)}" if rule.of else ""
            return f"contract change{among}"
        case CodeChange():
            return "code change"
        case UpstreamModel():
            return f"upstream model {rule.model}"
        case Message():
            return f"message {rule.event}{f' from {rule.source}' if rule.source else ''}"
        case AllOf() | AnyOf():
            how = "all" if isinstance(rule, AllOf) else "any"
            return f"{how} of ({'; '.join(name_of(one) for one in rule.rules)})"


def evaluate(rule: Rule, facts: Facts) -> Outcome:
    """Whether ``rule`` fires, by itself."""
    match rule:
        case Drift():
            return _drift(rule, facts)
        case DriftTest():
            return _drift_test(rule, facts)
        case ConceptDrift():
            return _concept_drift(rule, facts)
        case SloBurn():
            return _slo_burn(rule, facts)
        case NewLabels():
            needed = rule.needed(facts.learned)
            fired = facts.new_labels >= needed
            reason = f"{facts.new_labels} labelled rows came since the last training, {needed} are needed"
            return _outcome(rule, facts.new_labels, needed, fired, reason)
        case Every():
            return _every(rule, facts)
        case Schedule() | ContractChange() | CodeChange() | UpstreamModel() | Message():
            found = facts.happened.get(name_of(rule))
            if found is None:
                return _outcome(rule, None, 1, False, "nothing was asked yet")
            return _outcome(rule, found.count, 1, found.count >= 1, found.what)
        case AllOf() | AnyOf():
            return _combined(rule, facts)


def decide(when: When, facts: Facts) -> Ruling:
    """Evaluate every rule, and train when any fires unless training is frozen or cools down."""
    outcomes = [evaluate(rule, facts) for rule in when.rules]
    fired = [outcome for outcome in outcomes if outcome.fired]
    if not fired:
        return Ruling(outcomes=outcomes, should_train=False, reason="no rule fired")
    hold = _hold(when, facts) or _bounces(when, facts, fired)
    if hold:
        outcomes = [
            msgspec.structs.replace(one, held=True, reason=f"{one.reason}; held: {hold}")
            if one.fired
            else one
            for one in outcomes
        ]
        names = ", ".join(one.rule for one in fired)
        return Ruling(outcomes=outcomes, should_train=False, reason=f"{names} fired, but held: {hold}")
    return Ruling(outcomes=outcomes, should_train=True, reason="; ".join(one.reason for one in fired))


def _hold(when: When, facts: Facts) -> str:
    if facts.frozen:
        return f"training is frozen, {facts.frozen}"
    if facts.coming:
        return facts.coming
    if (failed := facts.failed) is not None and facts.now < failed.until:
        return f"{failed.times} in a row failed, held until {failed.until:%Y-%m-%d %H:%M}: {failed.error}"
    if facts.last_training_at is not None:
        until = facts.last_training_at + parse_duration(when.cooldown)
        if facts.now < until:
            return f"within {when.cooldown} of the last training, until {until:%Y-%m-%d %H:%M}"
    if when.at_most is not None:
        most, span = when.at_most
        recent = sorted(at for at in facts.trainings if at > facts.now - parse_duration(span))
        if len(recent) >= most:
            free = recent[-most] + parse_duration(span)
            return f"the budget is {most} trainings in {span}, spent until {free:%Y-%m-%d %H:%M}"
    if when.budget is not None:
        amount, currency = when.money
        if facts.spent.cost + facts.spent.next > amount:
            return (
                f"the budget is {when.budget[0]} in {when.budget[1]}: {facts.spent.cost:.4g} {currency} were spent, "
                f"and a training costs about {facts.spent.next:.4g}"
            )
    return ""


def _bounces(when: When, facts: Facts, fired: Sequence[Outcome]) -> str:
    """Why what fires must stand for longer; empty once one of the rules has."""
    if when.debounce is None:
        return ""
    stood = max(facts.now - facts.fires_since.get(one.rule, facts.now) for one in fired)
    if stood >= parse_duration(when.debounce):
        return ""
    return f"it fires for {format_duration(stood)}, and must for {when.debounce}"


def _combined(rule: AllOf | AnyOf, facts: Facts) -> Outcome:
    """The value is how many of them fire; each says why it does or does not."""
    found = [evaluate(one, facts) for one in rule.rules]
    count, needed = sum(one.fired for one in found), len(found) if isinstance(rule, AllOf) else 1
    said = "; ".join(f"{one.reason} ({'fires' if one.fired else 'does not'})" for one in found)
    reason = f"{count} of {len(found)} fire, {needed} needed: {said}"
    return _outcome(rule, count, needed, count >= needed, reason)


def _drift(rule: Drift, facts: Facts) -> Outcome:
    """The value is that of the n-th most drifted feature, n being how many are needed."""
    watched = [one for one in facts.drift.get(rule.window, ()) if rule.watches(one.feature)]
    found = sorted(watched, key=lambda one: -one.excess)
    if len(found) < rule.features:
        reason = f"{len(found)} features could be compared over {rule.window}, {rule.features} needed"
        return _outcome(rule, None, rule.threshold, False, reason)
    value = found[rule.features - 1].excess
    past = [one for one in found if one.excess > rule.threshold]
    shown = ", ".join(f"{one.feature} {one.excess:.3f}" for one in (past or found)[:3])
    reason = (
        f"{len(past)} of {len(found)} features drifted past {rule.threshold:g} over {rule.window}, "
        f"{rule.features} needed; {'most' if past else 'nearest'}: {shown}"
    )
    return _outcome(rule, value, rule.threshold, len(past) >= rule.features, reason)


def _drift_test(rule: DriftTest, facts: Facts) -> Outcome:
    found = facts.suspicion.get(name_of(rule))
    if found is None:
        return _outcome(rule, None, None, False, "nothing was asked yet")
    refused = ", ".join(f"{name} ({rows:,})" for name, rows in list(found.refused.items())[:3])
    more = f" and {len(found.refused) - 3} more" if len(found.refused) > 3 else ""
    unwatched = (
        f"; not watched, since it takes more training rows, or a season they share: {refused}{more}"
        if found.refused
        else ""
    )
    if not found.watched:
        return _outcome(rule, None, found.needed, False, f"no feature can be watched{unwatched}")
    behind = ", ".join(
        f"{name} ({found.measure} {found.sizes.get(name, 0.0):.3f})" for name in found.suspects[:3]
    )
    reason = (
        f"evidence {found.e:.3g} of {found.needed:.3g} in {found.rows:,} rows of {found.watched} features"
        f"{f', behind it {behind}' if behind else ''}; "
        f"at most {rule.false_pages_a_month:.2g} false reports a month{unwatched}"
    )
    return _outcome(rule, found.e, found.needed, found.drifted, reason)


def _concept_drift(rule: ConceptDrift, facts: Facts) -> Outcome:
    found = facts.risen.get(name_of(rule))
    if found is None:
        return _outcome(rule, None, None, False, "nothing was asked yet")
    # Of evidence up to 1 there is none: it then speaks for no time, though one is the least unlikely.
    dated = found.since is not None and found.e > 1
    when = f", likely since {found.since:%Y-%m-%d %H:%M}, {found.after:,} of them" if dated else ""
    reason = f"evidence {found.e:.3g} of {found.needed:.3g} that losses rose in {found.rows:,} labelled answers{when}"
    return _outcome(rule, found.e, found.needed, found.risen, reason)


def _slo_burn(rule: SloBurn, facts: Facts) -> Outcome:
    level = facts.levels.get(rule.metric)
    if level is None or level.value is None:
        return _outcome(
            rule, None, level.threshold if level else None, False, f"{rule.metric} has no value yet"
        )
    if level.rows < LEAST_ROWS:
        reason = f"{rule.metric} rests on {level.rows} requests, {LEAST_ROWS} are needed to judge it"
        return _outcome(rule, level.value, level.threshold, False, reason)
    higher = level.higher
    if higher is None:
        higher = rule.metric.removeprefix("estimated ") in HIGHER_IS_BETTER
    fired = level.value < level.threshold if higher else level.value > level.threshold
    promised = f"at {'least' if higher else 'most'} {level.threshold:g} is promised"
    reason = f"{rule.metric} is {level.value:.4g} on {level.rows} requests, {promised}"
    return _outcome(rule, level.value, level.threshold, fired, reason)


def _every(rule: Every, facts: Facts) -> Outcome:
    period = parse_duration(rule.period)
    if facts.last_training_at is None:
        return _outcome(rule, None, period.total_seconds(), True, "it was never trained")
    since = facts.now - facts.last_training_at
    said = f"{since.total_seconds() / 86400:.1f} days since the last training, trained every {format_duration(period)}"
    return _outcome(rule, since.total_seconds(), period.total_seconds(), since >= period, said)


def _outcome(rule: Rule, value: float | None, threshold: float | None, fired: bool, reason: str) -> Outcome:
    return Outcome(
        rule=name_of(rule),
        value=None if value is None else float(value),
        threshold=None if threshold is None else float(threshold),
        fired=fired,
        reason=reason,
    )
