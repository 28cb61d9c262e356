"""Searching for the parameters of a training, before it: trials that are runs, within a budget of number and time.

A trial learns from the older four fifths of the rows to learn from and is measured on the newest fifth, by the task's
loss; where rows have no time, on a fifth of them by chance. Of a ranking it is a fifth of the queries. The rows held
out for the gates are never seen. What is declared and what the champion has are tried first, so that a search loses
nothing that was known. The rest is chosen by Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms
for hyper-parameter optimization", NIPS 2011).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from homeostat.app.answers import losses, together, told
from homeostat.app.competing import Progress
from homeostat.app.container import Container
from homeostat.app.registry.pointers import champion_version
from homeostat.app.tracking.logs import log
from homeostat.app.tracking.runs import create_run, update_run
from homeostat.app.trainingdata import Rows, Split, handed, queries_of
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.tuning import Numbers, Tuning
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import NotInstalled
from homeostat.domain.records import Run
from homeostat.domain.tracking import RunTag
from homeostat.engine.registry import package, scores
from homeostat.engine.tracking.capture import seed
from homeostat.engine.tracking.points import Point
from homeostat.ports.meta import Where

if TYPE_CHECKING:
    import optuna

PARENT: Final = "mlflow.parentRunId"
_MEASURED: Final = 0.2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Train = Callable[..., Any]


def tuned(
    container: Container, run: Run, model: Model, rows: Split, train: Train, progress: Progress
) -> dict[str, Any]:
    """The parameters that a training is to have: those that did best, or its own where it was given any.

    Args:
        container: The ports.
        run: Which training.
        model: What it trains.
        rows: What it learns from.
        train: The training function.
        progress: Is told what is being done.

    Raises:
        NotInstalled: Optuna is not there.
    """
    tuning = model.tune
    if tuning is None or run.params or run.function:
        return run.params
    study = _study(run)
    parts = _parts(model, rows, run.seed)
    for known in _known(container, model, tuning, train):
        study.enqueue_trial(known, skip_if_exists=True)
    until = container.clock.monotonic() + parse_duration(tuning.within).total_seconds()
    for number in range(1, tuning.trials + 1):
        if container.clock.monotonic() > until:
            progress(f"no further trial is begun: {tuning.within} are over")
            break
        trial = study.ask()
        params = {name: _ask(trial, name, where) for name, where in tuning.space.items()}
        found = _try(container, run, model, parts, train, params, number)
        if found is None:
            import optuna

            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        study.tell(trial, found)
        progress(
            f"trial {number} of {tuning.trials}: {model.task.loss} {found:.4g}, best {study.best_value:.4g}"
        )
    if all(one.value is None for one in study.trials):
        progress("no trial succeeded: it is trained with the defaults of its function")
        return {}
    return dict(study.best_params)


def abandon(container: Container, run: Run) -> None:
    """Record that the trials of a training whose process died ended with it."""
    of: list[Where] = [("kind", "=", "run"), ("state", "=", "running"), ("experiment", "=", run.experiment)]
    for trial in container.store.find(Run, *of):
        tag = container.store.get(RunTag, trial.id, PARENT)
        if tag is not None and tag.value == run.id:
            update_run(container, trial.id, state="failed", error=f"run/{run.id} lost its process")


def _study(run: Run) -> optuna.Study:
    try:
        import optuna
    except ImportError as error:
        raise NotInstalled(
            f"hs.Tuning needs Optuna, which cannot be imported: {error}",
            remedy="Run: pip install 'homeostat[tuning]'",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=run.seed))


def _ask(trial: optuna.Trial, name: str, where: Any) -> Any:
    if not isinstance(where, Numbers):
        return trial.suggest_categorical(name, where.values)
    if where.whole:
        return trial.suggest_int(name, int(where.low), int(where.high), log=where.log)
    return trial.suggest_float(name, where.low, where.high, log=where.log)


def _known(container: Container, model: Model, tuning: Tuning, train: Train) -> Iterator[dict[str, Any]]:
    """What is known to work: the defaults of the training function, and what the champion was trained with."""
    accepted = inspect.signature(train).parameters
    defaults = {name: accepted[name].default for name in tuning.space}
    version = champion_version(container.store, model.name)
    of = container.store.get(Run, version.run) if version is not None else None
    for params in (defaults, of.params if of is not None else {}):
        if all(name in params and _within(where, params[name]) for name, where in tuning.space.items()):
            yield {name: params[name] for name in tuning.space}


def _within(where: Any, value: Any) -> bool:
    if not isinstance(where, Numbers):
        return value in where.values
    return isinstance(value, int | float) and where.low <= value <= where.high


def _parts(model: Model, rows: Split, of: int) -> tuple[Rows, Rows]:
    """What trials learn from, and what they are measured on."""
    queries = queries_of(model.task, rows.train)
    units = np.arange(len(rows.train.y)) if queries is None else queries  # no query is on both sides
    count = int(units[-1]) + 1
    measured = np.arange(count) >= count - max(round(count * _MEASURED), 1)
    if model.task.request.time is None:
        measured = np.random.default_rng(of).permutation(measured)
    held = measured[units]
    kept: list[Rows] = []
    for part in (~held, held):
        mask = pl.Series(part)
        kept.append(Rows(rows.train.requests.filter(mask), rows.train.X.filter(mask), rows.train.y[part]))
    return kept[0], kept[1]


def _try(
    container: Container,
    run: Run,
    model: Model,
    parts: tuple[Rows, Rows],
    train: Train,
    params: Mapping[str, Any],
    number: int,
) -> float | None:
    """The loss of one trial, which is kept as a run below the training; None where it failed."""
    task, (learned, held) = model.task, parts
    trial = create_run(
        container,
        run.experiment,
        name=f"{run.name}-trial-{number}"[:250],
        actor=run.actor,
        tags={PARENT: run.id},
    )
    log(container, trial.id, params={name: str(value)[:6000] for name, value in params.items()})
    data = handed(task, learned, params)
    seed(run.seed)
    try:
        estimator = package.classifier(train(data, **params))
        answers = scores.predict(estimator, held.X, task.type, len(task.classes))
        known, groups = told(task, held.y), together(task, held.requests)
        loss = float(np.nanmean(losses(task, known, held.y, answers, groups)))
    except Exception as error:  # noqa: BLE001 - parameters that cannot be are what a search finds out
        update_run(container, trial.id, state="failed", error=f"{type(error).__name__}: {error}"[:2000])
        return None
    except BaseException:  # told to stop: the training is begun again, with trials of its own
        update_run(container, trial.id, state="cancelled", error="its training was told to stop")
        raise
    at = (container.clock.now() - _EPOCH) // timedelta(milliseconds=1)
    log(container, trial.id, metrics=[Point(task.loss, loss, timestamp=at)])
    update_run(container, trial.id, state="succeeded")
    return loss if np.isfinite(loss) else None
