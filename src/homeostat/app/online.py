"""Keeping the online store level with the datasets.

Each view's state carries the seq of the last batch applied to it, written in the same step, so a batch is applied
once however often this is tried; a store that lost its data is rebuilt from the tables. That, and what a new view has
to see, is computed while rows go on to come in, and is written if the view is still where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final
from weakref import WeakKeyDictionary

import polars as pl

from homeostat.app.code import codes_in_use, declared
from homeostat.app.container import Container
from homeostat.app.reading import read_since
from homeostat.domain import records
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Dataset, FeatureView, Windows
from homeostat.domain.errors import NotFound
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.featureset import changes, online_key
from homeostat.engine.features.windows import recent

_NEAR: Final = 8  # batches that are applied while their dataset is locked
_ROUNDS: Final = 5

Views = dict[str, FeatureView | Windows]
Behind = dict[str, list[FeatureView | Windows]]
# Asked for with every delivery; what it follows from changes only with an event.
_known: WeakKeyDictionary[Container, tuple[str, Views]] = WeakKeyDictionary()


def live_views(container: Container) -> Views:
    """Every stored view that the applied project or a serving version needs, by its key in the online store."""
    head = container.ledger.head().hash
    known = _known.get(container)
    if known is None or known[0] != head:
        known = _known[container] = (head, _live_views(container))
    return known[1]


def _live_views(container: Container) -> Views:
    try:
        codes = codes_in_use(container)
    except NotFound:
        return {}
    declarations = [view for code in codes for view in declared(container, code).views.values()]
    return {online_key(view): view for view in declarations if isinstance(view, FeatureView | Windows)}


def refresh(container: Container, fresh: Mapping[str, pl.DataFrame] | None = None) -> int:
    """Apply every batch that a view has not seen, of some datasets or of all; returns how many views moved.

    Args:
        container: The ports.
        fresh: The datasets, each with the rows of its last batch and their ``SEQ``, which saves reading them back;
            without it the rows are read. None: every dataset.
    """
    views = live_views(container)
    names = {view.source.name for view in views.values()}
    if fresh is not None:
        names &= fresh.keys()
    near, far = _behind(container, views, names)
    # First: neither what takes long nor a view whose function fails holds up those that serve.
    moved = _level(container, near, fresh)
    if far:
        failed: dict[str, Exception] = {}
        moved |= _apart(container, views, names, failed, wait=fresh is None)
        near, _ = _behind(container, views, names)
        moved |= _level(container, near, fresh)
        if failed:
            raise next(iter(failed.values()))
    return len(moved)


def _level(container: Container, near: Behind, fresh: Mapping[str, pl.DataFrame] | None) -> set[str]:
    """Apply the few batches that views lack; returns the keys of those that moved."""
    moved: set[str] = set()
    # A delivery is one short transaction.
    for group in [[name] for name in sorted(near)] if fresh is None else [sorted(near)]:
        if not group:
            continue
        with container.store.begin() as tx:
            # Under the datasets' locks, so that two processes do not apply the same batch.
            for name in group:
                record = tx.lock(records.Dataset, name)
                if record:
                    moved |= _catch_up(container, record, near[name], (fresh or {}).get(name))
    return moved


def _behind(container: Container, views: Views, names: Set[str]) -> tuple[Behind, Behind]:
    """The views of each dataset that have not seen all of its batches: those that lack a few, and all others."""
    positions = {
        record.name: record.position
        for record in container.store.find(records.Dataset, ("name", "in", sorted(names)))
    }
    near: Behind = {}
    far: Behind = {}
    for key, view in views.items():
        name = view.source.name
        if name in positions and (position := container.online.position(key)) < positions[name]:
            is_near = position >= 0 and positions[name] - position <= _NEAR
            (near if is_near else far).setdefault(name, []).append(view)
    return near, far


def _apart(
    container: Container, views: Views, names: Set[str], failed: dict[str, Exception], *, wait: bool
) -> set[str]:
    """Bring the views that are far behind nearly level while deliveries go on; returns the keys of those that moved.

    What takes long, reading tables and computing, holds no lock of the store. One thread of a process is at it at a
    time.

    Args:
        container: The ports.
        views: Those that are needed.
        names: Of which datasets.
        failed: Takes, by key, why a view could not be computed; the others are built all the same.
        wait: Whether to wait for another that is at it; else it is left to that one.
    """
    moved: set[str] = set()
    lock = container.turn("build features")
    if not lock.acquire(blocking=wait):
        return moved
    try:
        for _ in range(_ROUNDS):
            sound = {key: view for key, view in views.items() if key not in failed}
            _, far = _behind(container, sound, names)
            if not far:
                break
            for name in sorted(far):
                moved |= _build(container, name, far[name], failed)
    finally:
        lock.release()
    return moved


def _build(
    container: Container, name: str, views: Sequence[FeatureView | Windows], failed: dict[str, Exception]
) -> set[str]:
    """Bring views of a dataset to where it is now, unless another was quicker; returns the keys of those that moved."""
    record, online = container.store.get(records.Dataset, name), container.online
    if record is None:
        return set()
    moved = set()
    deliveries: dict[tuple[int, Dataset], Delivery] = {}
    for view in views:
        key, source = online_key(view), view.source
        position = online.position(key)
        if position >= record.position:  # it was brought here, or further, while another view was built
            continue
        if (position, source) not in deliveries:
            rows = read_since(container, name, position, upto=record.position)
            deliveries[position, source] = Delivery(source, rows)
        try:
            entries = _entries(container, view, deliveries[position, source], position)
        except Exception as error:  # noqa: BLE001 - it is raised once the others are built
            failed[key] = error
            continue
        with container.store.begin() as tx:
            tx.lock(records.Dataset, name)
            if online.position(key) == position:
                if position < 0:
                    online.clear(key)
                online.write(key, entries, record.position)
                moved.add(key)
    return moved


def _entries(
    container: Container, view: FeatureView | Windows, delivery: Delivery, position: int
) -> dict[bytes, bytes]:
    """What rows after ``position``, which the view has seen, make of its entities."""
    now = container.clock.now()
    if not delivery.rows.height:
        return {}
    if position >= 0:
        return changes(view, delivery, container.online, now)
    if isinstance(view, Windows):
        delivery = Delivery(view.source, recent(view, delivery.rows, now))
    return changes(view, delivery, None, now) if delivery.rows.height else {}


def _catch_up(
    container: Container,
    record: records.Dataset,
    views: Sequence[FeatureView | Windows],
    fresh: pl.DataFrame | None,
) -> set[str]:
    """Bring the views of a dataset, which is locked, level with it; returns the keys of those that moved."""
    moved = set()
    unseen: dict[int, pl.DataFrame] = {}
    deliveries: dict[tuple[int, Dataset], Delivery] = {}
    if fresh is not None and SEQ in fresh.columns and fresh[SEQ][0] == record.position:
        unseen[record.position - 1] = fresh
    for view in views:
        key, source = online_key(view), view.source
        position = container.online.position(key)
        if not 0 <= position < record.position:
            continue
        if position not in unseen:
            unseen[position] = read_since(container, record.name, position)
        if (position, source) not in deliveries:
            deliveries[position, source] = Delivery(source, unseen[position])
        entries = _entries(container, view, deliveries[position, source], position)
        container.online.write(key, entries, record.position)
        moved.add(key)
    return moved
