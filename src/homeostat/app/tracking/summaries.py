"""Runs as people look at them: with all that was logged to them, found by the filter language, the best among them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracking.experiments import ensure_default, experiment_by_name
from homeostat.app.tracking.reading import RunData, run_data
from homeostat.app.tracking.runs import run
from homeostat.app.tracking.search import View, search_runs
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.numbers import Number, plain
from homeostat.domain.records import Run
from homeostat.domain.refs import number_of
from homeostat.domain.tracking import Experiment, Metric
from homeostat.engine.tracking import axes

Goal = Literal["min", "max"]

_PARENT: Final = "mlflow.parentRunId"
_PAGE: Final = 1000
_LOOKED_AT: Final = 20  # runs whose metrics are named where none has the one that is asked for
_COUNTED: Final = 10_000  # runs that are looked at although the best is known
_SHORTEST: Final = 4  # characters of an id that may stand for it


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run and the latest value of everything that was logged to it; None stands for NaN.

    ``axes`` says for metrics against what they are drawn, where that is not the step; ``models`` for logged models by
    their ids whether the run read (``input``) or made them (``output``).
    """

    id: str
    name: str
    experiment: str
    kind: str
    state: str
    actor: str
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    error: str
    parent: str
    deleted: bool
    params: dict[str, str]
    metrics: dict[str, Number]
    steps: dict[str, int]
    axes: dict[str, str] = {}
    tags: dict[str, str]
    inputs: list[str]
    models: dict[str, str] = {}


class Found(msgspec.Struct, frozen=True):
    """A page of runs, and the token of the next; empty when this is the last."""

    runs: list[RunSummary]
    token: str = ""


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """The best run by a metric, and how it came to be that.

    Args:
        run: The run: of those with the best value, the one that began first.
        metric: By which.
        goal: Whether less or more is better.
        value: The best value.
        ties: The ids of other runs that have exactly this value.
        compared: How many runs met the condition and have the metric.
        without: How many met the condition and have no such metric, or NaN.
        excluded: How many did not meet the condition.
        counted: These numbers are all there are; else there are more, which are worse.
        explanation: All of it in words.
    """

    run: RunSummary
    metric: str
    goal: Goal
    value: Number
    ties: list[str]
    compared: int
    without: int
    excluded: int
    counted: bool
    explanation: str

    def __repr__(self) -> str:
        return self.explanation


def find(
    container: Container,
    filter: str = "",
    *,
    experiments: Sequence[str] = (),
    order_by: Sequence[str] = (),
    view: View = "active",
    limit: int = 100,
    token: str = "",
) -> Found:
    """A page of runs with what was logged to them.

    Args:
        container: The ports.
        filter: Comparisons joined by AND, as in ``metrics.loss < 0.3 AND params.model = 'tree'``.
        experiments: Names or ids; none: all that are not deleted.
        order_by: Terms such as ``metrics.loss DESC``; the newest first by default.
        view: Which runs: those that are not deleted, those that are, or both.
        limit: How many at most, up to 1000.
        token: Where the page before ended.

    Raises:
        NotFound: there is no such experiment.
        BadRequest: the filter, an order, the limit or the token cannot be.
    """
    if not 1 <= limit <= _PAGE:
        raise BadRequest(f"the limit is {limit}", field="limit", remedy=f"Use 1 to {_PAGE}")
    names = experiments_named(container, experiments)
    page = search_runs(container, list(names), filter, view=view, order_by=order_by, limit=limit, token=token)
    data = run_data(container, [found.id for found in page.items])
    return Found([_summary(one, names[one.experiment], data[one.id]) for one in page.items], page.token)


def summary(container: Container, id: str) -> RunSummary:
    """One run; the beginning of its id will do where no other id begins so.

    Raises:
        NotFound: there is no such run.
        Conflict: several ids begin so.
    """
    found = container.store.get(Run, id)
    if found is None:
        found = _by_beginning(container, id)
    experiment = container.store.get(Experiment, found.experiment)
    data = run_data(container, [found.id])[found.id]
    return _summary(found, experiment.name if experiment else str(found.experiment), data)


