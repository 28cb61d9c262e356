"""Features of requests that history holds, computed once: the law is that offline and online are the same numbers.

A replay asks for the features of a day's requests, a training for those of all requests so far. Both are rows of the
features of all requests, each as of its own time, which one pass gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from homeostat.app.backtest.history import History
from homeostat.domain.declarations import Dataset, View
from homeostat.engine.features.featureset import FeatureSet, OnlineFeatures
from homeostat.ports.online import OnlineStore


class Memory:
    """Every request of a history once, and the features that were asked for.

    Args:
        history: What happened.
    """

    def __init__(self, history: History) -> None:
        request = history.model.task.request
        self.by = [*request.keys, *([request.time] if request.time else [])]
        # Of a request that was corrected, as it came last.
        self._asked = history.requests().unique(self.by, keep="last", maintain_order=True)
        self._places = {values: place for place, values in enumerate(self._asked.select(self.by).iter_rows())}
        self._sources = history.sources()
        self._known: dict[tuple[str, ...], pl.DataFrame] = {}

    def places(self, requests: pl.DataFrame) -> list[int] | None:
        """Where requests stand; None where history does not hold one of them."""
        get = self._places.get
        found = [get(values) for values in requests.select(self.by).iter_rows()]
        return None if None in found else found  # type: ignore[return-value] # none of them is None

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
        given: tuple[Sequence[View], Dataset, Mapping[str, pl.Schema], Sequence[str]],
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
