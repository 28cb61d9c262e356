"""Serving wired: deployments from the store, packages from the blobs, features as they were at training.

A version is served with the project files it was trained with. Predicting reads the online store and nothing
else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from math import isnan
from operator import attrgetter
from socket import gethostname
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.admission import check_loading
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.fallbacks import LABEL, fallbacks, remembering
from homeostat.app.leases import lease_of, machine, take_over
from homeostat.app.projects import checkout, importing
from homeostat.app.reading import schemas
from homeostat.app.tracing.served import tracer_of
from homeostat.domain.contracts import ColumnType, attribute
from homeostat.domain.declarations import Dataset, FeatureView, Model, Windows
from homeostat.domain.digests import digest_of
from homeostat.domain.errors import Conflict, FeaturesMissing, HomeostatError, NotFound
from homeostat.domain.records import Deployment, Lease, ModelVersion, Run
from homeostat.engine.data.schema import schema_of
from homeostat.engine.features.featureset import FeatureSet
from homeostat.engine.registry import package
from homeostat.engine.registry.arrays import array_of, by_position
from homeostat.engine.registry.scores import one_number
from homeostat.engine.serving.fallbacks import Unloaded
from homeostat.engine.serving.frames import frame_of
from homeostat.engine.serving.plane import Plane, Spares
from homeostat.engine.serving.predictions import PROBABILITIES
from homeostat.engine.serving.scorer import SCORE, Derived, Loaded, Output, Scored, Spent
from homeostat.ports.clock import Clock
from homeostat.ports.online import OnlineStore

_KINDS: Final[Mapping[type, ColumnType]] = {str: "string", int: "integer", bool: "boolean"}


class ModelScorer:
    """Scores requests with a package and the features it was trained on. Safe for threads.

    Args:
        features: The model's feature views.
        schema: The columns of a request.
        package: The loaded version.
        online: Where the state of entities is.
        clock: For what the parts of the work take.
    """

    def __init__(
        self,
        features: FeatureSet,
        schema: pl.Schema,
        package: package.Package,
        online: OnlineStore,
        clock: Clock,
    ) -> None:
        self.features = features
        self.schema = schema
        self.package = package
        self._online = online
        self._clock = clock
        own = features.numbers
        self._own = pl.Schema({name: schema[name] for name in own})
        self._get = attrgetter(*map(attribute, own)) if len(own) > 1 else None
        asked = by_position(package.estimator, own) if self._get else None
        self._asked = replace(package, estimator=asked) if asked is not None else None

    def score(self, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> Scored:
        """One multi-get, the features, the scores; of features that are the request's own numbers, the scores alone.

        Raises:
            StoreUnavailable: the online store does not answer.
            FeaturesMissing: the model failed on a row whose features are not all there.
            BadScores: the model gave something that is no probability, or no number.
        """
        began = self._clock.monotonic()
        if self._get is not None:
            X = array_of(map(self._get, rows), len(self._own)) if self._asked else self._frame(rows)
            computed = self._clock.monotonic()
            scored = replace(self.answer(X, self._asked), features=Derived(rows, self._frame))
        else:
            found = self.features.online(frame_of(rows, self.schema), times, self._online)
            computed = self._clock.monotonic()
            scored = replace(self.answer(found.X), as_of=found.as_of, positions=found.positions)
        return replace(scored, spent=Spent(began, computed, self._clock.monotonic()))

    def answer(self, X: pl.DataFrame, asked: package.Package | None = None) -> Scored:
        """The scores of features, and of several classes the likeliest one and the probabilities of all.

        Args:
            asked: The package in another form, where ``X`` is of another.

        Raises:
            FeaturesMissing: the model failed on a row whose features are not all there.
            BadScores: the model gave something that is no probability, or no number.
        """
        try:
            found = (asked or self.package).predict(X)
        except HomeostatError:
            raise
        except Exception as error:
            if len(X) == 1 and (missing := self._missing(X)):
                raise _without(missing, error) from error
            raise
        classes = self.package.signature.classes
        if not classes:
            return Scored(found.tolist(), X)
        likeliest = [classes[place] for place in found.argmax(axis=1)]
        outputs = {LABEL: likeliest, PROBABILITIES: found}
        return Scored(one_number(found).tolist(), X, outputs=outputs)

    def _missing(self, X: Any) -> list[str]:
        """The features that one row lacks, given as a frame or as an array."""
        values = X.row(0) if isinstance(X, pl.DataFrame) else X[0].tolist()
        return [
            name
            for name, value in zip(self.features.names, values, strict=True)
            if value is None or (isinstance(value, float) and isnan(value))
        ]

    def _frame(self, rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
        return self.features.widened(frame_of(rows, self._own))


def _without(missing: Sequence[str], error: Exception) -> FeaturesMissing:
    """Why a model failed on a row that lacks features, most likely: few take a missing value."""
    why = str(error).strip().partition("\n")[0]
    return FeaturesMissing(
        f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing: {type(error).__name__}: {why}",
        remedy="Train a model that takes missing values, as by an imputer before it, or declare what to answer "
        "meanwhile: hs.Fallback(answer=…)",
    )


def load_version(container: Container, model: str, version: int) -> Loaded:
    """A version ready to answer, every file checked against its digest.

    Raises:
        NotFound: the version, its run, its code or one of its files is not there.
        Unsafe: a file was altered, holds a type that nobody allowed, or lacks the signatures that the project asks for.
        Conflict: the features that its code computes are not those it was trained on.
    """
    record = container.store.get(ModelVersion, model, version)
    if record is None:
        raise NotFound(f"there is no model/{model}@{version}", remedy="Deploy a version that exists")
    run = container.store.get(Run, record.run)
    if run is None or not run.code:
        raise NotFound(f"model/{model}@{version} has no run with code", remedy="Train it again")
    check_loading(container, record)
    model_then = find_model(container, model, run.code)
    with importing(checkout(container.blobs, run.code, container.settings.home)):
        loaded = container.package(record, model_then.trusted)
    signature = loaded.signature
    request = model_then.task.request
    # The request's own columns are those of the signature, whatever its contract has become since.
    schema = schema_of(signature.request)
    others = {n: dataset for n, dataset in _sources(model_then).items() if n != request.name}
    features = container.features(
        model_then.features,
        model_then.task,
        {request.name: schema, **schemas(container, others)},
    )
    trained = [column.name for column in signature.features]
    if features.names != trained:
        raise Conflict(
            f"model/{model}@{version} was trained on {trained} and its code now gives {features.names}",
            remedy="Train it again",
        )
    online = remembering(container)

    def recalled(age: timedelta) -> ModelScorer:
        return ModelScorer(features, schema, loaded, online.recalling(age), container.clock)

    return replace(
        _described(version, signature, loaded.example),
        scorer=ModelScorer(features, schema, loaded, online, container.clock),
        fallbacks=partial(
            fallbacks, classes=signature.classes, recalled=recalled if features.stored else None
        ),
    )


def describe_version(container: Container, model: str, version: int) -> Loaded:
    """What a request of a version must hold, from its package, and what answers by declaration; without its model.

    Raises:
        NotFound: there is no such version, or these files of its package are missing.
        Unsafe: one of them was altered.
    """
    record = container.store.get(ModelVersion, model, version)
    if record is None:
        raise NotFound(f"there is no model/{model}@{version}", remedy="Deploy a version that exists")
    signature, example = package.described(container.blobs, record.manifest)
    return _described(version, signature, example)


def _described(version: int, signature: package.Signature, example: Mapping[str, Any]) -> Loaded:
    return Loaded(
        version=version,
        scorer=Unloaded(f"version {version} is not loaded"),
        columns=signature.request,
        key=signature.key,
        time=signature.time,
        example=dict(example),
        outputs=_outputs(signature.classes),
        fallbacks=partial(fallbacks, classes=signature.classes, recalled=None),
    )


def _outputs(classes: Sequence[str | int | bool]) -> tuple[Output, ...]:
    """What an answer holds: the score, or of several classes the likeliest and the probabilities in their order."""
    if not classes:
        return (SCORE,)
    names = tuple(map(str, classes))
    return (Output(LABEL, _KINDS[type(classes[0])]), Output(PROBABILITIES, "float", len(classes), names))


def _sources(model: Model) -> dict[str, Dataset]:
    stored = [view.source for view in model.features if isinstance(view, FeatureView | Windows)]
    return {dataset.name: dataset for dataset in stored}


def _previous(container: Container, deployment: Deployment) -> int:
    from homeostat.app.guarding import refuge  # and with it the loop, of which a model server needs no more

    return refuge(container, deployment.name)


class ModelServing:
    """What one worker process serves, and the lease that says it lives.

    Args:
        container: The ports.
        worker: The worker's name.
        load: How a version is loaded.
    """

    def __init__(
        self,
        container: Container,
        worker: str,
        load: Callable[[Container, str, int], Loaded] = load_version,
    ) -> None:
        self._container = container
        self._worker = worker
        # One that starts again takes over its lease; those of other machines and homes have names like it.
        place = digest_of([*machine(), str(container.settings.home.resolve()), worker])
        self._lease = f"worker-{place.removeprefix('sha256:')[:16]}"
        self.plane = Plane(
            container.clock,
            source=lambda: container.store.find(Deployment),
            load=lambda model, version: load(container, model, version),
            sink=lambda deployment, frame: append_log(
                container, f"{deployment}.predictions", frame, once="prediction_id"
            ),
            tracer=tracer_of(container.settings, container.clock, container),
            spares=Spares(
                previous=lambda deployment: _previous(container, deployment),
                describe=lambda model, version: describe_version(container, model, version),
            ),
        )

    def beat(self, address: str, port: int) -> None:
        """Put the lease: ``address`` is the private socket; ``detail`` has port, generations and errors."""
        lease = lease_of(self._container, "worker", f"worker/{gethostname()}.{self._worker}", address=address)
        lease = msgspec.structs.replace(
            lease,
            id=self._lease,
            detail=lease.detail
            | {
                "port": port,
                "generation": self.plane.generations,
                "errors": self.plane.errors,
                "degraded": {
                    name: {"at": last.at.isoformat(), "kind": last.kind, "why": last.why}
                    for name, endpoint in self.plane.endpoints.items()
                    if (last := endpoint.degraded) is not None
                },
                "log": msgspec.to_builtins(self.plane.log.counts),
                "cpu": sum(os.times()[:2]),
                "rows": sum(endpoint.counts.rows for endpoint in self.plane.endpoints.values()),
            },
        )
        with self._container.store.begin() as transaction:
            take_over(transaction, self._container, lease)

    def leave(self) -> None:
        """Remove the lease, unless another process has taken it over."""
        with self._container.store.begin() as transaction:
            transaction.delete(Lease, ("id", "=", self._lease), ("pid", "=", os.getpid()))
