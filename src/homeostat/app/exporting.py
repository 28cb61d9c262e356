"""Exports: tracked work as it is in the store, told as a source, and written to where another store can read it.

What belongs to the loop alone, packages of versions that it trained, deployments and the ledger, stays, and traces do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from homeostat.app.artifacts import content
from homeostat.app.container import Container
from homeostat.app.importing import Progress, Steps, Summary
from homeostat.app.logged_models import logged_model_data
from homeostat.app.tracking import experiment_tags, histories, run_data
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import Alias, ModelVersion, Run
from homeostat.domain.traces import Trace
from homeostat.domain.tracking import (
    ArtifactFile,
    Experiment,
    LoggedModel,
    ModelTag,
    RegisteredModel,
)
from homeostat.engine.tracking.places import SCHEME, path_of, run_root
from homeostat.ports.meta import Where
from homeostat.ports.sources import (
    Columns,
    Item,
    Missing,
    Sink,
    SourceExperiment,
    SourceFile,
    SourceLoggedModel,
    SourceModel,
    SourceRun,
    SourceVersion,
)

_PAGE: Final = 500
_POINTS: Final = 1 << 20  # points held at once: some 50 MB
_KEYS: Final = 1 << 16
_SLICE: Final = 1 << 18


class StoreSource:
    """The tracked work of a store as a source; see the port.

    Args:
        container: The ports.
        experiments: The ids of experiments to tell of; None: all.
        runs: The ids of runs to tell of; None: all of the experiments, with their logged models and all registered
            models.
        deleted: Whether to tell of what is deleted, too; ``runs`` are told of in any case.
    """

    kind = "Homeostat store"

    def __init__(
        self,
        container: Container,
        *,
        experiments: Sequence[int] | None = None,
        runs: Sequence[str] | None = None,
        deleted: bool = False,
    ) -> None:
        self._container, self._runs = container, runs
        everything = deleted or runs is not None
        self._scope: tuple[Where, ...] = () if everything else (("deleted_at", "=", None),)
        if experiments is not None:
            self._scope += (("experiment", "in", sorted(set(experiments))),)
        self._all = experiments is None and runs is None
        self._experiments = {found.id: found for found in container.store.find(Experiment)}
        wanted = set(self._experiments) if experiments is None else set(experiments)
        if runs is not None:
            wanted = {run.experiment for run in container.store.find(Run, ("id", "in", list(runs)))}
        self._wanted = [found for id, found in sorted(self._experiments.items()) if id in wanted]
        if not everything:
            self._wanted = [found for found in self._wanted if found.deleted_at is None]

    def experiments(self) -> Iterator[Item[SourceExperiment]]:
        """Every experiment of the scope."""
        tags = experiment_tags(self._container, [found.id for found in self._wanted])
        for found in self._wanted:
            told = SourceExperiment(
                key=str(found.id),
                id=found.id,
                name=found.name,
                artifacts="" if found.artifacts.startswith(f"{SCHEME}:") else found.artifacts,
                tags=tags[found.id],
                created_at=found.created_at,
                updated_at=found.updated_at,
                deleted_at=found.deleted_at,
            )
            yield Item(f"experiment {found.name}", partial(_same, told))

    def count(self) -> int:
        """How many runs there are in the scope."""
        return self._container.store.count(Run, *self._where())

    def runs(self) -> Iterator[Item[SourceRun]]:
        """Every run of the scope."""
        last = ""
        while True:
            where: Where = ("id", ">", last)
            found = self._container.store.find(Run, *self._where(), where, order=["id"], limit=_PAGE)
            for run in found:
                yield Item(f"run {run.id}", partial(self._run, run))
            if len(found) < _PAGE:
                return
            last = found[-1].id

    def logged_models(self) -> Iterator[Item[SourceLoggedModel]]:
        """Every logged model of the scope."""
        where = self._scope
        if self._runs is not None:
            where += (("run", "in", list(self._runs)),)
        for found in self._container.store.find(LoggedModel, *where, order=["id"]):
            yield Item(f"logged model {found.id}", partial(self._logged_model, found))

    def models(self) -> Iterator[Item[SourceModel]]:
        """Every registered model, where all experiments are told of."""
        if self._all:
            for found in self._container.store.find(RegisteredModel):
                yield Item(f"model {found.name}", partial(self._model, found))

    def missing(self) -> Iterable[Missing]:
        """Traces stay where they are."""
        for found in self._wanted if self._runs is None else ():
            if count := self._container.store.count(Trace, ("experiment", "=", found.id)):
                reason = f"its traces, {count:,} of them, are not exported"
                yield Missing(f"experiment {found.name}", reason)

    def close(self) -> None:
        """The container is whose it was."""

    def _where(self) -> tuple[Where, ...]:
        return self._scope if self._runs is None else (*self._scope, ("id", "in", list(self._runs)))

    def _run(self, run: Run) -> SourceRun:
        data = run_data(self._container, [run.id])[run.id]
        owner = self._experiments.get(run.experiment)
        keys = sorted(metric.key for metric in data.metrics)
        return SourceRun(
            run=run,
            experiment=str(run.experiment),
            params=data.params,
            tags=data.tags,
            inputs=data.inputs,
            models=data.models,
            points=partial(self._points, run.id, keys),
            files=partial(self._files, run_root(owner.artifacts, run.id) if owner else ""),
        )

    def _points(self, run: str, keys: list[str]) -> Iterator[Columns]:
        for some, found in histories(self._container, run, keys, _POINTS):
            for start in range(0, len(some), _KEYS):
                part = found[start : start + _KEYS]
                number = np.repeat(np.arange(len(part), dtype=np.uint16), [len(one) for one in part])
                columns = [
                    np.concatenate([getattr(one, name) for one in part])
                    for name in ("value", "timestamp", "step")
                ]
                for at in range(0, len(number), _SLICE):
                    cut = slice(at, at + _SLICE)
                    yield Columns(
                        some[start : start + _KEYS], number[cut], *(column[cut] for column in columns)
                    )

    def _files(self, root: str) -> Iterator[SourceFile]:
        try:
            base = path_of(root)
        except BadRequest:  # they are where clients read them by themselves
            return
        last = ""
        while True:
            where: tuple[Where, ...] = (("root", "=", base), ("path", ">", last))
            found = self._container.store.find(ArtifactFile, *where, order=["path"], limit=_PAGE)
            for file in found:
                yield SourceFile(file.path, file.size, partial(content, self._container, file))
            if len(found) < _PAGE:
                return
            last = found[-1].path

    def _logged_model(self, found: LoggedModel) -> SourceLoggedModel:
        data = logged_model_data(self._container, [found.id])[found.id]
        return SourceLoggedModel(
            model=found,
            experiment=str(found.experiment),
            params=data.params,
            tags=data.tags,
            metrics=data.metrics,
            files=partial(self._files, found.artifacts),
        )

    def _model(self, found: RegisteredModel) -> SourceModel:
        store = self._container.store
        tags: dict[int, dict[str, str]] = {}
        for tag in store.find(ModelTag, ("model", "=", found.name)):
            tags.setdefault(tag.version, {})[tag.key] = tag.value
        versions = store.find(ModelVersion, ("model", "=", found.name), order=["version"])
        told = [version for version in versions if version.stage == "registered"]
        missing = [
            Missing(f"model {found.name}", f"version {version.version} was trained here, and stays")
            for version in versions
            if version.stage != "registered"
        ]
        numbers = {version.version for version in told}
        aliases = store.find(Alias, ("model", "=", found.name))
        return SourceModel(
            model=found,
            tags=tags.get(0, {}),
            versions=[SourceVersion(version=version, tags=tags.get(version.version, {})) for version in told],
            aliases={alias.alias: alias.version for alias in aliases if alias.version in numbers},
            missing=missing,
        )


def export(
    source: StoreSource,
    sink: Sink,
    *,
    place: str = "",
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Write what a store has of tracked work.

    Args:
        source: What of it.
        sink: Where to.
        place: What that is called in the summary.
        tell: Is told before each thing.

    Raises:
        StoreUnavailable: the store does not answer, or the place does not take it.
    """
    summary = Summary(source=source.kind, place=place)
    steps = Steps(source.count(), summary, tell)

    def experiment(given: SourceExperiment) -> None:
        sink.experiment(given)
        summary.experiments.add("new")

    def run(given: SourceRun) -> None:
        sink.run(replace(given, points=lambda: points_of(given), files=lambda: files_of(given)))
        summary.runs.add("new")
        summary.tell_all(given.missing)

    def logged_model(given: SourceLoggedModel) -> None:
        sink.logged_model(replace(given, files=lambda: files_of(given)))
        summary.logged_models.add("new")

    def model(given: SourceModel) -> None:
        sink.model(given)
        summary.models.add("new")
        for _ in given.versions:
            summary.versions.add("new")
        summary.tell_all(given.missing)

    def points_of(given: SourceRun) -> Iterator[Columns]:
        for columns in steps.points(given.points()):
            summary.points += len(columns.key)
            yield columns

    def files_of(given: SourceRun | SourceLoggedModel) -> Iterator[SourceFile]:
        for file in steps.files(given.files()):
            summary.files += 1
            summary.bytes += file.size
            yield file

    steps.take(source.experiments(), experiment)
    steps.take(source.runs(), run, runs=True)
    steps.take(source.logged_models(), logged_model)
    steps.take(source.models(), model)
    summary.tell_all(source.missing())
    sink.close()
    steps.end()
    return summary


def _same(told: SourceExperiment) -> SourceExperiment:
    return told
