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

__version__ = "0.1.0"

_LAZY = {
    "TrainingSet": "homeostat.engine.tracking",
    "Client": "homeostat.sdk.client",
    "Parcel": "homeostat.sdk.client",
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
    "StoreUnavailable",
    "TrainingSet",
    "Unsafe",
    "beats",
    "calibrated",
    "drift",
    "every",
    "feature_view",
    "new_labels",
    "on_request",
    "pipeline",
    "single_row_latency",
    "slo_burn",
    "step",
    "when",
    "windows",
    "worst_slice",
]


def __getattr__(name: str) -> Any:
    """Import what needs a dataframe library only when it is asked for."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
