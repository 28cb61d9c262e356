"""Fitting: the training function is run, what it made is measured on the rows held out, and becomes a package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from homeostat.app import changing, estimating
from homeostat.app.answers import losses, together, told
from homeostat.app.competing import Fitted, Progress
from homeostat.app.container import Container
from homeostat.app.drifting import training_reference
from homeostat.app.projects import checkout, import_function, importing
from homeostat.app.trainingdata import Split, handed
from homeostat.domain.contracts import Column
from homeostat.domain.declarations import Model
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import Run
from homeostat.engine.data.schema import infer
from homeostat.engine.registry import conversion, metrics, package, scores
from homeostat.engine.tracking.capture import capture, seed


def fit(container: Container, run: Run, model: Model, rows: Split, progress: Progress) -> Fitted:
    """Run the training function, measure what it made on the rows held out, and keep it as a package.

    Args:
        container: The ports.
        run: Which training.
        model: What it trains, as declared in the run's code.
        rows: What it is trained on.
        progress: Is told what is being done.

    Raises:
        DeclarationError: the training function gave no classifier; and whatever it raises.
    """
    began, task = container.clock.monotonic(), model.task
    root = checkout(container.blobs, run.code, container.settings.home)
    data = handed(task, rows.train, run.params)
    seed(run.seed)
    progress(f"training on {len(data):,} rows")
    with importing(root):
        estimator = package.classifier(
            function_of(container, model, run.code, run.function)(data, **run.params)
        )
        if not hasattr(estimator, scores.method(task.type)):
            raise model_error(model, estimator)
        held = scores.predict(estimator, rows.holdout.X, task.type, len(task.classes))
        known = told(task, data.y, data.X)
        groups = together(task, rows.holdout.requests)
        measured = metrics.measures(task, known).evaluate(rows.holdout.y, held, groups)
        progress("packaging")
        converted = conversion.convert(estimator, rows.train.X, model.onnx) if model.onnx is not None else {}
        if (verdict := conversion.verdict_of(converted)) is not None:
            progress(verdict.reason)
        captured = capture(root)
        files = package.pack(
            estimator,
            signature(model, rows, run.features),
            environment=captured.environment,
            example=example(model, rows),
            reference=training_reference(model, rows, scores.one_number(held)).dump(),
            extra={package.FEATURES: msgspec.json.encode(rows.train.X.tail(1).row(0, named=True))}
            | converted
            | estimating.kept(model, rows.holdout.X, rows.holdout.y, held)
            | changing.kept(model, rows, held),
            trusted=model.trusted,
        )
    numbers = {f"holdout_{name}": value for name, value in measured.items()} | dict(data.metrics)
    return Fitted(
        files=files,
        manifest=package.store(container.blobs, files),
        metrics=numbers | known,
        rows=len(data),
        seconds=container.clock.monotonic() - began,
        loss=float(np.nanmean(losses(task, told(task, rows.holdout.y), rows.holdout.y, held, groups))),
    )


def model_error(model: Model, estimator: object) -> DeclarationError:
    """What to say of a training function that gave nothing that can be asked."""
    return model.error(
        f"its training function gave a {type(estimator).__name__}, which has no {scores.method(model.task.type)}",
        "Return the fitted classifier" if model.task.type != "regression" else "Return the fitted regressor",
    )


def function_of(container: Container, model: Model, code: str, using: str) -> Callable[..., Any]:
    """The training function of a run: the model's, or the one of the project's code that ``using`` names."""
    if not using:
        return model.train
    found: Callable[..., Any] = import_function(
        checkout(container.blobs, code, container.settings.home), using
    )
    return found


def signature(model: Model, rows: Split, views: list[str]) -> package.Signature:
    """What a request must hold and what the estimator was fitted on."""
    request = model.task.request
    columns: tuple[Column, ...] = request.columns or tuple(
        column
        for column in infer(rows.train.requests, request.keys)
        if not (request.name == model.task.source.name and column.name == model.task.label)
    )
    if request.name == model.task.source.name:
        columns = tuple(column for column in columns if column.name != model.task.label)
    return package.Signature(
        features=infer(rows.train.X.clear()),
        request=columns,
        key=request.keys,
        time=request.time,
        views=tuple(views),
        label=model.task.label,
        task=model.task.type,
        classes=model.task.classes,
    )


def example(model: Model, rows: Split) -> dict[str, Any]:
    """The newest training row as a request: it warms up whatever serves the model."""
    newest = rows.train.requests.tail(1).row(0, named=True)
    built: dict[str, Any] = msgspec.to_builtins(newest)
    return built
