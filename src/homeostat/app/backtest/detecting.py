"""Drift detectors that others use, to compare with: ADWIN and DDM on the errors of answers, as river has them.

Bifet & Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007; Gama et al., "Learning with Drift
Detection", SBIA 2004. Both see one bit for each labelled answer, whether it was on the wrong side of one half.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from homeostat.domain.errors import HomeostatError


class Detecting:
    """A detector that is shown answers as their labels come.

    Args:
        name: ``ADWIN`` or ``DDM``.

    Raises:
        HomeostatError: river is not installed.
    """

    def __init__(self, name: str) -> None:
        try:
            from river.drift import ADWIN
            from river.drift.binary import DDM
        except ModuleNotFoundError as error:
            raise HomeostatError(
                f"comparing with {name} takes river, which is not installed",
                remedy="pip install 'homeostat[streams]'",
            ) from error
        self.name = name
        kinds: dict[str, Any] = {"ADWIN": ADWIN, "DDM": DDM}
        self._detector = kinds[name]()
        self._waiting: list[pl.DataFrame] = []

    def answered(self, answers: pl.DataFrame) -> None:
        """Take answers: the columns of the request's key, and ``score``."""
        if answers.height:
            self._waiting.append(answers)

    def labelled(self, labels: pl.DataFrame, label: str) -> bool:
        """Take labels in the order they came, by the request's key; says whether a change was detected."""
        if not self._waiting or not labels.height:
            return False
        keys = [name for name in self._waiting[0].columns if name != "score"]
        waiting = pl.concat(self._waiting)
        found = labels.join(waiting, on=keys, how="inner", maintain_order="left")
        self._waiting = [waiting.join(labels, on=keys, how="anti", maintain_order="left")]
        wrong = (found["score"] >= 0.5).cast(pl.Int8) != found[label]
        detected = False
        for one in wrong.to_list():
            self._detector.update(one)
            detected = detected or bool(self._detector.drift_detected)
        return detected
