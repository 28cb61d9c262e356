"""An estimator as an ONNX graph, where that is exact.

It is converted, compared with the original on rows that this was trained on, and kept only if every label agrees and no
score differs by more than is tolerated. Else the original serves, and the verdict says why.

The original stays in the package either way; the graph is one more of its files, and the verdict another.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from homeostat.domain.errors import HomeostatError, NotInstalled
from homeostat.engine.registry.formats import graphs
from homeostat.engine.registry.formats.base import Array, numbers

GRAPH: Final = "served.onnx"
VERDICT: Final = "conversion.json"
_MOST: Final = 20_000

_log = logging.getLogger(__name__)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a conversion is kept, and what was compared.

    Args:
        kept: Whether the graph serves in place of the original.
        reason: Why or why not, one sentence.
        rows: Training rows that both were asked with.
        largest: The largest difference between two scores of a row; None where none could be compared.
        tolerance: The largest that is tolerated.
    """

    kept: bool
    reason: str
    rows: int
    largest: float | None
    tolerance: float


def convert(estimator: Any, X: pl.DataFrame, tolerance: float) -> dict[str, bytes]:
    """The files that a package gets: the verdict, and the graph where it is kept. Raises nothing for what fails.

    Args:
        estimator: A fitted classifier.
        X: Rows it was trained on; the newest of them are compared.
        tolerance: How much a probability may differ.
    """
    sample = X.tail(_MOST)
    graph, verdict = _compared(estimator, sample, tolerance)
    files = {VERDICT: msgspec.json.encode(verdict)}
    return files | {GRAPH: graph} if verdict.kept else files


def verdict_of(files: Mapping[str, bytes]) -> Verdict | None:
    """What was found when a package was made; None where nothing was converted."""
    return msgspec.json.decode(files[VERDICT], type=Verdict) if VERDICT in files else None


def served(files: Mapping[str, bytes]) -> Any:
    """The graph that serves in place of a package's model; None where the original does."""
    found = verdict_of(files)
    if found is None or not found.kept or GRAPH not in files:
        return None
    try:
        return graphs.OnnxModel(files[GRAPH])
    except NotInstalled as error:
        _log.warning("the original serves in place of its ONNX graph: %s", error)
        return None


def _compared(estimator: Any, X: pl.DataFrame, tolerance: float) -> tuple[bytes, Verdict]:
    def refused(reason: str, largest: float | None = None) -> tuple[bytes, Verdict]:
        rows = X.height if largest is not None else 0
        return b"", Verdict(kept=False, reason=reason, rows=rows, largest=largest, tolerance=tolerance)

    try:
        graph = _graph(estimator, X)
        theirs = _scores(graphs.OnnxModel(graph), X)
    except HomeostatError as error:
        return refused(f"the original serves: {error.message}")
    except Exception as error:  # noqa: BLE001 - converters raise what they like; the verdict says it
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return refused(f"the original serves: {type(estimator).__name__} could not be converted: {told}")
    mine = _scores(estimator, X)
    difference = np.abs(theirs - mine)
    if not np.isfinite(difference).all():
        return refused("the original serves: the graph gives no number for some rows")
    largest, labels = float(difference.max(initial=0.0)), int(((theirs > 0.5) != (mine > 0.5)).sum())
    if labels or largest > tolerance:
        what = f"{labels} labels differ" if labels else f"a score differs by {largest:.3g}"
        return refused(
            f"the original serves: {what} on {X.height:,} rows, {tolerance:g} is tolerated", largest
        )
    reason = f"the ONNX graph serves: every label agrees on {X.height:,} rows, scores differ by {largest:.3g} at most"
    return graph, Verdict(kept=True, reason=reason, rows=X.height, largest=largest, tolerance=tolerance)


def _graph(estimator: Any, X: pl.DataFrame) -> bytes:
    try:
        converter = importlib.import_module("skl2onnx")
    except ImportError as error:
        raise NotInstalled(
            "skl2onnx is not installed", remedy="Run: pip install 'homeostat[onnx]'"
        ) from error
    first = np.asarray(numbers(X.head(1)), dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter, about libraries it was written for
        made = converter.to_onnx(estimator, first, options={id(estimator): {"zipmap": False}})
    graph: bytes = made.SerializeToString()
    return graph


def _scores(model: Any, X: pl.DataFrame) -> Array:
    """The probability of class 1 of each row."""
    found = np.asarray(model.predict_proba(X), dtype=np.float64)
    return found[:, -1] if found.ndim == 2 else found
