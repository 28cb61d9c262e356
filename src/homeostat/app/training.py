"""A training run, from submission to a judged candidate.

``submit`` pins every input and queues the run; ``execute`` runs in a process of its own, or in that of a command that
has no server; ``judge`` lets the gates decide. Each ends in one transaction of state, event and edges, and each can be
repeated after a crash.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import msgspec

from homeostat.app.apply import feature_set
from homeostat.app.asked import sent_to
from homeostat.app.code import find_model, project
from homeostat.app.competing import Fit, Progress, compete
from homeostat.app.container import Container
from homeostat.app.datasets import seal
from homeostat.app.fitting import fit, function_of
from homeostat.app.freezing import refuse_frozen
from homeostat.app.judging import champion_answers, judge
from homeostat.app.leases import lease_of, release, renewing
from homeostat.app.projects import checkout, importing
from homeostat.app.registry.packages import Shown, add_candidate, show
from homeostat.app.tracking.trainings import add_training, log_results
from homeostat.app.trainingdata import (
    CHANGED_AT,
    DATA_SINCE,
    SUSPECTED_AT,
    Split,
    datasets_of,
    split,
)
from homeostat.app.tuning import tuned
from homeostat.domain.declarations import Model
from homeostat.domain.errors import Conflict
from homeostat.domain.events import Edge, Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import FeatureView, Lease, ModelVersion, Run, RunState
from homeostat.domain.refs import Ref
from homeostat.engine.registry import formats, package
from homeostat.ports.meta import Transaction


def submit(
    container: Container,
    model: str,
    *,
    reason: str,
    actor: str = "user",
    using: str = "",
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    changed_at: datetime | None = None,
    suspected_at: datetime | None = None,
    attempt: int = 1,
    along: Callable[[Transaction, Run], None] = lambda tx, run: None,
) -> Run:
    """Queue a training with everything that has come up to now, pinned.

    Args:
        container: The ports.
        model: The model's name.
        reason: Why, in a sentence; kept with the run.
        actor: Who asked.
        using: ``module:function`` of the project in place of the declared training function.
        params: Keyword arguments for the training function.
        tags: Marks that stay with the run and the version it makes.
        changed_at: Since when the world is another: a candidate from the rows since then competes with one from all.
        suspected_at: Since when it may be another, where that is not known: those rows make a candidate as well.
        attempt: The number of this try.
        along: What else is recorded in the same transaction.

    Raises:
        NotFound: no such model or function.
        Conflict: a dataset that it needs has no rows, the training function takes no such parameter, or it is frozen.
    """
    declaration = find_model(container, model)
    refuse_frozen(container, model)
    code = project(container).source
    function = function_of(container, declaration, code, using)
    _check_params(declaration, function, params or {})
    read = []
    for name in (*datasets_of(declaration), *sent_to(container, model)):
        version = seal(container, name)
        if version is None:
            raise Conflict(
                f"model/{model} needs dataset/{name}, which has no rows", remedy="Ingest some first"
            )
        read.append(version)
    inputs = [str(Ref("dataset", version.dataset).at(version.version)) for version in read]
    now = container.clock.now()
    run = Run(
        id=new_id(container.clock.wall()),
        kind="train",
        model=model,
        state="queued",
        reason=reason,
        actor=actor,
        attempt=attempt,
        function=using,
        params=params or {},
        tags=(tags or {})
        | {
            name: at.isoformat()
            for name, at in ((CHANGED_AT, changed_at), (SUSPECTED_AT, suspected_at))
            if at
        },
        inputs=inputs,
        features=_views(container, declaration),
        code=code,
        data_until=now,
        created_at=now,
    )
    with container.store.begin() as tx:
        run = add_training(container, tx, run, read)
        tx.append(
            Event(
                kind="run.submitted",
                subject=f"run/{run.id}",
                at=now,
                actor=actor,
                body={"model": model, "reason": reason, "tags": run.tags, "attempt": attempt},
                edges=tuple(
                    Edge(source, f"run/{run.id}", role)
                    for role, sources in (
                        ("input", inputs),
                        ("feature", run.features),
                        ("code", [f"code/{code[7:]}"]),
                    )
                    for source in sources
                ),
            )
        )
        along(tx, run)
    return run


def _views(container: Container, model: Model) -> list[str]:
    """The model's views at their newest versions."""
    out = []
    for view in model.features:
        versions = container.store.find(FeatureView, ("name", "=", view.name), order=["-version"], limit=1)
        out.append(str(view.ref.at(versions[0].version)))
    return out


def _check_params(model: Model, function: Callable[..., Any], params: dict[str, Any]) -> None:
    accepted = list(inspect.signature(function).parameters)[1:]
    for name in params:
        if name not in accepted:
            raise Conflict(
                f"the training function of model/{model.name} takes no parameter {name!r}",
                remedy=f"It takes {', '.join(accepted) or 'none'}",
            )


class Stopped(SystemExit):
    """Raised in the process of a job that is told to stop; any other exit is the training function's own."""


