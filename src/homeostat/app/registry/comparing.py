"""What two versions differ in: what they were made from, what they hold, and how they did.

The facts of a version are texts and numbers in groups, whether the loop trained it or a client registered it. What
only its files could tell, and they are not kept here, is not among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.registry.contents import files_of
from homeostat.app.registry.reading import VersionShown, resolve
from homeostat.app.registry.reports import Compared, Difference
from homeostat.app.tracking import run_data
from homeostat.domain.contracts import Column
from homeostat.domain.digests import canonical
from homeostat.domain.errors import BadRequest, Unsafe
from homeostat.domain.records import Run
from homeostat.domain.refs import Ref, parse_ref
from homeostat.domain.tracking import LoggedModelMetric, LoggedModelParam, RunInput
from homeostat.engine.registry import flavors, package

_REQUIREMENTS: Final = "requirements.txt"

Facts = dict[str, dict[str, Any]]


def compare(container: Container, old: str, new: str) -> Compared:
    """What two versions differ in.

    Args:
        container: The ports.
        old: A reference such as ``model/churn@3``, or with an alias after the ``@``; without either, the newest.
        new: Another one.

    Raises:
        NotFound: there is no such version.
        BadReference: it is no reference.
    """
    shown = [_version(container, ref) for ref in (old, new)]
    before, after = (_facts(container, one) for one in shown)
    differences, same = [], {}
    for group in dict.fromkeys([*before, *after]):
        left, right = before.get(group, {}), after.get(group, {})
        every = dict.fromkeys([*left, *right])
        differing = [name for name in every if left.get(name) != right.get(name)]
        differences += [Difference(group, name, left.get(name), right.get(name)) for name in differing]
        if len(every) > len(differing):
            same[group] = len(every) - len(differing)
    first, second = (str(Ref("model", one.record.model).at(one.record.version)) for one in shown)
    return Compared(first, second, differences, same)


def _version(container: Container, text: str) -> VersionShown:
    ref = parse_ref(text)
    if ref.kind != "model":
        raise BadRequest(f"{text} is no version of a model", remedy="Write model/name@3")
    return resolve(container.store, ref.name, ref.version)


def _facts(container: Container, shown: VersionShown) -> Facts:
    record = shown.record
    run = container.store.get(Run, record.run) if record.run else None
    facts: Facts = {
        "version": {"stage": record.stage, "label": record.label, "description": record.description},
        "tags": shown.tags,
        "metrics": {},
        "params": {},
        "data": {},
    }
    if run is not None:
        _of_run(container, run, facts)
    if record.logged_model:
        _of_logged_model(container, record.logged_model, facts)
    facts["metrics"] |= record.metrics
    files = files_of(container, record)
    facts |= _contents(container, files)
    facts["files"] = {name: digest for name, (digest, _) in files.items()}
    return {
        group: {name: value for name, value in found.items() if value not in (None, "")}
        for group, found in facts.items()
    }


def _of_run(container: Container, run: Run, facts: Facts) -> None:
    data = run_data(container, [run.id])[run.id]
    facts["metrics"] |= {metric.key: metric.value for metric in data.metrics} | run.metrics
    facts["params"] |= data.params | run.params
    # A training's inputs are logged too, as the same datasets: its own references say more.
    facts["data"] |= {
        f"{ref.kind}/{ref.name}": f"@{ref.version}" for ref in map(parse_ref, run.inputs)
    } or _digests(data.inputs)
    facts["features"] = {f"{ref.kind}/{ref.name}": f"@{ref.version}" for ref in map(parse_ref, run.features)}
    facts["training"] = {
        "run": f"run/{run.id}",
        "function": run.function,
        "code": run.code,
        "seed": run.seed,
        "rows": run.rows or None,
        "labels known until": run.data_until,
    }


def _digests(inputs: Sequence[RunInput]) -> dict[str, str]:
    """Those of datasets by name, of which several may have the same."""
    found: dict[str, list[str]] = {}
    for read in inputs:
        found.setdefault(read.name, []).append(read.digest)
    return {name: ", ".join(sorted(digests)) for name, digests in found.items()}


def _of_logged_model(container: Container, logged: str, facts: Facts) -> None:
    for param in container.store.find(LoggedModelParam, ("model", "=", logged)):
        facts["params"][param.key] = param.value
    for metric in container.store.find(
        LoggedModelMetric, ("model", "=", logged), order=["timestamp", "step"]
    ):
        about = f" on {metric.dataset}" if metric.dataset else ""
        facts["metrics"][f"{metric.key}{about}"] = metric.value


def _contents(container: Container, files: Mapping[str, tuple[str, list[str]]]) -> Facts:
    """What the files say of signature and environment."""
    facts: Facts = {}

    def read(name: str) -> bytes:
        """The content of a file; of one that is too long for what it is called, nothing."""
        chunks = files[name][1]
        return container.blobs.get(chunks[0]) if len(chunks) == 1 else b""

    own = package.signature(read(package.SIGNATURE)) if package.SIGNATURE in files else None
    if own is not None:
        facts["signature"] = _signature(own)
    elif flavors.MLMODEL in files:
        facts |= _mlmodel(read(flavors.MLMODEL))
    name = package.ENVIRONMENT if package.ENVIRONMENT in files else _REQUIREMENTS
    if name in files:
        facts["environment"] = _requirements(read(name).decode(errors="replace"))
    return facts


def _signature(found: package.Signature) -> dict[str, Any]:
    return {
        **{f"feature {column.name}": _column(column) for column in found.features},
        **{f"request {column.name}": _column(column) for column in found.request},
        "key": ", ".join(found.key),
        "time": found.time,
        "label": found.label,
    }


def _mlmodel(data: bytes) -> Facts:
    """What an MLflow model says of itself."""
    try:
        said = flavors.read(data)
        given = said.get("signature") or {}
        shown = {
            f"{side[:-1]} {one.pop('name', number)}": canonical(one).decode()
            for side in ("inputs", "outputs", "params")
            for number, one in enumerate(msgspec.json.decode(given.get(side) or b"[]"))
        }
        kinds = {name: canonical(flavor).decode() for name, flavor in said["flavors"].items()}
    except (Unsafe, msgspec.DecodeError, AttributeError, KeyError, TypeError, RecursionError) as error:
        return {"signature": {flavors.MLMODEL: f"cannot be read: {type(error).__name__}"}}
    return {"signature": shown, "flavors": kinds}


def _column(column: Column) -> str:
    given = msgspec.to_builtins(column)
    rest = {k: v for k, v in given.items() if k not in ("name", "type") and v not in (None, False)}
    return " ".join([column.type, *(f"{k}={v}" for k, v in rest.items())])


def _requirements(text: str) -> dict[str, str]:
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {name: version or "any" for name, _, version in pairs}
