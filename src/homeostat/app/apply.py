"""Plan and apply: what a project declares against what the store holds. Applying twice changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final, Literal

import msgspec

from homeostat.app.container import Container
from homeostat.app.costs import check_budget
from homeostat.app.deployments import set_fallback
from homeostat.app.drifting import promises
from homeostat.app.files import columns_in, file_of, ingest_file
from homeostat.app.online import refresh
from homeostat.app.projects import Declared, snapshot
from homeostat.app.reading import declared_columns, schemas
from homeostat.app.registry.models import declare
from homeostat.app.rollouts import resume, stop
from homeostat.app.trainingdata import datasets_of
from homeostat.domain import records
from homeostat.domain.contracts import Column
from homeostat.domain.declarations import Dataset, FeatureView, Model, Windows
from homeostat.domain.declarations.rules import ContractChange, Drift, DriftTest, UpstreamModel, watched
from homeostat.domain.declarations.tasks import Class
from homeostat.domain.digests import digest_of
from homeostat.domain.errors import ContractBroken
from homeostat.domain.events import Edge, Event
from homeostat.domain.refs import Ref, parse_ref
from homeostat.engine.control.rules import name_of
from homeostat.engine.features.featureset import FeatureSet
from homeostat.engine.monitoring.reference import LABEL, SCORE
from homeostat.engine.registry import package
from homeostat.ports.meta import Transaction, Where

_NAMED: Final = 8


class Change(msgspec.Struct, frozen=True):
    """What applying does to one declaration.

    Args:
        ref: The declaration.
        action: What becomes of it.
        detail: The parts that differ.
        promises: How often each drift rule may report for nothing.
    """

    ref: str
    action: Literal["create", "update", "remove", "keep"]
    detail: str = ""
    promises: tuple[str, ...] = ()


def plan(container: Container, declared: Declared) -> list[Change]:
    """What ``apply`` would change, without changing anything.

    Raises:
        DeclarationError: a view or model that cannot work on its datasets, or a model with versions of another task.
        NotFound: a dataset's file is not there.
        ContractBroken: the columns of a file cannot be told.
    """
    _check(container, declared)
    project = container.store.get(records.Project, declared.name)
    before: dict[str, Any] = project.declared if project else {}
    for model in declared.models.values():
        _check_answers(container, model, before.get(str(model.ref), {}).get("task", {}))
    now = declared.specs()
    told = {f"model/{name}": promises(model) for name, model in declared.models.items()}
    changes = [
        msgspec.structs.replace(_change(ref, before.get(ref), spec), promises=told.get(ref, ()))
        for ref, spec in now.items()
    ]
    return changes + [Change(ref, "remove", _removal(ref)) for ref in before if ref not in now]


def _removal(ref: str) -> str:
    """What becomes of something that is no longer declared: nothing that happened is deleted."""
    return (
        "its deployment stops answering; versions are kept"
        if ref.startswith("model/")
        else "what it holds is kept"
    )


def _change(ref: str, before: dict[str, Any] | None, now: dict[str, Any]) -> Change:
    if before is None:
        return Change(ref, "create")
    differing = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    return Change(ref, "update", ", ".join(differing)) if differing else Change(ref, "keep")


def _check(container: Container, declared: Declared) -> None:
    """Put every model's features together once, so that an impossible one is refused before anything changes."""
    found = _to_come(container, declared)
    for model in declared.models.values():
        _check_rules(declared, model)
        check_budget(container.settings, model)
        try:
            features = feature_set(container, model, found)
        except ContractBroken:
            continue  # a dataset without a contract has no columns before its first rows
        _check_drift(model, features.names)


def _to_come(container: Container, declared: Declared) -> dict[str, tuple[Column, ...]]:
    """The columns of datasets with neither contract nor rows whose files will be taken in, by name."""
    found = {}
    for name, dataset in declared.datasets.items():
        file = file_of(dataset, declared.root)
        if file is not None and dataset.columns is None:
            record = container.store.get(records.Dataset, name)
            if record is None or declared_columns(record) is None:
                found[name] = columns_in(dataset, file)
    return found


