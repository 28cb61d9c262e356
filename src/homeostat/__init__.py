"""Homeostat keeps machine-learning models in balance with a changing world.

``import homeostat as hs``, declare a model once, and ``homeostat up`` trains, checks, ships, watches and repairs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homeostat.domain.contracts import Check, Contract
from homeostat.domain.declarations import SLO, Binary, Canary, Dataset, Entity, Model, pipeline, step
from homeostat.domain.errors import (
    BadRequest,
    Conflict,
    ContractBroken,
    DeclarationError,
    HomeostatError,
    LedgerBroken,
    NotFound,
    StoreUnavailable,
    Unsafe,
)
from homeostat.sdk.declare import (
    beats,
    calibrated,
    drift,
    every,
    feature_view,
    new_labels,
    on_request,
    single_row_latency,
    slo_burn,
    when,
    windows,
    worst_slice,
)

if TYPE_CHECKING:
    from homeostat.engine.tracking import TrainingSet
    from homeostat.sdk.client import Client, Parcel
    from homeostat.sdk.tracking.active import log
    from homeostat.sdk.tracking.begin import run
    from homeostat.sdk.tracking.run import Run

__version__ = "0.1.0"

_LAZY = {
    "Client": "homeostat.sdk.client",
    "Parcel": "homeostat.sdk.client",
    "Run": "homeostat.sdk.tracking.run",
    "TrainingSet": "homeostat.engine.tracking",
    "log": "homeostat.sdk.tracking.active",
    "run": "homeostat.sdk.tracking.begin",
}

__all__ = [
    "SLO",
    "BadRequest",
    "Binary",
    "Canary",
    "Check",
    "Client",
    "Conflict",
    "Contract",
    "ContractBroken",
    "Dataset",
    "DeclarationError",
    "Entity",
    "HomeostatError",
    "LedgerBroken",
    "Model",
    "NotFound",
    "Parcel",
    "Run",
    "StoreUnavailable",
    "TrainingSet",
    "Unsafe",
    "beats",
    "calibrated",
    "drift",
    "every",
    "feature_view",
    "log",
    "new_labels",
    "on_request",
    "pipeline",
    "run",
    "single_row_latency",
    "slo_burn",
    "step",
    "when",
    "windows",
    "worst_slice",
]


def __getattr__(name: str) -> Any:
    """Import what costs time only when it is asked for."""
    if name in _LAZY:
        import importlib

        # Kept, so that calls in an inner loop find it at once.
        found = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
