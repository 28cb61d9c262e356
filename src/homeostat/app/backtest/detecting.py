"""Drift detectors that others use, to compare with: ADWIN and DDM on the errors of answers, as river has them.

Bifet & Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007; Gama et al., "Learning with Drift
Detection", SBIA 2004. Both see one bit for each labelled answer, whether it was on the wrong side of one half.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from homeostat.app.answers import key_of
from homeostat.app.backtest.history import History
from homeostat.domain.declarations import Task
from homeostat.domain.errors import HomeostatError

_KEY: Final = "_key"
_AT: Final = "_at"
_NTH: Final = "_nth"


class Detecting:
    """A detector that is shown answers as their labels come.

    Args:
        name: ``ADWIN`` or ``DDM``.
        history: Where requests and labels come from.
        task: What is answered.

    Raises:
        HomeostatError: river is not installed.
    """

    def __init__(self, name: str, history: History, task: Task) -> None:
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
        self.detected: datetime | None = None  # last, by the end of the step
        self._detector = kinds[name]()
        self._history, self._task = history, task
        self._waiting: list[pl.DataFrame] = []

    def saw(self, answers: pl.DataFrame, at: datetime, now: datetime) -> None:
        """Take a step: its answers, and the labels that came in it."""
        task = self._task
        self.answered(answers)
        labels = self._history.came(task.source.name, at, now).drop_nulls(task.label)
        if self.labelled(labels.select(*task.request.keys, pl.col(task.label).cast(pl.Int8)), task.label):
            self.detected = now

    def recall(self, log: pl.DataFrame, at: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
        """Take the steps of a prediction log, from ``at`` to ``end``; gives the end of each once it is taken."""
        request = self._task.request
        keys = list(request.keys)
        assert request.time is not None  # checked when the history was kept
        # Where the one that was to answer did not, another's answer stands in its shadow's place.
        elsewhere = (pl.col("status") == 200) | pl.col("fallback").is_not_null()
        answer = pl.coalesce("score", pl.when(elsewhere).then("shadow_score"))
        answers = log.select(pl.col("at").alias(_AT), pl.col("key").alias(_KEY), answer.alias("score"))
        when = pl.col(request.time).cast(answers.schema[_AT])
        which = [_KEY, _AT, _NTH]
        nth = pl.int_range(pl.len()).over(_KEY, _AT).alias(_NTH)  # of requests that were repeated
        while at < end:
            now = min(at + step, end)
            asked = self._history.asked(at, now).select(*keys, key_of(keys).alias(_KEY), when.alias(_AT))
            told = answers.filter(pl.col(_AT) >= at, pl.col(_AT) < now)
            both = asked.with_columns(nth).join(told.with_columns(nth), on=which, maintain_order="left")
            self.saw(both.drop(which), at, now)
            yield now
            at = now

    def asks(self, trained: datetime, now: datetime, rest: timedelta) -> bool:
        """Whether it wants a training: a change was detected since the last, which began ``rest`` ago."""
        return self.detected is not None and trained < self.detected and now - trained >= rest

    def answered(self, answers: pl.DataFrame) -> None:
        """Take answers: the columns of the request's key, and ``score``, null where nobody could answer."""
        if answers.height:
            self._waiting.append(answers.drop_nulls("score"))

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


def finding(detector: str) -> str:
    """Why a training begins that a detector asks for."""
    return f"{detector} detected a change in the errors"
