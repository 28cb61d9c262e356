"""Single points, past records and threads: one statement to PostgreSQL, three in one transaction of SQLite.

Both find the place of the metric among the keys of the run's newest block, and add the row there. PostgreSQL is asked
over connections of its own that wait in the event loop. A statement there sees what was committed before it began;
where it waited for the run since, the block is as it is then, or nothing is done. (Another one may have begun
meanwhile: then the point is in the block before, where histories find it as well.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from struct import Struct
from typing import Final

from homeostat.adapters.sql import statements
from homeostat.adapters.sql.asking import Asking, connected
from homeostat.adapters.sql.prepared import Prepared, prepared
from homeostat.adapters.sql.store import SqlMetaStore
from homeostat.domain.errors import HomeostatError
from homeostat.domain.tracking import Metric

_MOST: Final = 4  # connections
_NUMBER, _WHOLE, _SMALL = Struct(">d"), Struct(">q"), Struct(">i")
_TYPES: Final = ("text", "text", "double precision", "bigint", "bigint", "bytea", "integer")
_NEWEST: Final = "b.seq = (SELECT max(seq) FROM metric_blocks WHERE run = r.id) AND b.level = 0"
_PLACE: Final = f"""
SELECT r.experiment, b.seq, k.key FROM runs r JOIN metric_blocks b ON b.run = r.id JOIN json_each(b.keys) k
WHERE r.id = ? AND r.deleted_at IS NULL AND {_NEWEST} AND b.count < ? AND k.value = ?"""
_LONGER: Final = """
UPDATE metric_blocks SET count = count + 1, pending = pending + 1, payload = CAST(payload || ? AS BLOB)
WHERE run = ? AND seq = ?"""
_ALL: Final = """
WITH r AS (SELECT id, experiment FROM runs WHERE id = $1 AND deleted_at IS NULL FOR UPDATE),
place AS (
    SELECT b.run, b.seq, r.experiment, (k.number - 1)::int AS number
    FROM r JOIN metric_blocks b ON b.run = r.id,
        jsonb_array_elements_text(b.keys::jsonb) WITH ORDINALITY AS k (key, number)
    WHERE {newest} AND k.key = $2
),
longer AS (
    UPDATE metric_blocks b SET count = b.count + 1, pending = b.pending + 1, payload = b.payload
        || set_byte(set_byte('\\x0000'::bytea, 0, place.number & 255), 1, place.number >> 8) || $6
    FROM place WHERE b.run = place.run AND b.seq = place.seq AND b.level = 0 AND b.count < $7
    RETURNING place.experiment
),
latest AS (
    {insert} SELECT $1, $2, experiment, $3, $4, $5
    FROM longer ON CONFLICT {conflict}
)
SELECT count(*) FROM longer"""


class SqlPoints:
    """The Points in the database of ``store``."""

    def __init__(self, store: SqlMetaStore) -> None:
        self._store = store
        self._alone = store.dialect == "sqlite"
        self._idle: list[Asking] = []
        self._open = 0

    async def append(
        self, run: str, key: str, value: float | None, step: int, timestamp: int, *, row: bytes, room: int
    ) -> bool:
        """Log a point; see the port."""
        if self._alone:
            return self._write(run, key, value, step, timestamp, row, room)
        number = None if value is None else _NUMBER.pack(value)
        return await self._ask(
            (
                run.encode(),
                key.encode(),
                number,
                _WHOLE.pack(step),
                _WHOLE.pack(timestamp),
                row,
                _SMALL.pack(room),
            )
        )

    def close(self) -> None:
        """Give back every connection; see the port."""
        for asking in self._idle:
            asking.close()
        self._idle.clear()

    def _write(
        self, run: str, key: str, value: float | None, step: int, timestamp: int, row: bytes, room: int
    ) -> bool:
        try:
            with self._store.at_once(), self._store.begin() as tx:
                found = tx.run(_PLACE, (run, room, key))
                if not found:
                    return False
                experiment, seq, number = found[0]
                tx.run(_LONGER, (number.to_bytes(2, "little") + row, run, seq))
                latest = {"run": run, "key": key, "value": value, "step": step, "timestamp": timestamp}
                tx.run(self._latest.text, self._latest.bound(latest | {"experiment": experiment}))
        except HomeostatError:
            return False
        return True

    async def _ask(self, values: Sequence[bytes | None]) -> bool:
        import psycopg

        asking = self._waiting()
        try:
            if asking is None and self._open < _MOST:
                asking = await self._connected()
            if asking is None:
                return False
            return await asking.ask(values) == b"1"
        except psycopg.Error:
            return False
        finally:
            if asking is not None:
                self._give_back(asking)

    def _waiting(self) -> Asking | None:
        """A connection that waits; those that ended while they did are given up: their sockets are somebody else's."""
        while self._idle:
            asking = self._idle.pop()
            if asking.idle:
                return asking
            self._give_back(asking)
        return None

    async def _connected(self) -> Asking:
        self._open += 1
        try:
            _, options = self._store.engine.dialect.create_connect_args(self._store.url)
            return await connected(options, self._whole, _TYPES)
        except BaseException:
            self._open -= 1
            raise

    def _give_back(self, asking: Asking) -> None:
        if asking.idle:
            self._idle.append(asking)
        else:  # broken, or left in the middle
            asking.close()
            self._open -= 1

    @cached_property
    def _latest(self) -> Prepared:
        """What writes a metric where it is later than the one that is there."""
        return prepared(
            statements.write(Metric, self._store.dialect, True, Metric.RANK), self._store.engine.dialect
        )

    @cached_property
    def _whole(self) -> str:
        insert, _, rest = self._latest.text.partition(" VALUES ")
        return _ALL.format(newest=_NEWEST, insert=insert, conflict=rest.partition(" ON CONFLICT ")[2])
