"""The features of a model: all its views side by side, for training and for serving.

``offline`` and ``online`` give the same columns in the same order and, for every request that is no older than the row
before the newest of its entity, the same numbers.
Columns are named ``view__column``; a model without views takes the columns of the request itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from homeostat.domain.declarations import Dataset, FeatureView, OnRequest, View, Windows
from homeostat.engine.features import latest, windows
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.times import ALWAYS, event_time, micros, moment
from homeostat.ports.online import OnlineStore

_FORM: Final = 2
"""Of the entries in the online store; those of another form stay unread, and are built anew from the tables."""


@dataclass(frozen=True)
class OnlineFeatures:
    """Features of a batch of requests.

    Args:
        X: One row a request, columns as ``FeatureSet.names``.
        as_of: By view, when the newest row behind each request's features became visible.
        positions: By view, the seq of the newest batch behind each request's features.
    """

    X: pl.DataFrame
    as_of: dict[str, list[datetime | None]]
    positions: dict[str, list[int | None]]


def online_key(view: View) -> str:
    """The view's name in the online store: a changed definition or form of its entries is another one."""
    return f"{view.name}:{view.digest[7:19]}:{_FORM}"


def feature_columns(view: View, schemas: Mapping[str, pl.Schema], request: str) -> dict[str, pl.DataType]:
    """Names (with the view's prefix) and types of a view's columns.

    Raises:
        DeclarationError: the view's function cannot work on its source's columns; names view and cause.
    """
    if isinstance(view, Windows):
        return {f"{view.name}__{name}": pl.Float64() for name in view.feature_names}
    assert isinstance(view, FeatureView | OnRequest)
    source = view.source.name if isinstance(view, FeatureView) else request
    try:
        made = latest.widen(view.transform(schemas[source].to_frame().lazy()).collect())
    except pl.exceptions.PolarsError as error:
        raise view.error(
            f"cannot be computed from dataset {source!r}: {error}", f"It has {', '.join(schemas[source])}"
        ) from error
    columns = {f"{view.name}__{name}": dtype for name, dtype in made.schema.items()}
    if isinstance(view, FeatureView) and view.age:
        columns[f"{view.name}__{latest.AGE}"] = pl.Float64()
    return columns


