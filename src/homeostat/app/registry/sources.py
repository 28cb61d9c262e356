"""Where a registered version comes from: its source checked against the run or logged model that it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from homeostat.app.container import Container
from homeostat.app.registry.reading import by_alias, latest, version
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.tracking import Experiment, LoggedModel, LoggedModelTag, ModelTag
from homeostat.engine.registry import names, sources
from homeostat.ports.meta import Transaction

_VERSIONS_TAG = "mlflow.modelVersions"


class Given(msgspec.Struct, frozen=True):
    """What a client says of a new version; None: nothing."""

    source: str
    run: str | None
    logged_model: str | None


class Settled(msgspec.Struct, frozen=True):
    """What is known of a new version; ``location`` is empty where the files are at the source itself."""

    source: str
    run: str
    logged_model: str
    location: str


def settle(container: Container, given: Given, *, prompt: bool) -> Settled:
    """Find out what a source names, and whether it may.

    Raises:
        NotFound: it names a version or a model that is not there.
        BadRequest: it may not be.
    """
    if prompt and given.source not in sources.PROMPTS:
        raise BadRequest(
            f"Invalid prompt source: '{given.source}'. Prompt sources must use an MLflow placeholder.",
            field="source",
        )
    sources.check_host(given.source)
    if prompt:
        return Settled(given.source, given.run or "", given.logged_model or "", "")
    named = sources.registered_of(given.source)
    if named is not None and not named.logged:
        return _of_version(container, given, named)
    if given.logged_model:
        return _of_logged_model(container, given, given.logged_model, named)
    _check_run(container, given)
    return Settled(given.source, given.run or "", "", "")


def tell_logged_model(tx: Transaction, made: ModelVersion) -> None:
    """Keep with a logged model that it was registered, where MLflow's clients look for it."""
    if tx.lock(LoggedModel, made.logged_model) is None:
        return
    before = tx.get(LoggedModelTag, made.logged_model, _VERSIONS_TAG)
    entries = _entries(before.value) if before else []
    entry = {"name": made.model, "version": made.version}
    if entry not in entries:
        text = msgspec.json.format(msgspec.json.encode([*entries, entry]), indent=0).decode()
        tx.put(LoggedModelTag(model=made.logged_model, key=_VERSIONS_TAG, value=text))


def _entries(text: str) -> list[Any]:
    """What the tag says so far; of what somebody else wrote there, nothing."""
    try:
        return msgspec.json.decode(text, type=list[Any])
    except (msgspec.DecodeError, RecursionError):
        return []


def _of_version(container: Container, given: Given, named: sources.Registered) -> Settled:
    """A version that is another one once more, with that one's run and files."""
    if container.store.get(ModelTag, named.name, 0, names.PROMPT) is not None:
        raise BadRequest(
            f"Invalid model version source: '{given.source}'. Prompt versions cannot be used as model version sources.",
            field="source",
        )
    found = _version(container, named)
    if given.run not in (None, found.run) or given.logged_model not in (None, found.logged_model):
        raise BadRequest(
            f"Invalid model version source: '{given.source}'. The run_id and model_id request parameters must match"
            " the referenced model version.",
            field="source",
        )
    source = f"models:/{found.model}/{found.version}"
    return Settled(source, found.run, found.logged_model, found.location or found.source)


def _version(container: Container, named: sources.Registered) -> ModelVersion:
    store = container.store
    if named.version:
        return version(store, named.name, named.version).record
    if named.alias:
        found = by_alias(store, named.name, named.alias)
        if found is None:
            raise BadRequest(f"Registered model alias {named.alias} not found.", field="source")
        return found.record
    newest = latest(store, named.name, [named.label] if named.label else [])
    if not newest:
        stage = f" and stage '{named.label}'" if named.label else ""
        raise NotFound(f"No versions of model with name '{named.name}'{stage} found")
    return max((shown.record for shown in newest), key=lambda record: record.version)


def _of_logged_model(
    container: Container, given: Given, logged: str, named: sources.Registered | None
) -> Settled:
    """A version that is a logged model: named as such, or by where its files are."""
    model = container.store.get(LoggedModel, logged)
    if named is not None:
        if named.logged != logged:
            raise sources.elsewhere(given.source, "model_id")
    else:
        _check_within(given.source, "model_id", lambda: model.artifacts if model else None)
        if sources.run_of(given.source) is not None:
            raise sources.elsewhere(given.source, "model_id")
    if model is None or model.deleted_at is not None:
        raise NotFound(f"Logged model with ID '{logged}' not found.")
    return Settled(given.source, given.run or model.run, logged, model.artifacts if named else "")


def _check_run(container: Container, given: Given) -> None:
    def root() -> str | None:
        run = container.store.get(Run, given.run) if given.run else None
        experiment = container.store.get(Experiment, run.experiment) if run else None
        return f"{experiment.artifacts}/{run.id}/artifacts" if experiment and run else None

    _check_within(given.source, "run_id", root)
    run = sources.run_of(given.source)
    if run is not None and run != given.run:
        raise sources.elsewhere(given.source, "run_id")
    if sources.registered_of(given.source) is not None:  # a logged model, which was not named beside it
        raise sources.elsewhere(given.source, "model_id")


def _check_within(source: str, parameter: str, root: Callable[[], str | None]) -> None:
    """Check that a source below this server's own artifacts, or on its disk, is what the parameter owns."""
    if sources.is_local(source):
        own = root()
        if own is None or not sources.is_local_within(source, own):
            kind = "run" if parameter == "run_id" else "model"
            raise BadRequest(
                f"Invalid model version source: '{source}'. To use a local path as a model version source, the"
                f" {parameter} request parameter has to be specified and the local path has to be contained within"
                f" the artifact directory of the {kind} specified by the {parameter}.",
                field="source",
            )
        return
    sources.check_path(source)
    if sources.is_artifact(source):
        own = root()
        if own is None or not sources.is_within(source, own):
            raise sources.elsewhere(source, parameter)
