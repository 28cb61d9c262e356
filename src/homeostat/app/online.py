"""Keeping the online store level with the datasets.

Each view's state carries the seq of the last batch applied to it, written in the same step, so a batch is applied
once however often this is tried; a store that lost its data is rebuilt from the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from homeostat.engine.features.featureset import online_key, update
from homeostat.engine.features.windows import recent

Views = dict[str, FeatureView | Windows]
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
    behind: dict[str, list[FeatureView | Windows]] = {}
    positions = {
        record.name: record.position
        for record in container.store.find(
            records.Dataset, ("name", "in", sorted(names if fresh is None else names & fresh.keys()))
        )
    }
    for key, view in views.items():
        name = view.source.name
        if name in positions and container.online.position(key) < positions[name]:
            behind.setdefault(name, []).append(view)
    # A delivery is one short transaction; what may have to be rebuilt from tables is one for each dataset.
    groups = [[name] for name in sorted(behind)] if fresh is None else [sorted(behind)]
    moved = 0
    for group in filter(None, groups):
        with container.store.begin() as tx:
            # Under the datasets' locks, so that two processes do not apply the same batch.
            for name in group:
                record = tx.lock(records.Dataset, name)
                moved += _catch_up(container, record, behind[name], (fresh or {}).get(name)) if record else 0
    return moved


def _catch_up(
    container: Container,
    record: records.Dataset,
    views: list[FeatureView | Windows],
    fresh: pl.DataFrame | None,
) -> int:
    """Bring the views of a dataset, which is locked, level with it; returns how many moved."""
    moved = 0
    now = container.clock.now()
    unseen: dict[int, pl.DataFrame] = {}
    deliveries: dict[tuple[int, Dataset], Delivery] = {}
    if fresh is not None and SEQ in fresh.columns and fresh[SEQ][0] == record.position:
        unseen[record.position - 1] = fresh
    for view in views:
        key, source = online_key(view), view.source
        position = container.online.position(key)
        if position >= record.position:
            continue
        if position < 0:
            container.online.clear(key)
        if position not in unseen:
            unseen[position] = read_since(container, record.name, position)
        if (position, source) not in deliveries:
            deliveries[position, source] = Delivery(source, unseen[position])
        delivery = deliveries[position, source]
        if delivery.rows.height and isinstance(view, Windows) and position < 0:
            delivery = Delivery(source, recent(view, delivery.rows, now))
        if delivery.rows.height:
            update(view, delivery, container.online, now, record.position)
        else:
            container.online.write(key, {}, record.position)
        moved += 1
    return moved