class FeatureSet:
    """The views of one model over requests of one dataset.

    Args:
        views: The views, in the order of their columns; none: the request's own columns.
        request: The dataset whose rows ask.
        schemas: The columns of every dataset that a view reads, and of the request.
        skip: Request columns that are no features when there are no views (the label). A request that holds one
            comes without it: its row is complete only afterwards, so no feature of a request sees the request's own
            row, nor others of the same instant.
        aside: Further ones, that every request has.
    """

    def __init__(
        self,
        views: Sequence[View],
        request: Dataset,
        schemas: Mapping[str, pl.Schema],
        skip: Sequence[str] = (),
        aside: Sequence[str] = (),
    ) -> None:
        self.request = request
        self.request_columns = [name for name in schemas[request.name] if name not in skip]
        self.views = tuple(views)
        self._completed_later = request.time is not None and any(
            name in schemas[request.name] for name in skip
        )
        self.own = [
            name
            for name in schemas[request.name]
            if name not in (*request.keys, request.time, *skip, *aside) and not views
        ]
        self.stored = [view for view in views if isinstance(view, FeatureView | Windows)]
        self._columns = {view.name: feature_columns(view, schemas, request.name) for view in views}
        empty = latest.widen(schemas[request.name].to_frame().select(self.own))
        self.schema = pl.Schema(
            dict(empty.schema)
            | {name: dtype for columns in self._columns.values() for name, dtype in columns.items()}
        )
        self._keys = {view.name: online_key(view) for view in self.stored}
        for view in self.stored:
            if view.source.time and not request.time:
                raise view.error(
                    f"needs the time of a request, and dataset {request.name!r} has no time column",
                    "Name it, as in hs.Dataset(…, time=…)",
                )
            if view.entity.key not in schemas[request.name]:
                raise view.error(
                    f"needs {view.entity.key!r} in a request, and dataset {request.name!r} has no such column",
                    "Add it to the request's contract",
                )

    @property
    def names(self) -> list[str]:
        """The feature columns, in order."""
        return list(self.schema)

    @property
    def numbers(self) -> list[str]:
        """The columns, where each is a number that the request itself holds; else none."""
        numeric = not self.views and all(dtype == pl.Float64 for dtype in self.schema.dtypes())
        return self.names if numeric else []

    def widened(self, requests: pl.DataFrame) -> pl.DataFrame:
        """The request's own columns as features."""
        return latest.widen(requests.select(self.own))

    def offline(self, requests: pl.DataFrame, sources: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
        """Point-in-time features of ``requests``: no row counts that could not yet be seen at the request's time.

        Args:
            requests: Rows of the request dataset; shape (n, columns of its contract).
            sources: The rows of every dataset that a stored view reads, with ``SEQ``.

        Returns:
            Shape (n, len(names)), rows in the order of ``requests``.
        """
        parts = [self.widened(requests)] if self.own else []
        parts += [self.offline_of(view, requests, sources) for view in self.views]
        return pl.concat(parts, how="horizontal")

    def offline_of(
        self, view: View, requests: pl.DataFrame, sources: Mapping[str, pl.LazyFrame]
    ) -> pl.DataFrame:
        """The columns of one view, as in ``offline``."""
        return self._named(view, self._offline(view, requests, sources))

    def _offline(
        self, view: View, requests: pl.DataFrame, sources: Mapping[str, pl.LazyFrame]
    ) -> pl.DataFrame:
        if isinstance(view, OnRequest):
            return latest.transform(view, requests)
        assert isinstance(view, FeatureView | Windows)
        asked = requests.select(
            pl.col(view.entity.key).cast(pl.String).alias("key"), event_time(self.request).alias("at")
        )
        rows = sources[view.source.name]
        before = self._completed_later and view.source.name == self.request.name
        compute = windows.offline if isinstance(view, Windows) else latest.offline
        return compute(view, asked, rows, before=before)  # type: ignore[arg-type] # the module is that of the view

    def _named(self, view: View, frame: pl.DataFrame) -> pl.DataFrame:
        """``frame`` under the names and types of the view's columns."""
        columns = self._columns[view.name]
        if frame.dtypes != list(columns.values()):
            frame = frame.cast(dict(zip(frame.columns, columns.values(), strict=True)))
        frame.columns = list(columns)
        return frame

    def online(self, requests: pl.DataFrame, times: Sequence[datetime], store: OnlineStore) -> OnlineFeatures:
        """Features of live requests at ``times`` (UTC), from one multi-get of the online store."""
        at = [micros(time) for time in times] if self.request.time else [ALWAYS] * requests.height
        wanted: dict[tuple[str, str], int] = {}
        asked: list[list[int | None]] = []
        for view in self.stored:
            name = self._keys[view.name]
            keys = requests[view.entity.key].cast(pl.String).to_list()
            asked.append(
                [None if key is None else wanted.setdefault((name, key), len(wanted)) for key in keys]
            )
        states = store.read([(name, key.encode()) for name, key in wanted]) if wanted else []
        made = self.widened(requests).get_columns() if self.own else []
        as_of: dict[str, list[datetime | None]] = {}
        positions: dict[str, list[int | None]] = {}
        looked = {view.name: rows for view, rows in zip(self.stored, asked, strict=True)}
        for each in self.views:
            if isinstance(each, OnRequest):
                made += self._named(each, latest.transform(each, requests)).get_columns()
                continue
            assert isinstance(each, FeatureView | Windows)
            rows = [None if i is None else states[i] for i in looked[each.name]]
            found = _windowed(each, rows, at) if isinstance(each, Windows) else _latest(each, rows, at)
            columns = self._columns[each.name]
            blank = [None] * len(columns)
            values = zip(*(blank if row is None else row for row, _, _ in found), strict=True)
            made += [
                pl.Series(name, column, dtype)
                for (name, dtype), column in zip(columns.items(), values, strict=True)
            ]
            as_of[each.name] = [None if seen is None or seen < 0 else moment(seen) for _, seen, _ in found]
            positions[each.name] = [seq for _, _, seq in found]
        return OnlineFeatures(pl.DataFrame(made), as_of, positions)


_Found = tuple[list[Any] | None, int | None, int | None]


def _windowed(view: Windows, states: Sequence[bytes | None], at: Sequence[int]) -> list[_Found]:
    decoded: dict[bytes | None, windows.State] = {state: windows.decode(state) for state in set(states)}
    out: list[_Found] = []
    for state, time in zip(states, at, strict=True):
        if state is None:
            out.append((windows.lookup(view, decoded[None], time), None, None))
        else:
            found = decoded[state]
            seen = found.last if found.last <= time else min(found.prior, time)
            out.append((windows.lookup(view, found, time), seen, found.seq))
    return out


def _latest(view: FeatureView, states: Sequence[bytes | None], at: Sequence[int]) -> list[_Found]:
    out: list[_Found] = []
    for state, time in zip(states, at, strict=True):
        row = latest.seen_at(state, time)
        values = latest.lookup(view, row, time)
        out.append((values, row.seen, row.rank[1]) if values is not None and row else (None, None, None))
    return out


def changes(
    view: FeatureView | Windows, delivery: Delivery, store: OnlineStore | None, now: datetime
) -> dict[bytes, bytes]:
    """What new rows of the view's source make of its entities in the online store.

    Args:
        view: The view.
        delivery: The rows.
        store: Where the entities are as they stand; None: they have no state yet.
        now: By the world's clock.
    """
    keys = [key for key in dict.fromkeys(delivery.texts(view.entity.key)) if key is not None]
    if store is None:
        states: dict[str, bytes | None] = dict.fromkeys(keys)
    else:
        name = online_key(view)
        states = dict(zip(keys, store.read([(name, key.encode()) for key in keys]), strict=True))
    changed = (
        windows.update(view, delivery, states, now)
        if isinstance(view, Windows)
        else latest.update(view, delivery, states)
    )
    return {key.encode(): state for key, state in changed.items()}
