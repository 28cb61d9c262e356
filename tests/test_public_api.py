"""What `import homeostat as hs` offers: a name more or less is a decision."""

from __future__ import annotations

import subprocess
import sys

import homeostat as hs

PUBLIC = [
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


def test_the_names_are_these() -> None:
    assert hs.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(hs, name) is not None


def test_they_are_completed_before_they_are_imported() -> None:
    code = "import homeostat; print(set(homeostat.__all__) - set(dir(homeostat)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_what_is_heavy_waits_until_it_is_asked_for() -> None:
    code = (
        "import sys, homeostat\n"
        "heavy = {'httpx', 'numpy', 'pandas', 'polars', 'psutil', 'scipy', 'sklearn', 'sqlalchemy', 'starlette'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
        "homeostat.run, homeostat.log, homeostat.search\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"
