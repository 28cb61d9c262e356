"""Answers to questions: what runs where, why something was (not) trained, and what stands behind a prediction."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import polars as pl

from homeostat.app import business
from homeostat.app.answers import key_of, sent_label
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.freezing import freezes
from homeostat.app.leases import alive
from homeostat.app.operating import operation
from homeostat.app.outcomes import given
from homeostat.app.reading import declared_columns, find_dataset, read, version_of
from homeostat.app.replaying import logged
from homeostat.app.space import cramped
from homeostat.app.tried import tried
from homeostat.domain import records
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import FeatureView, Model, Windows
from homeostat.domain.errors import NotFound
from homeostat.domain.refs import Ref, number_of, parse_ref
from homeostat.engine.lineage.walk import walk
from homeostat.ports.meta import Where


def status(container: Container) -> dict[str, Any]:
    """What is declared, what serves, what runs where and what is wrong, as JSON can hold it."""
    store = container.store
    leases = store.find(records.Lease)
    head = container.ledger.head()
    return {
        "now": container.clock.now(),
        "projects": [
            {"name": p.name, "path": p.path, "applied_at": p.applied_at} for p in store.find(records.Project)
        ],
        "datasets": [
            {"name": d.name, "rows": d.rows, "version": d.version, "position": d.position}
            for d in store.find(records.Dataset)
        ],
        "deployments": msgspec.to_builtins(store.find(records.Deployment)),
        "versions": [
            {
                "model": v.model,
                "version": v.version,
                "stage": v.stage,
                "reason": v.stage_reason,
                "tags": v.tags,
            }
            for v in store.find(records.ModelVersion, ("stage", "!=", "registered"))
        ],
        "rollouts": msgspec.to_builtins(store.find(records.Rollout, ("state", "=", "running"))),
        "tried": [
            msgspec.to_builtins(one)
            for d in store.find(records.Deployment)
            for one in tried(container, d.name, limit=5)
            if one.state == "running"
        ],
        "runs": [
            {"id": r.id, "model": r.model, "state": r.state, "reason": r.reason, "error": r.error}
            for r in store.find(records.Run, ("kind", "=", "train"), order=["-created_at"], limit=20)
        ],
        "processes": [
            {"role": p.role, "subject": p.subject, "host": p.host, "pid": p.pid, "alive": alive(container, p)}
            | {name: p.detail[name] for name in ("log", "errors") if p.detail.get(name)}
            for p in leases
        ],
        "serving": msgspec.to_builtins(operation(container)),
        "business": business.standing(container),
        "alerts": msgspec.to_builtins(store.find(records.Alert, ("state", "=", "open"))),
        "space": cramped(container),
        "frozen": [msgspec.to_builtins(one) | {"why": one.why} for one in freezes(container)],
        "ledger": {"events": head.seq, "hash": head.hash},
    }


def why(
    container: Container, trigger: str, *, limit: int = 20, fired: bool = False
) -> list[records.Evaluation]:
    """The newest evaluations of a model's retraining rules, newest first; ``fired``: only of rules that fired.

    Raises:
        NotFound: there is no model of this name, declared or trained.
    """
    name = parse_ref(trigger).name if "/" in trigger else trigger
    of: list[Where] = [("trigger", "=", name)]
    which: list[Where] = [*of, ("fired", "=", True)] if fired else of
    found = container.store.find(records.Evaluation, *which, order=["-at", "rule"], limit=limit)
    if not found and not container.store.find(records.Evaluation, *of, limit=1):
        known = _models(container)
        if name not in known and not container.store.find(records.Run, ("model", "=", name), limit=1):
            raise NotFound(
                f"there is no model/{name}, nor was any looked at",
                remedy=f"Declared models are: {', '.join(known) or 'none'}",
            )
    return found


def _models(container: Container) -> list[str]:
    try:
        return list(declared(container).models)
    except NotFound:
        return []


def lineage(
    container: Container, ref: str, direction: Literal["up", "down", "both"] = "both"
) -> dict[str, Any]:
    """What a thing came from (up) and what came of it (down), as trees of references.

    Raises:
        BadReference: ``ref`` is no reference.
        NotFound: the ledger knows nothing of it.
    """
    parsed = parse_ref(ref)
    text = str(resolved(container, parsed))
    tree: dict[str, Any] = {"ref": text}
    sides: tuple[Literal["up", "down"], ...] = ("up", "down") if direction == "both" else (direction,)
    for side in sides:
        tree[side] = walk(container.ledger, text, side)
    if not any(tree[side] for side in sides) and not container.ledger.find(subject=text, limit=1):
        raise NotFound(f"the ledger knows nothing of {text}", remedy="homeostat status lists what there is")
    return tree


def resolved(container: Container, ref: Ref) -> Ref:
    """An alias as the version that it points to now."""
    if ref.kind == "model" and ref.version and number_of(ref.version) is None:
        alias = container.store.get(records.Alias, ref.name, ref.version)
        if alias is None:
            raise NotFound(f"{ref} points to nothing", remedy=f"Use a version of model/{ref.name}")
        return ref.at(alias.version)
    return ref


def trace(container: Container, prediction_id: str) -> dict[str, Any]:
    """One prediction back through version, run and code to the rows and dataset versions behind its features.

    Raises:
        NotFound: no prediction log holds it.
    """
    deployment, row = logged(container, prediction_id)
    if row["error"] is not None and row["shadow_score"] is not None:  # another answered in its place
        by = "fallback" if row.get("fallback") else "champion"
        version = row["shadow_version"] or row["version"]  # where none answered, the one that should have
        row = row | {"version": version, "arm": by, "score": row["shadow_score"]}
    record = container.store.get(records.ModelVersion, deployment.model, row["version"])
    run = container.store.get(records.Run, record.run) if record else None
    if record is None or run is None:
        raise NotFound(
            f"prediction/{prediction_id} was answered by a version that is gone", remedy="Look at the ledger"
        )
    model = declared(container, run.code).models[deployment.model]
    return {
        "prediction": f"prediction/{prediction_id}",
        "answered": {k: row[k] for k in ("at", "time", "key", "arm", "score", "status", "latency_us")}
        | ({"fallback": row["fallback"], "error": row["error"]} if row.get("fallback") else {}),
        "model": str(Ref("model", deployment.model).at(record.version)),
        "digest": record.digest,
        "run": {
            "ref": f"run/{run.id}",
            "reason": run.reason,
            "rows": run.rows,
            "inputs": run.inputs,
            "environment": run.environment,
        },
        "code": run.code,
        "features": [_behind(container, view, row) for view in model.features]
        or [_given(container, model, row)],
        "label": _label(container, model, row),
    }


def _given(container: Container, model: Model, row: dict[str, Any]) -> dict[str, Any]:
    """The request's own columns, which are the features of a model without views."""
    request = model.task.request
    columns = request.columns or declared_columns(find_dataset(container, request.name)) or ()
    names = {column.name for column in columns} - {*request.keys, request.time, model.task.label}
    values = {name: value for name, value in row.items() if name in names}
    return {"view": "request", "values": values, "from": "the request"}


