"""Features of requests that history holds, computed once: the law is that offline and online are the same numbers.

A replay asks for the features of a day's requests, a training for those of all requests so far. Both are rows of the
features of all requests, each as of its own time, which one pass gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from homeostat.app.backtest.history import History
from homeostat.domain.declarations import Dataset, View
from homeostat.engine.features.featureset import FeatureSet, OnlineFeatures
from homeostat.ports.online import OnlineStore

_PLACE: Final = "_place"


class Memory:
    """Every request of a history once, and the features that were asked for.

    Args:
        history: What happened.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        request = history.model.task.request
        assert request.time is not None  # checked when the history was kept
        self._time = request.time
        self.by = [*request.keys, request.time]
        # Of a request that was corrected, as it came last.
        self._asked = history.requests().unique(self.by, keep="last", maintain_order=True)
        self._places = self._asked.select(self.by).with_row_index(_PLACE)
        self._times = self._places[self._time].dt.epoch("us").to_numpy()
        self._sources = history.sources()
        self._known: dict[tuple[str, ...], pl.DataFrame] = {}

    def places(self, requests: pl.DataFrame) -> pl.Series | None:
        """Where requests stand; None where history does not hold one of them."""
        asked = requests.select(self.by).cast({name: self._places.schema[name] for name in self.by})
        times = asked[self._time].dt.epoch("us")
        first, last = times.min(), times.max()
        if not (isinstance(first, int) and isinstance(last, int)):
            return None
        low = int(np.searchsorted(self._times, first))
        high = int(np.searchsorted(self._times, last, side="right"))
        near = self._places.slice(low, high - low)
        if near.select(self.by).equals(asked):  # those of a step are all of its time, in their order
            return near[_PLACE]
        found = asked.join(near, on=self.by, how="left", maintain_order="left")[_PLACE]
        return None if found.null_count() else found

    def features(self, of: RememberedFeatures) -> pl.DataFrame:
        """The features of every request."""
        key = (*(view.digest for view in of.views), *of.names)
        if key not in self._known:
            self._known[key] = of.compute(self._asked, self._sources)
        return self._known[key]

    @property
    def sources(self) -> dict[str, pl.LazyFrame]:
        """The rows of every dataset."""
        return self._sources


class RememberedFeatures(FeatureSet):
    """The features of a model over requests of a history; what history does not hold is computed.

    Args:
        given: The arguments of ``FeatureSet``.
        memory: What is remembered.
    """

    def __init__(
        self,
        given: tuple[Sequence[View], Dataset, Mapping[str, pl.Schema], Sequence[str], Sequence[str]],
        memory: Memory,
    ) -> None:
        super().__init__(*given)
        self._memory = memory

    def compute(self, requests: pl.DataFrame, sources: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
        """As ``FeatureSet.offline``."""
        return super().offline(requests, sources)

    def offline(self, requests: pl.DataFrame, sources: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
        """Those remembered; computed where a request is none of history's."""
        places = self._memory.places(requests)
        return self.compute(requests, sources) if places is None else self._memory.features(self)[places]

    def online(self, requests: pl.DataFrame, times: Sequence[datetime], store: OnlineStore) -> OnlineFeatures:
        """Those remembered; what stands behind them is told of none."""
        return OnlineFeatures(self.offline(requests, self._memory.sources), {}, {})
