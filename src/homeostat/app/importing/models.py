"""Logged models and registered models on their way in, each in one transaction after its files."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.importing.files import bring_files
from homeostat.app.importing.naming import kept, others, renamed
from homeostat.app.importing.summary import Summary
from homeostat.app.logged_models import logged_model_data
from homeostat.domain.errors import BadRequest
from homeostat.domain.events import Edge, Event
from homeostat.domain.records import Run
from homeostat.domain.tracking import (
    Experiment,
    LoggedModel,
    LoggedModelMetric,
    LoggedModelParam,
    LoggedModelTag,
)
from homeostat.engine.tracking.places import model_root
from homeostat.ports.sources import Missing, SourceLoggedModel

_ID: Final = re.compile(r"[A-Za-z0-9][\w-]{0,63}")


def bring_logged_model(
    container: Container, given: SourceLoggedModel, experiment: Experiment, summary: Summary
) -> None:
    """Bring a logged model, or what one that is here lacks.

    Raises:
        HomeostatError: the source is damaged there, or the store does not take it; nothing of it is visible then.
    """
    id = given.model.id
    if not _ID.fullmatch(id):
        raise BadRequest(f"{id!r} is no id")
    there = container.store.get(LoggedModel, id)
    if there is not None and there.deleted_at is not None:
        summary.logged_models.add("same")
        return
    if there is None and experiment.deleted_at is not None and given.model.deleted_at is None:
        raise BadRequest(f"its experiment {experiment.name!r} is deleted here: restore it, and import again")
    model = there or msgspec.structs.replace(
        given.model,
        experiment=experiment.id,
        name=kept(given.model.name),
        artifacts=model_root(experiment.artifacts, id),
    )
    lacking = _lacking(container, given, there)
    ending = _ending(model, given.model)
    files = bring_files(container, model.artifacts, given.files, summary, f"logged model {id}")
    if there is None or lacking or ending:
        _write(container, model, there is None, lacking, ending, summary)
    completed = lacking or ending or files
    summary.logged_models.add("new" if there is None else "completed" if completed else "same")
    summary.tell_all(given.missing)


def _ending(there: LoggedModel, given: LoggedModel) -> dict[str, Any]:
    """How the model turned out, where the source knows and the store does not yet."""
    if there.status != "PENDING" or given.status == "PENDING":
        return {}
    return {name: getattr(given, name) for name in ("status", "status_message", "updated_at")}


Part = LoggedModelParam | LoggedModelTag | LoggedModelMetric


def _lacking(container: Container, given: SourceLoggedModel, there: LoggedModel | None) -> list[Part]:
    id = given.model.id
    known = logged_model_data(container, [id])[id]
    params = renamed(given.params, "parameter", given.missing)
    tags = renamed(given.tags, "tag", given.missing)
    found: list[Part] = [
        LoggedModelParam(model=id, key=key, value=value)
        for key, value in params.items()
        if key not in known.params
    ]
    found += [
        LoggedModelTag(model=id, key=key, value=value) for key, value in tags.items() if key not in known.tags
    ]
    told = [*others(params, known.params, "parameter"), *others(tags, known.tags, "tag")]
    given.missing.extend(Missing(f"logged model {id}", reason) for reason in told)
    held = {metric.place for metric in known.metrics}
    found += [metric for metric in given.metrics if metric.place not in held]
    return found


def _write(
    container: Container,
    model: LoggedModel,
    new: bool,
    parts: list[Part],
    ending: dict[str, Any],
    summary: Summary,
) -> None:
    if summary.dry_run:
        return
    now = container.clock.now()
    with container.store.begin() as tx:
        if new:
            tx.insert(model)
        elif ending:
            tx.update(LoggedModel, ending, ("id", "=", model.id), ("status", "=", "PENDING"))
        for kind in (LoggedModelParam, LoggedModelTag):
            tx.put(*(part for part in parts if isinstance(part, kind)))
        tx.put(*(part for part in parts if isinstance(part, LoggedModelMetric)))
        ref = f"logged-model/{model.id}"
        known = new and model.run and tx.get(Run, model.run) is not None
        tx.append(
            Event(
                kind=f"logged-model.{'imported' if new else 'completed'}",
                subject=ref,
                at=now,
                actor="user",
                body={"experiment": model.experiment, "name": model.name, "source": summary.source},
                edges=(Edge(f"run/{model.run}", ref, "produced"),) if known else (),
            )
        )
