"""The search: one for every kind of thing that MLflow's protocol, the pages or the command line look for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from homeostat.app.container import Container
from homeostat.engine.tracking.filters import complete, on_datasets, parse, parse_order
from homeostat.engine.tracking.kinds import Kind
from homeostat.ports.meta import Where
from homeostat.ports.search import Dataset, Order, Page, Query


def search(
    container: Container,
    kind: Kind,
    filter: str = "",
    *,
    scope: Sequence[Where] = (),
    order_by: Sequence[str | Order] = (),
    datasets: Sequence[Dataset] = (),
    limit: int = 1000,
    token: str = "",
    gives: type[msgspec.Struct] | None = None,
) -> Page[Any]:
    """A page of what a filter finds.

    Args:
        container: The ports.
        kind: What is searched: one of ``homeostat.engine.tracking.kinds``.
        filter: Comparisons joined by AND; empty: everything in ``scope``.
        scope: Conditions on fields of the records, as for the store's ``find``.
        order_by: Terms such as ``metrics.loss DESC``, the heaviest first; empty: the kind's own order.
        datasets: Metrics count only on these, by name and digest (empty: any); empty: on all.
        limit: How many a page has at most.
        token: Where the page before ended; empty: the first.
        gives: A class that has some of the record's fields, which the page holds instead.

    Raises:
        BadRequest: the filter, an order or the token cannot be.
    """
    texts = [term for term in order_by if isinstance(term, str)]
    order = (
        parse_order(texts, kind)
        if len(texts) == len(order_by)
        else complete(
            [parse_order([term], kind)[0] if isinstance(term, str) else term for term in order_by], kind
        )
    )
    return container.search.page(
        Query(
            kind=kind.record,
            scope=tuple(scope),
            filter=on_datasets(parse(filter, kind), datasets),
            order=order,
            limit=limit,
            token=token,
            gives=gives,
        )
    )