def _behind(container: Container, view: Any, row: dict[str, Any]) -> dict[str, Any]:
    values = {name: value for name, value in row.items() if name.startswith(f"{view.name}__")}
    if not isinstance(view, FeatureView | Windows):
        return {"view": view.name, "values": values, "from": "the request"}
    seq = row.get(f"position__{view.name}")
    version = version_of(container, view.source.name, seq) if seq is not None and seq >= 0 else None
    source = Ref("dataset", view.source.name)
    return {
        "view": view.name,
        "values": values,
        "as_of": row.get(f"as_of__{view.name}"),
        "batch": seq,
        "from": str(source.at(version.version)) if version else str(source),
    }


def _label(container: Container, model: Model, row: dict[str, Any]) -> Any:
    """The one that came by the prediction's id, else the newest of its key."""
    task = model.task
    sent = given(container, model.name, pl.DataFrame({"prediction_id": [row["prediction_id"]]}))
    known = sent.select(sent_label(task, "label")).to_series().drop_nulls()
    if known.len():
        columns = task.source.columns or declared_columns(find_dataset(container, task.source.name)) or ()
        truth = any(column.name == task.label and column.type == "boolean" for column in columns)
        return task.classes[int(known[0])] if task.classes else bool(known[0]) if truth else known[0]
    text = key_of(task.request.keys)
    rows = read(container, task.source.name).filter(text == row["key"]).select(task.label, SEQ).collect()
    return rows.sort(SEQ, maintain_order=True)[task.label][-1] if rows.height else None
