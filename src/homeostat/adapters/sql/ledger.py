"""The ledger in SQL: appending at the end of a transaction, reading, and walking the chain.

``seq`` is given at commit, under a lock that is held from there to the end of the commit. So it has no gaps,
and whoever has seen ``n`` has seen all that will ever be below ``n``. The chain shows every change that was
made past Homeostat, unless whoever made it computed the chain anew up to its end; a copy of ``head`` kept
elsewhere shows that as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from homeostat.adapters.sql.columns import json_text, moment
from homeostat.adapters.sql.tables import edges, events, ledger_head
from homeostat.domain.errors import BadRequest, LedgerBroken
from homeostat.domain.events import GENESIS, Edge, Event, Head, Verdict, chain

if TYPE_CHECKING:
    from homeostat.adapters.sql.store import SqlMetaStore

# Any number that only Homeostat's ledger takes: "hs-ledgr" in ASCII.
_LOCK: Final = int.from_bytes(b"hs-ledgr", "big")
_BEFORE_ALL: Final = -(2**63)

_HEAD: Final = select(ledger_head.c.seq, ledger_head.c.hash).where(ledger_head.c.id == 1)
_MOVE: Final = (
    update(ledger_head).where(ledger_head.c.id == 1).values(seq=bindparam("to"), hash=bindparam("hash"))
)
_READ: Final = (
    select(events).where(events.c.seq > bindparam("after")).order_by(events.c.seq).limit(bindparam("limit"))
)
# As text, so that no column type decodes: a row that was tampered with may not decode at all.
_RAW_EVENTS: Final = text(
    "SELECT seq, kind, subject, at, actor, body, edges, previous, hash FROM events"
    " WHERE seq > :after ORDER BY seq LIMIT 500"
)
_RAW_EDGES: Final = text("SELECT seq, source, target, role FROM edges WHERE seq > :after AND seq <= :to")
_TO_JSON: Final = msgspec.json.Encoder().encode
_EVENT: Final = msgspec.json.Decoder(Event)
_BODY: Final = msgspec.json.Decoder(dict[str, Any])
_EDGES: Final = msgspec.json.Decoder(tuple[Edge, ...])


def settled(event: Event) -> Event:
    """``event`` as it will read back, so that its hash holds: the time in UTC, the body as JSON gives it.

    Raises:
        BadRequest: it has a naive time, or a body that JSON cannot hold.
    """
    if event.at.tzinfo is None:
        raise BadRequest(
            f"the event {event.kind} has a time without a zone",
            field="Event.at",
            remedy="Use the Clock's now()",
        )
    json_text(event.body, "Event.body")  # refuses what would come back as something else
    return _EVENT.decode(_TO_JSON(msgspec.structs.replace(event, at=event.at.astimezone(UTC))))


def append(connection: Connection, added: Sequence[Event]) -> None:
    """Chain settled events to the ledger in the open transaction, whose last writes these must be.

    Raises:
        LedgerBroken: the ledger's end is not where its head says.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    head = _head(connection.execute(_HEAD).one_or_none())
    linked = []
    for event in added:
        linked.append(chain(event, head))
        head = Head(linked[-1].seq, linked[-1].hash)
    try:
        connection.execute(insert(events), [_fields(event) for event in linked])
    except IntegrityError as error:
        raise LedgerBroken(
            f"the ledger has events after its head, {linked[0].seq - 1}",
            remedy="Verify the ledger; it names the place",
        ) from error
    joined = [
        {"seq": event.seq, "source": edge.source, "target": edge.target, "role": edge.role}
        for event in linked
        for edge in dict.fromkeys(event.edges)
    ]
    if joined:
        connection.execute(insert(edges), joined)
    connection.execute(_MOVE, {"to": head.seq, "hash": head.hash})


