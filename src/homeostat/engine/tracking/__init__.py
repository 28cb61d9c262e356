"""What runs log, saw and ran under: points, the spool's form, the training set, the environment, the code's commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from homeostat.engine.tracking.training import TrainingSet

__all__ = ["TrainingSet"]


def __getattr__(name: str) -> Any:
    """The training set needs a dataframe library; what logs a run does not."""
    if name == "TrainingSet":
        from homeostat.engine.tracking.training import TrainingSet

        return TrainingSet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
