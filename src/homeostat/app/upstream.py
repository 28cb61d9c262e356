"""What stands before a model: the contracts of the datasets that it reads, and whether one is broken now."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from homeostat.app.alerts import resolve_alert
from homeostat.app.container import Container
from homeostat.app.deliveries import contract_alert
from homeostat.app.inputs import SKEW, data_alert
from homeostat.app.trainingdata import datasets_of
from homeostat.domain import records
from homeostat.domain.declarations import Model

_QUIET: Final = timedelta(days=1)


def settle_contracts(container: Container) -> None:
    """Resolve the contract alerts of datasets that have kept their contract for a day."""
    now = container.clock.now()
    keys = {contract_alert(name): name for (name,) in container.store.pick(records.Dataset, ["name"])}
    for (key,) in container.store.pick(
        records.Alert, ["key"], ("key", "in", list(keys)), ("state", "=", "open")
    ):
        recent = container.store.count(
            records.Quarantined, ("dataset", "=", keys[key]), ("at", ">", now - _QUIET)
        )
        if not recent:
            with container.store.begin() as tx:
                resolve_alert(tx, container, key)


def broken_upstream(container: Container, model: Model) -> str:
    """Why nothing should be trained for a model now; empty when nothing speaks against it.

    A contract that is broken does, and features that are others in training than in serving.
    """
    pages: list[Any] = container.store.find(
        records.Alert,
        ("key", "in", [contract_alert(name) for name in datasets_of(model)]),
        ("state", "=", "open"),
    )
    broken = [alert for alert in pages if alert.severity == "page"]
    if model.data_quality is not None and model.data_quality.skew is not None:
        broken += container.store.find(
            records.Alert, ("key", "=", data_alert(model.name, SKEW)), ("state", "=", "open"), limit=1
        )
    return f"{broken[0].subject}: {broken[0].summary}" if broken else ""
