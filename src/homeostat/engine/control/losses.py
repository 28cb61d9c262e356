"""What one answer costs once its label has come, between 0 and a bound that is known before.

Versions are compared by the mean of these, and the tests of that mean (``sequential``) need the bound: they hold for
whatever lies within it, and for nothing that does not. So each loss is cut where it becomes too large, and what is
compared is the mean of the losses as they are cut:

* Log loss: probabilities are clipped to 0.01 to 0.99.
* Squared error, in variances of the training labels, so that its mean is 1 - R² and a model that always answers their
  mean has 1; cut at an error of three standard deviations. Errors beyond that count as that large (Huber,
  "Robust estimation of a location parameter", 1964): a version that is worse by these alone is not found by it.
* Pinball loss of a quantile, in standard deviations of the training labels, cut at three.

The scale is the champion's, and fixed when a comparison begins.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CLIP: Final = 0.01
MOST_DEVIATIONS: Final = 3.0


class LogLoss(msgspec.Struct, frozen=True, tag="log_loss"):
    """In nats. Of several classes ``p`` has shape ``(n, classes)`` and ``y`` the places of the classes."""

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        return "log loss"

    @property
    def most(self) -> float:
        """The largest loss of one answer."""
        return float(-np.log(CLIP))

    @property
    def bound(self) -> float:
        """The largest difference between the losses of two answers to one request."""
        return float(np.log((1 - CLIP) / CLIP))

    def of(self, y: npt.ArrayLike, p: npt.ArrayLike) -> Array:
        """The loss of each answer."""
        scores, labels = np.asarray(p, dtype=np.float64), np.asarray(y)
        if scores.ndim > labels.ndim:
            true = scores[np.arange(len(scores)), labels.astype(np.int64)]
            return -np.log(np.clip(true, CLIP, 1 - CLIP))
        clipped = np.clip(scores, CLIP, 1 - CLIP)
        loss: Array = -np.log(np.where(labels > 0.5, clipped, 1 - clipped))
        return loss


class SquaredError(msgspec.Struct, frozen=True, tag="squared_error"):
    """In variances of the training labels.

    Args:
        scale: Their standard deviation.
    """

    scale: float = 1.0

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        return "squared error, in variances of the label,"

    @property
    def most(self) -> float:
        """The largest loss of one answer."""
        return MOST_DEVIATIONS**2

    @property
    def bound(self) -> float:
        """The largest difference between the losses of two answers to one request."""
        return self.most

    def of(self, y: npt.ArrayLike, p: npt.ArrayLike) -> Array:
        """The loss of each answer."""
        error = (np.asarray(y, dtype=np.float64) - np.asarray(p, dtype=np.float64)) / self.scale
        loss: Array = np.minimum(error**2, self.most)
        return loss


class Pinball(msgspec.Struct, frozen=True, tag="pinball"):
    """In standard deviations of the training labels.

    Args:
        quantile: Which quantile is predicted.
        scale: The labels' standard deviation.
    """

    quantile: float
    scale: float = 1.0

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        return "pinball loss, in standard deviations of the label,"

    @property
    def most(self) -> float:
        """The largest loss of one answer."""
        return MOST_DEVIATIONS

    @property
    def bound(self) -> float:
        """The largest difference between the losses of two answers to one request."""
        return self.most

    def of(self, y: npt.ArrayLike, p: npt.ArrayLike) -> Array:
        """The loss of each answer."""
        error = (np.asarray(y, dtype=np.float64) - np.asarray(p, dtype=np.float64)) / self.scale
        loss: Array = np.maximum(self.quantile * error, (self.quantile - 1) * error)
        return np.minimum(loss, self.most)


Loss = LogLoss | SquaredError | Pinball


def name_of(loss: Loss) -> str:
    """As tasks and rollouts name it."""
    return str(loss.__struct_config__.tag)
