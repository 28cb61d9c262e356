"""Histograms, confusion matrices and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from homeostat.domain.errors import BadRequest
from homeostat.sdk.tracking.told import Told, array_of, plain

if TYPE_CHECKING:
    import numpy.typing as npt

_BINS: Final = 64
_POINTS: Final = 1000  # of a curve
_CLASSES: Final = 200


@dataclass(frozen=True, eq=False)
class Histogram:
    """How values are distributed.

    Args:
        data: Values of any shape; those that are no numbers are counted apart.
        bins: How many bins of equal width.
    """

    data: Any
    bins: int = _BINS

    def told(self) -> Told:
        """Counts and the edges of the bins."""
        import numpy as np

        values = array_of(self.data).astype(float).ravel()
        finite = values[np.isfinite(values)]
        counts, edges = np.histogram(finite, bins=self.bins) if len(finite) else (np.zeros(0), np.zeros(0))
        detail = {"counts": counts.tolist(), "edges": edges.tolist(), "count": len(values)}
        detail["other"] = len(values) - len(finite)
        if len(finite):
            detail |= {"mean": float(finite.mean()), "min": float(finite.min()), "max": float(finite.max())}
        return Told("histogram", detail)


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often each class was taken for each.

    Args:
        truth: The true classes.
        predicted: The predicted ones, aligned.
        classes: Every class in order; by default those that occur, sorted.
    """

    truth: Sequence[Any]
    predicted: Sequence[Any]
    classes: Sequence[Any] = ()

    def told(self) -> Told:
        """Counts, a row for each true class."""
        import numpy as np

        truth, predicted = array_of(self.truth).ravel().tolist(), array_of(self.predicted).ravel().tolist()
        if len(truth) != len(predicted):
            raise BadRequest(
                f"{len(truth)} true classes and {len(predicted)} predicted ones", field="predicted"
            )
        classes = list(self.classes) or sorted({*truth, *predicted}, key=lambda one: (str(type(one)), one))
        if len(classes) > _CLASSES:
            raise BadRequest(
                f"{len(classes)} classes are more than {_CLASSES}", remedy="Name those that matter"
            )
        place = {one: n for n, one in enumerate(classes)}
        counts = np.zeros((len(classes), len(classes)), int)
        known = [
            (place[a], place[b]) for a, b in zip(truth, predicted, strict=True) if a in place and b in place
        ]
        for row, column in known:
            counts[row, column] += 1
        detail = {"classes": [plain(one) for one in classes], "counts": counts.tolist()}
        return Told("confusion-matrix", detail | {"other": len(truth) - len(known)})


@dataclass(frozen=True, eq=False)
class Curve:
    """A line, or a well-known one of a classifier: ``Curve.roc``, ``Curve.precision_recall``, ``Curve.calibration``.

    Args:
        x: Where.
        y: The values, aligned.
        axes: What the axes are called.
        summary: Numbers that belong to it, by name.
    """

    x: Sequence[float]
    y: Sequence[float]
    axes: tuple[str, str] = ("x", "y")
    summary: Mapping[str, float] = field(default_factory=dict)

    def told(self) -> Told:
        """At most a thousand points, evenly chosen."""
        import numpy as np

        x, y = array_of(self.x).astype(float).ravel(), array_of(self.y).astype(float).ravel()
        if len(x) != len(y):
            raise BadRequest(f"{len(x)} places and {len(y)} values", field="y")
        if len(x) > _POINTS:
            chosen = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
            x, y = x[chosen], y[chosen]
        points = {"x": [plain(one) for one in x.tolist()], "y": [plain(one) for one in y.tolist()]}
        return Told("curve", points | {"axes": list(self.axes), "summary": dict(self.summary)})

    @classmethod
    def roc(cls, truth: Sequence[Any], scores: Sequence[float]) -> Self:
        """True positives over false ones, at every threshold; ``summary`` has the area below it."""
        import numpy as np

        hits, misses = _ranked(truth, scores)
        x = np.concatenate(([0.0], misses / max(misses[-1], 1)))
        y = np.concatenate(([0.0], hits / max(hits[-1], 1)))
        area = float(np.trapezoid(y, x))
        return cls(x, y, ("false positive rate", "true positive rate"), {"auc": area})  # type: ignore[arg-type] # arrays

    @classmethod
    def precision_recall(cls, truth: Sequence[Any], scores: Sequence[float]) -> Self:
        """Precision over recall, at every threshold; ``summary`` has the average precision."""
        import numpy as np

        hits, misses = _ranked(truth, scores)
        recall = np.concatenate(([0.0], hits / max(hits[-1], 1)))
        precision = np.concatenate(([1.0], hits / (hits + misses)))
        average = float(np.sum(np.diff(recall) * precision[1:]))
        return cls(recall, precision, ("recall", "precision"), {"average_precision": average})  # type: ignore[arg-type] # arrays

    @classmethod
    def calibration(cls, truth: Sequence[Any], scores: Sequence[float], bins: int = 10) -> Self:
        """How often it was so, over what was said, in bins with equally many; ``summary`` has the mean difference."""
        import numpy as np

        labels, said = _binary(truth, scores)
        order = np.argsort(said, kind="stable")
        parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
        x = [float(said[part].mean()) for part in parts]
        y = [float(labels[part].mean()) for part in parts]
        error = sum(len(part) * abs(a - b) for part, a, b in zip(parts, x, y, strict=True)) / len(order)
        return cls(x, y, ("predicted", "observed"), {"calibration_error": float(error)})


def _binary(truth: Sequence[Any], scores: Sequence[float]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    labels, said = array_of(truth).astype(float).ravel(), array_of(scores).astype(float).ravel()
    if len(labels) != len(said) or not len(labels):
        raise BadRequest(f"{len(labels)} labels and {len(said)} scores", field="scores")
    return labels, said


def _ranked(truth: Sequence[Any], scores: Sequence[float]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """How many positives and negatives have at least each score, from the highest down."""
    import numpy as np

    labels, said = _binary(truth, scores)
    order = np.argsort(-said, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(said[order])), len(order) - 1)
    hits = np.cumsum(labels[order] > 0)[ends]
    return hits, ends + 1 - hits