def execute(
    container: Container,
    run_id: str,
    *,
    progress: Progress = lambda text: None,
    using: Fit | None = None,
) -> ModelVersion | None:
    """Train, package and judge; returns the version, None when the run was not there to be executed.

    Args:
        container: The ports.
        run_id: The run, queued.
        progress: Is told what is being done.
        using: Fits and packages in place of ``fit``.

    Raises:
        HomeostatError: and whatever the training function raises; the run is recorded as failed first.
    """
    lease = lease_of(container, "job", f"run/{run_id}")
    run = _start(container, run_id, lease)
    if run is None:
        return None
    began = container.clock.monotonic()
    try:
        with renewing(container, lease):
            version, rows = _train(container, run, progress, using or fit)
    except Stopped:  # whoever comes next starts it again
        with container.store.begin() as tx:
            end(tx, container, run.id, "queued", "its process was told to stop")
        raise
    except KeyboardInterrupt:
        with container.store.begin() as tx:
            end(tx, container, run.id, "cancelled", "interrupted from the keyboard")
        raise
    except BaseException as error:
        took = container.clock.monotonic() - began
        fail(container, run.id, f"{type(error).__name__}: {error}", seconds=took)
        raise
    finally:
        release(container, lease)
    progress("judging by the gates")
    return judge(container, version.model, version.version, rows)


def _start(container: Container, run_id: str, lease: Lease) -> Run | None:
    """Mark a run as running, with the lease of who runs it: a run that no lease stands behind is known as lost."""
    with container.store.begin() as tx:
        run = tx.lock(Run, run_id)
        if run is None or run.state != "queued":
            return None
        now = container.clock.now()
        run = msgspec.structs.replace(run, state="running", started_at=now)
        tx.put(run, lease)
        tx.append(Event(kind="run.started", subject=f"run/{run.id}", at=now, body={"model": run.model}))
    return run


def fail(container: Container, run_id: str, error: str, *, seconds: float | None = None) -> None:
    """Record that a run failed, after so much real time; a run that ended already stays as it is."""
    with container.store.begin() as tx:
        end(tx, container, run_id, "failed", error, seconds)


def end(
    tx: Transaction,
    container: Container,
    run_id: str,
    state: RunState,
    error: str,
    seconds: float | None = None,
    again: str = "",
) -> bool:
    """Record that a run that was queued or running is neither, or queued again; says whether it was.

    ``again`` is the run that is its next attempt.
    """
    text = error.replace("\0", "")[:2000]
    run = tx.lock(Run, run_id)
    if run is None or run.state not in ("queued", "running"):
        return False
    now = container.clock.now()
    ended = now if state != "queued" else None
    if ended and seconds is None and run.started_at and container.settings.clock == "system":
        seconds = max((ended - run.started_at).total_seconds(), 0.0)  # nobody is left who timed it
    tx.put(msgspec.structs.replace(run, state=state, ended_at=ended, error=text, seconds=seconds))
    body = {"model": run.model, "error": text, "tags": run.tags} | ({"again": again} if again else {})
    tx.append(Event(kind=f"run.{state}", subject=f"run/{run.id}", at=now, body=body))
    return True


def _train(container: Container, run: Run, progress: Progress, using: Fit) -> tuple[ModelVersion, Split]:
    began = container.clock.monotonic()
    model = find_model(container, run.model, run.code)
    features = feature_set(container, model)
    progress("putting the training rows together, point in time")
    with ThreadPoolExecutor(1) as beside:
        prepared = beside.submit(formats.prepare)
        rows = split(container, run, model, features)
    prepared.result()
    with importing(checkout(container.blobs, run.code, container.settings.home)):
        function = function_of(container, model, run.code, run.function)
        run = msgspec.structs.replace(run, params=tuned(container, run, model, rows, function, progress))
    preparing = container.clock.monotonic() - began
    fitted, used = compete(
        container,
        run,
        model,
        rows,
        progress,
        using,
        lambda: champion_answers(container, model, features, rows).scores,
    )
    done = msgspec.structs.replace(
        run,
        state="succeeded",
        rows=fitted.rows,
        environment=fitted.manifest["files"][package.ENVIRONMENT],
        metrics=fitted.metrics,
        tags=run.tags | ({DATA_SINCE: used.since.isoformat()} if used.since else {}),
        ended_at=container.clock.now(),
        seconds=preparing + fitted.seconds,
    )
    shown = show(container, done, fitted.files, package.digest(fitted.manifest))
    return _complete(container, done, fitted.manifest, shown), used


def _complete(container: Container, run: Run, manifest: dict[str, Any], shown: Shown) -> ModelVersion:
    with container.store.begin() as tx:
        current = tx.lock(Run, run.id)
        if current is None or current.state != "running":
            raise Conflict(
                f"run/{run.id} was given up while it ran",
                remedy="Look at its error; it may have been retried",
            )
        # Clients may have renamed or deleted it meanwhile.
        run = msgspec.structs.replace(run, name=current.name, deleted_at=current.deleted_at)
        version = add_candidate(tx, container, run, manifest, shown)
        ref = str(Ref("model", run.model).at(version.version))
        tx.put(run)
        log_results(container, tx, run, version.created_at)
        body = {"model": run.model, "metrics": run.metrics, "rows": run.rows, "seconds": run.seconds}
        tx.append(
            Event(kind="run.succeeded", subject=f"run/{run.id}", at=version.created_at, body=body),
            Event(
                kind="model.version-created",
                subject=ref,
                at=version.created_at,
                body={"digest": version.digest, "tags": run.tags},
                edges=(Edge(f"run/{run.id}", ref, "produced"),),
            ),
        )
    return version