class SqlLedger:
    """The Ledger in the database of ``store``."""

    def __init__(self, store: SqlMetaStore) -> None:
        self._store = store

    def head(self) -> Head:
        """The end of the chain."""
        rows = self._store.standing(_HEAD, {})
        return _head(rows[0] if rows else None)

    def read(self, after: int = 0, *, limit: int = 1000) -> list[Event]:
        """Events with ``seq`` > ``after``, in order."""
        rows = self._store.standing(_READ, {"after": after, "limit": limit})
        return [Event(**dict(zip(events.c.keys(), row, strict=True))) for row in rows]

    def find(
        self,
        *,
        subject: str | None = None,
        kinds: Sequence[str] = (),
        until: datetime | None = None,
        limit: int = 100,
        newest: bool = True,
    ) -> list[Event]:
        """Events about ``subject`` or any version of it, of ``kinds``; the newest first, or the oldest."""
        statement = select(events)
        if subject is not None:
            # "A" follows "@", so this is every text that begins with "subject@".
            column = events.c.subject
            versions = (column >= f"{subject}@") & (column < f"{subject}A")
            statement = statement.where(or_(column == subject, versions))
        if kinds:
            statement = statement.where(events.c.kind.in_(list(kinds)))
        if until is not None:
            statement = statement.where(events.c.at <= until)
        statement = statement.order_by(events.c.seq.desc() if newest else events.c.seq).limit(limit)
        return [Event(**row._mapping) for row in self._rows(statement, {})]

    def edges(self, ref: str, direction: Literal["up", "down"]) -> list[Edge]:
        """Edges into ``ref`` (up) or out of it (down), each once, in the order they came to be."""
        end = edges.c.target if direction == "up" else edges.c.source
        columns = (edges.c.source, edges.c.target, edges.c.role)
        order = (func.min(edges.c.seq), *columns)
        statement = select(*columns).where(end == ref).group_by(*columns).order_by(*order)
        return [Edge(*row) for row in self._rows(statement, {})]

    def verify(self) -> Verdict:
        """Walk the whole chain in one state of the store; memory does not grow with its length."""
        with self._store.snapshot() as connection:
            return _walk(connection)

    def _rows(self, statement: Any, values: dict[str, Any]) -> Sequence[Any]:
        return self._store.rows(statement, values)


def _head(row: Any) -> Head:
    if row is None:
        raise LedgerBroken("the ledger has lost its head", remedy="Restore the store from a backup")
    return Head(row[0], row[1])


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in events.c.keys()}  # noqa: SIM118 - not a dict


def _walk(connection: Connection) -> Verdict:
    last, checked = Head(0, GENESIS), 0
    for row, stored in _stored(connection):
        reason = _flaw(row, stored, last)
        if reason:
            return Verdict(ok=False, checked=checked, broken_at=min(row.seq, last.seq + 1), reason=reason)
        last, checked = Head(row.seq, row.hash), checked + 1
    stray = connection.execute(
        select(func.min(edges.c.seq)).where(or_(edges.c.seq > last.seq, edges.c.seq < 1))
    ).scalar()
    head = connection.execute(_HEAD).one_or_none()
    if head is None:
        reason = "the head of the ledger was removed"
    elif head.seq > last.seq:
        reason = f"event {last.seq + 1} was removed: the ledger goes to {head.seq}"
    elif head.seq < last.seq or head.hash != last.hash:
        reason = f"the head of the ledger was edited: it is not event {last.seq}"
    elif stray is not None:
        reason = f"there are edges of event {stray}, which does not exist"
    else:
        return Verdict(ok=True, checked=checked)
    return Verdict(ok=False, checked=checked, broken_at=last.seq + 1, reason=reason)


def _stored(connection: Connection) -> Iterator[tuple[Any, list[Edge]]]:
    """Every event's row as it stands in the database, undecoded, with the rows of its edges."""
    after = _BEFORE_ALL
    while page := connection.execute(_RAW_EVENTS, {"after": after}).fetchall():
        to = page[-1].seq
        joined: defaultdict[int, list[Edge]] = defaultdict(list)
        for seq, source, target, role in connection.execute(_RAW_EDGES, {"after": after, "to": to}):
            joined[seq].append(Edge(source, target, role))
        for row in page:
            yield row, joined[row.seq]
        after = to


def _flaw(row: Any, stored: list[Edge], last: Head) -> str:
    """Why this row cannot be the event after ``last``; empty when it is."""
    if row.seq != last.seq + 1:
        if row.seq > last.seq:
            return f"event {last.seq + 1} was removed: after {last.seq} comes {row.seq}"
        return f"there is an event {row.seq}, before the first"
    try:
        event = Event(
            seq=row.seq,
            kind=row.kind,
            subject=row.subject,
            at=moment(row.at),
            actor=row.actor,
            body=_BODY.decode(row.body),
            edges=_EDGES.decode(row.edges),
            previous=row.previous,
            hash=row.hash,
        )
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        return f"event {row.seq} was edited: it cannot be read ({error})"
    if event.previous != last.hash:
        return f"event {row.seq} was put there or moved: it does not follow event {last.seq}"
    if chain(event, last) != event:
        return f"event {row.seq} was edited: it does not match its hash"
    if set(stored) != set(event.edges):
        return f"the edges of event {row.seq} were edited: they are not those in the event"
    return ""