def _check_rules(declared: Declared, model: Model) -> None:
    """Refuse rules about what is not declared, models that would retrain each other for ever, and missing extras."""
    for rule in model.retrain.leaves if model.retrain else ():
        if isinstance(rule, ContractChange) and (unknown := sorted({*rule.of} - {*datasets_of(model)})):
            raise model.error(
                f"hs.contract_change({unknown[0]!r}) names no dataset that it reads",
                f"Name any of {', '.join(datasets_of(model))}",
            )
        if isinstance(rule, UpstreamModel):
            if rule.model not in declared.models:
                raise model.error(
                    f"hs.upstream_model({rule.model!r}) names no model of this project",
                    f"Name any of {', '.join(declared.models)}",
                )
            if model.name in _upstream(declared, rule.model):
                raise model.error(
                    f"hs.upstream_model({rule.model!r}) leads back to it: "
                    "each champion would retrain the next for ever",
                    "Leave one of the rules out",
                )
    if model.fairness is not None and find_spec("fairlearn") is None:
        raise model.error(
            "hs.Fairness needs fairlearn, which is not installed", "Run: pip install 'homeostat[fairness]'"
        )
    if model.tune is not None and find_spec("optuna") is None:
        raise model.error(
            "hs.Tuning needs Optuna, which is not installed", "Run: pip install 'homeostat[tuning]'"
        )


def _check_drift(model: Model, features: Sequence[str]) -> None:
    """Refuse drift rules that watch nothing, and two that what they find could not be told apart of."""
    names: set[str] = set()
    for rule in model.retrain.leaves if model.retrain else ():
        if not isinstance(rule, Drift | DriftTest):
            continue
        if (name := name_of(rule)) in names:
            raise model.error(
                f"two of its rules are {name!r}", "Leave one out, or give it another window= or false_alarm="
            )
        names.add(name)
        known = [*features, SCORE, *([LABEL] if isinstance(rule, DriftTest) else [])]
        for one in rule.of:
            if not any(watched([one], feature) for feature in known):
                raise model.error(
                    f"hs.drift(of={one!r}) names nothing that it has",
                    f"Name any of {', '.join(known[:_NAMED])}{', …' if len(known) > _NAMED else ''}, "
                    "or what they begin with, as a feature view",
                )


