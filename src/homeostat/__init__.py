"""Homeostat keeps machine-learning models in balance with a changing world.

``import homeostat as hs``, declare a model once, and ``homeostat up`` trains, checks, ships, watches and repairs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from homeostat.domain.contracts import Check, Contract
    from homeostat.domain.declarations import (
        SLO,
        ABTest,
        Attributions,
        Binary,
        BusinessMetric,
        Canary,
        DataQuality,
        Dataset,
        Entity,
        Fairness,
        Fallback,
        Forecast,
        Model,
        MultiClass,
        Ranking,
        Regression,
        Tuning,
        pipeline,
        step,
    )
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
    from homeostat.engine.tracking import TrainingSet
    from homeostat.sdk.client import Client, Parcel
    from homeostat.sdk.declare import (
        all_of,
        any_of,
        approval,
        beats,
        calibrated,
        code_change,
        concept_drift,
        contract_change,
        drift,
        every,
        feature_view,
        message,
        metric,
        new_labels,
        on_request,
        schedule,
        signed_by,
        single_row_latency,
        slo_burn,
        upstream_model,
        when,
        windows,
        worst_slice,
    )
    from homeostat.sdk.tracking.active import log, log_artifact, log_input, log_params
    from homeostat.sdk.tracking.begin import run
    from homeostat.sdk.tracking.charts import ConfusionMatrix, Curve, Histogram
    from homeostat.sdk.tracking.media import Audio, Image
    from homeostat.sdk.tracking.run import Run
    from homeostat.sdk.tracking.search import best, history, search
    from homeostat.sdk.tracking.values import Table, Text

__version__ = "0.1.0"

_PLACES = {
    "homeostat.domain.contracts": "Check Contract",
    "homeostat.domain.declarations": (
        "SLO ABTest Attributions Binary BusinessMetric Canary DataQuality Dataset Entity Fairness "
        "Fallback Forecast Model MultiClass Ranking Regression Tuning pipeline step"
    ),
    "homeostat.domain.errors": (
        "BadRequest Conflict ContractBroken DeclarationError HomeostatError LedgerBroken NotFound "
        "StoreUnavailable Unsafe"
    ),
    "homeostat.engine.tracking": "TrainingSet",
    "homeostat.sdk.client": "Client Parcel",
    "homeostat.sdk.declare": (
        "all_of any_of approval beats calibrated code_change concept_drift contract_change drift every "
        "feature_view message metric new_labels on_request schedule signed_by single_row_latency slo_burn "
        "upstream_model when windows worst_slice"
    ),
    "homeostat.sdk.tracking.active": "log log_artifact log_input log_params",
    "homeostat.sdk.tracking.begin": "run",
    "homeostat.sdk.tracking.charts": "ConfusionMatrix Curve Histogram",
    "homeostat.sdk.tracking.media": "Audio Image",
    "homeostat.sdk.tracking.run": "Run",
    "homeostat.sdk.tracking.search": "best history search",
    "homeostat.sdk.tracking.values": "Table Text",
}
_PLACE = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = [
    "SLO",
    "ABTest",
    "Attributions",
    "Audio",
    "BadRequest",
    "Binary",
    "BusinessMetric",
    "Canary",
    "Check",
    "Client",
    "Conflict",
    "ConfusionMatrix",
    "Contract",
    "ContractBroken",
    "Curve",
    "DataQuality",
    "Dataset",
    "DeclarationError",
    "Entity",
    "Fairness",
    "Fallback",
    "Forecast",
    "Histogram",
    "HomeostatError",
    "Image",
    "LedgerBroken",
    "Model",
    "MultiClass",
    "NotFound",
    "Parcel",
    "Ranking",
    "Regression",
    "Run",
    "StoreUnavailable",
    "Table",
    "Text",
    "TrainingSet",
    "Tuning",
    "Unsafe",
    "all_of",
    "any_of",
    "approval",
    "beats",
    "best",
    "calibrated",
    "code_change",
    "concept_drift",
    "contract_change",
    "drift",
    "every",
    "feature_view",
    "history",
    "log",
    "log_artifact",
    "log_input",
    "log_params",
    "message",
    "metric",
    "new_labels",
    "on_request",
    "pipeline",
    "run",
    "schedule",
    "search",
    "signed_by",
    "single_row_latency",
    "slo_burn",
    "step",
    "upstream_model",
    "when",
    "windows",
    "worst_slice",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: a command, or a script that only logs, needs little of it."""
    if name in _PLACE:
        import importlib

        # Kept, so that calls in an inner loop find it at once.
        found = globals()[name] = getattr(importlib.import_module(_PLACE[name]), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_PLACE]
