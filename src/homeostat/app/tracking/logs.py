"""Logging to a run: points, parameters and tags. One call is one transaction, under the lock of its run.

What is logged is measured, not decided: it has no event. Only a new name of the run has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeostat.app.container import Container
from homeostat.app.tracking.runs import NAME_TAG, active_run, rename_in
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.records import Run
from homeostat.domain.tracking import LoggedModel, LoggedModelMetric, Param, RunTag
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.points import SMALL, Point, row_of
from homeostat.ports.meta import Transaction


def log(
    container: Container,
    run_id: str,
    *,
    metrics: Sequence[Point] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log to a run: all of it, or nothing when it raises.

    Args:
        container: The ports.
        run_id: The run.
        metrics: Points of metrics, in any order; one that was logged before adds nothing.
        params: Parameters, which never change: one that is there must have the same value.
        tags: Marks, which replace those of the same key.

    Raises:
        NotFound: there is no such run.
        BadRequest: the run is deleted, a name or number cannot be, or a parameter has another value already.
    """
    if metrics:
        from homeostat.app.tracking.points import rows_in
        from homeostat.engine.tracking.arrays import rows_of

        rows = rows_of(metrics)
    limits.check_params(params or {})
    limits.check_tags(tags or {})
    with container.store.begin() as tx:
        run = active_run(tx, run_id)
        if metrics:
            rows_in(tx, run, rows)
            _of_models(tx, run, metrics)
        log_in(container, tx, run, params=params, tags=tags)


async def log_soon(container: Container, run_id: str, point: Point) -> bool:
    """Log a point of a metric without waiting for others, as ``log`` would.

    Returns:
        Whether it is logged. Where it is not, ``log`` does it, or says why it cannot be.

    Raises:
        BadRequest: the point cannot be.
    """
    if point.model:
        return False
    limits.check_point(point.key, point.value, point.timestamp, point.step)
    return await container.points.append(
        run_id,
        point.key,
        point.value if point.value == point.value else None,
        point.step,
        point.timestamp,
        row=row_of(point),
        room=SMALL,
    )


def log_in(
    container: Container,
    tx: Transaction,
    run: Run,
    *,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log parameters and tags, which are not checked, to a run that this transaction has locked.

    Raises:
        BadRequest: a parameter has another value already.
    """
    if params:
        _params(tx, run, params)
    if tags:
        tx.put(*(RunTag(run=run.id, key=key, value=value) for key, value in tags.items()))
        if tags.get(NAME_TAG, run.name) != run.name:
            rename_in(container, tx, run, tags[NAME_TAG])


def _of_models(tx: Transaction, run: Run, points: Sequence[Point]) -> None:
    """Of points about logged models, each; of two at one place the later one counts.

    Raises:
        BadRequest: there is no such logged model; a deleted one is.
    """
    asked = {point.model for point in points if point.model}
    if not asked:
        return
    if unknown := asked - {one.id for one in tx.find(LoggedModel, ("id", "in", list(asked)))}:
        raise BadRequest(
            f"Logged model with ID {min(unknown)} not found",
            field="model_id",
            remedy="Create it first, or log the metric to the run alone",
        )
    found = {}
    for point in points:
        if point.model:
            made = LoggedModelMetric(
                model=point.model,
                key=point.key,
                run=run.id,
                dataset=point.dataset,
                digest=point.digest,
                value=point.value if point.value == point.value else None,
                step=point.step,
                timestamp=point.timestamp,
            )
            found[made.place] = made
    tx.put(*found.values())


def _params(tx: Transaction, run: Run, params: Mapping[str, str]) -> None:
    new = [Param(run=run.id, key=key, value=value) for key, value in params.items()]
    try:
        tx.insert(*new)
        return
    except Conflict:
        there = tx.find(Param, ("run", "=", run.id), ("key", "in", list(params)))
    known = {param.key: param.value for param in there}
    changed = {key: (known[key], params[key]) for key in known if known[key] != params[key]}
    if changed:
        key, (old, asked) = next(iter(changed.items()))
        raise BadRequest(
            f"Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' for"
            f" run ID='{run.id}'. Attempted logging new value '{asked}'",
            field="params",
            remedy="Log it under another name, or begin another run",
        )
    missing = [param for param in new if param.key not in known]
    if missing:
        tx.insert(*missing)


def tag_run(container: Container, run_id: str, key: str, value: str) -> None:
    """Mark a run.

    Raises:
        NotFound: there is no such run.
        BadRequest: it is deleted, or the tag cannot be.
    """
    log(container, run_id, tags={key: value})


def untag_run(container: Container, run_id: str, key: str) -> None:
    """Take a mark off a run.

    Raises:
        NotFound: there is no such run or mark.
        BadRequest: it is deleted.
    """
    with container.store.begin() as tx:
        active_run(tx, run_id)
        if not tx.delete(RunTag, ("run", "=", run_id), ("key", "=", key)):
            raise NotFound(f"No tag with name: {key} in run with id {run_id}")