def best(
    container: Container,
    metric: str,
    *,
    goal: Goal = "min",
    filter: str = "",
    experiments: Sequence[str] = (),
) -> Best:
    """The best run by the latest value of a metric.

    Args:
        container: The ports.
        metric: Its name.
        goal: Whether less or more is better.
        filter: A condition that runs must meet, in the filter language.
        experiments: Names or ids; none: all that are not deleted.

    Raises:
        NotFound: there is no such experiment, or no run that meets the condition has the metric.
        BadRequest: the condition or the goal cannot be.
    """
    if goal not in ("min", "max"):
        raise BadRequest(f"{goal!r} is no goal", field="goal", remedy="Use min or max")
    ids = list(experiments_named(container, experiments))
    quoted = "`" + metric.replace("`", "``") + "`"
    order = [f"metrics.{quoted} {'ASC' if goal == 'min' else 'DESC'}", "attributes.start_time ASC"]
    met, without, ties, value, token = 0, 0, list[str](), None, ""
    some: list[str] = []
    while True:
        page = search_runs(container, ids, filter, order_by=order, limit=_PAGE, token=token)
        values = _values(container, page.items, metric)
        some = some or [one.id for one in page.items[:_LOOKED_AT]]
        for one in page.items:
            met += 1
            mine = values.get(one.id)
            if mine is None:
                without += 1
            elif value is None or mine == value:
                value = mine
                ties.append(one.id)
        token = page.token
        if not token or (met >= _COUNTED and (without or values.get(page.items[-1].id) != value)):
            break
    if value is None:
        raise NotFound(
            f"none of {met} runs has a value of metric {metric!r}",
            remedy=_metrics_of(container, some),
        )
    excluded = _count(container, ids) - met if filter and not token else 0
    first = summary(container, ties[0])
    told = Best(
        run=first,
        metric=metric,
        goal=goal,
        value=plain(value),
        ties=ties[1:],
        compared=met - without,
        without=without,
        excluded=excluded,
        counted=not token,
        explanation="",
    )
    return msgspec.structs.replace(told, explanation=_explained(told, filter))


def experiments_named(container: Container, given: Sequence[str]) -> dict[int, str]:
    """The names of experiments by id; of all that are not deleted where none is given.

    Args:
        container: The ports.
        given: Their names or ids.

    Raises:
        NotFound: there is no such experiment.
    """
    ensure_default(container)
    if not given:
        return {one.id: one.name for one in container.store.find(Experiment, ("deleted_at", "=", None))}
    found: dict[int, str] = {}
    for text in given:
        one = experiment_by_name(container, text)
        if one is None and (number := number_of(text)) is not None:
            one = container.store.get(Experiment, number)
        if one is None:
            raise NotFound(
                f"there is no experiment {text!r}", remedy="See homeostat runs ls for those there are"
            )
        found[one.id] = one.name
    return found


def _by_beginning(container: Container, id: str) -> Run:
    if len(id) < _SHORTEST:
        exact = container.store.get(Run, id)
        if exact is None:
            raise NotFound(
                f"no run has the id {id!r}",
                remedy=f"Give the whole of it, or its beginning of {_SHORTEST} characters at least",
            )
        return exact
    found = container.store.find(Run, ("id", ">=", id), ("id", "<", id + "\x7f"), limit=2)
    if not found:
        return run(container, id)
    if len(found) > 1:
        raise Conflict(f"several runs begin with {id!r}", remedy="Give more of the id")
    return found[0]


def _values(container: Container, runs: Sequence[Run], metric: str) -> dict[str, float | None]:
    ids = [one.id for one in runs]
    found = container.store.find(Metric, ("run", "in", ids), ("key", "=", metric))
    return {one.run: one.value for one in found}


def _metrics_of(container: Container, runs: Sequence[str]) -> str:
    """What to do where no run has a metric: the names of those that some have."""
    found = sorted({one.key for one in container.store.find(Metric, ("run", "in", list(runs)))})
    own = [name for name in found if not name.startswith("system/")]
    return (
        f"Name one that they have: {', '.join(own[:20])}"
        if own
        else "See homeostat runs ls for what there is"
    )


def _count(container: Container, experiments: Sequence[int]) -> int:
    return container.store.count(Run, ("experiment", "in", list(experiments)), ("deleted_at", "=", None))


def _explained(told: Best, filter: str) -> str:
    way = "least" if told.goal == "min" else "greatest"
    count = f"{'' if told.counted else 'more than '}{told.compared:,} run{'' if told.compared == 1 else 's'}"
    text = f"run/{told.run.id} has the {way} {told.metric}, {told.value:.6g}, of {count}."
    if told.ties:
        others = f"{len(told.ties):,} other run{'s have' if len(told.ties) > 1 else ' has'}"
        text += f" {others} exactly the same; it is the one that began first."
    if told.without:
        text += f" Not counted, for they have no value of it: {told.without:,}."
    if filter and told.counted:
        text += f" Not counted, for they do not meet {filter}: {told.excluded:,}."
    return text


def _summary(found: Run, experiment: str, data: RunData) -> RunSummary:
    took = found.ended_at - found.started_at if found.ended_at and found.started_at else None
    return RunSummary(
        id=found.id,
        name=found.name,
        experiment=experiment,
        kind=found.kind,
        state=found.state,
        actor=found.actor,
        started_at=found.started_at,
        ended_at=found.ended_at,
        seconds=took.total_seconds() if took is not None else None,
        error=found.error,
        parent=data.tags.get(_PARENT, ""),
        deleted=found.deleted_at is not None,
        params=dict(sorted(data.params.items())),
        metrics={one.key: plain(one.value) for one in sorted(data.metrics, key=lambda one: one.key)},
        steps={one.key: one.step for one in data.metrics},
        axes={
            one.key: axis for one in data.metrics if (axis := axes.axis_of(data.tags, one.key)) != axes.STEP
        },
        tags=dict(sorted(data.tags.items())),
        inputs=[
            one.source if one.source_type == "homeostat" else f"{one.name}@{one.digest}"
            for one in data.inputs
        ],
        models={one.model: one.role for one in data.models},
    )