def _upstream(declared: Declared, name: str) -> set[str]:
    """The models whose champions lead to trainings of a model, itself among them."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found and one in declared.models:
            found.add(one)
            retrain = declared.models[one].retrain
            rules = retrain.leaves if retrain else ()
            waiting += [rule.model for rule in rules if isinstance(rule, UpstreamModel)]
    return found


def _check_answers(container: Container, model: Model, before: dict[str, Any]) -> None:
    """Refuse other answers than those of the versions there are: the numbers that they gave would be misread."""
    task = model.task
    if before.get("type") == task.type and tuple(before.get("classes", ())) == task.classes:
        return
    own: list[Where] = [("model", "=", model.name), ("stage", "!=", "registered")]
    newest = container.store.find(records.ModelVersion, *own, order=["-version"], limit=1)
    if not newest:
        return
    kept = package.signature(container.blobs.get(newest[0].manifest["files"][package.SIGNATURE]))
    assert kept is not None  # of a version that the loop trained
    if (kept.task, kept.classes) != (task.type, task.classes):
        raise model.error(
            f"is {_answers(task.type, task.classes)}, and its versions, up to @{newest[0].version}, are "
            f"{_answers(kept.task, kept.classes)}: their answers, and those in the prediction log, would be misread",
            f'Declare it under another name, such as "{model.name}-2", or leave the task as it was',
        )


def _answers(kind: str, classes: tuple[Class, ...]) -> str:
    return f"{kind} of {', '.join(map(repr, classes))}" if classes else kind


def feature_set(
    container: Container, model: Model, found: Mapping[str, tuple[Column, ...]] | None = None
) -> FeatureSet:
    """The features of ``model``, checked against the columns of its datasets.

    Args:
        container: The ports.
        model: The model.
        found: The columns that datasets without a contract will have once rows come, by name.

    Raises:
        ContractBroken: a dataset without a contract has no rows yet.
        DeclarationError: a view cannot be computed from its dataset or for this request.
    """
    request = model.task.request
    sources = {
        view.source.name: view.source for view in model.features if isinstance(view, FeatureView | Windows)
    }
    known = schemas(container, {**sources, request.name: request}, found)
    return container.features(model.features, model.task, known)


def apply(container: Container, declared: Declared) -> list[Change]:
    """Make the store hold what the project declares, and ingest the files that datasets name.

    Raises:
        DeclarationError: as of ``plan``, or a file of the project cannot be kept; nothing is changed.
        NotFound: a dataset's file is not there; nothing is changed.
        ContractBroken: a file cannot be read, or its columns are not those of the contract; what is declared stands.
        Conflict: a file was written to while it was read; what is declared stands.
    """
    changes = plan(container, declared)
    source = snapshot(container.blobs, declared.root, declared.file.name)
    now = container.clock.now()
    specs = declared.specs()
    with container.store.begin() as tx:
        before = tx.get(records.Project, declared.name)
        for dataset in declared.datasets.values():
            _put_dataset(tx, dataset, specs[str(dataset.ref)], container)
        views = [_put_view(tx, name, specs[f"feature-view/{name}"], container) for name in declared.views]
        for name, one in declared.models.items():
            declare(tx, container, name)
            if tx.get(records.Deployment, name) is None:
                tx.insert(records.Deployment(name=name, model=name, generation=0, arms=[], at=now))
            set_fallback(tx, container, name, one.fallback)
            resume(tx, container, name, "it is declared again")
        for ref in before.declared if before else ():
            model = parse_ref(ref)
            if model.kind == "model" and model.name not in declared.models:
                stop(tx, container, model.name, "it is no longer declared")
        project = records.Project(
            name=declared.name,
            path=str(declared.file),
            digest=digest_of(specs),
            source=source,
            declared=specs,
            applied_at=now,
        )
        if before is None or (before.digest, before.source, before.path) != (
            project.digest,
            source,
            project.path,
        ):
            tx.put(project)
            tx.append(
                Event(
                    kind="project.applied",
                    subject=str(Ref("project", declared.name)),
                    at=now,
                    body={"changes": msgspec.to_builtins([c for c in changes if c.action != "keep"])},
                    edges=tuple(Edge(f"code/{source[7:]}", str(view), "defines") for view in views),
                )
            )
    for dataset in declared.datasets.values():
        file = file_of(dataset, declared.root)
        if file is not None:
            ingest_file(container, dataset.name, file)
    refresh(container)
    return changes


def _put_dataset(tx: Transaction, dataset: Dataset, spec: dict[str, Any], container: Container) -> None:
    record = tx.lock(records.Dataset, dataset.name)
    if record is None:
        tx.insert(records.Dataset(name=dataset.name, spec=spec, created_at=container.clock.now()))
        return
    if spec["columns"] is None:  # keep what was inferred from the first rows
        spec = spec | {"columns": record.spec.get("columns")}
    if record.spec != spec:
        tx.put(msgspec.structs.replace(record, spec=spec))


def _put_view(tx: Transaction, name: str, spec: dict[str, Any], container: Container) -> Ref:
    """The view's version: a definition that was seen before keeps its number."""
    digest = digest_of(spec)
    known = tx.find(records.FeatureView, ("name", "=", name), order=["version"])
    same = next((view for view in known if view.digest == digest), None)
    if same is None:
        version = known[-1].version + 1 if known else 1
        same = records.FeatureView(
            name=name, version=version, digest=digest, spec=spec, created_at=container.clock.now()
        )
        tx.insert(same)
    return Ref("feature-view", name).at(same.version)
