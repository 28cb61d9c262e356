"""One statement asked over and over of PostgreSQL from an event loop, past psycopg's cursors: these cost more than
all else that a short call does. Values go in PostgreSQL's binary form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.pq.abc import PGresult

_NAME: Final = "asked"
_BINARY: Final = 1


class Asking:
    """A connection with a prepared statement, for one loop at a time; see ``connected``."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        from psycopg.pq import ExecStatus, TransactionStatus

        self._ok, self._idle = ExecStatus.TUPLES_OK, TransactionStatus.IDLE
        self._connection = connection
        self._driver = connection.pgconn
        self._driver.nonblocking = 0  # what is sent is little: the socket takes it at once
        self._socket = self._driver.socket
        self._answer: asyncio.Future[PGresult | None] | None = None
        self._result: PGresult | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, values: Sequence[bytes | None]) -> bytes | None:
        """The first value of the first row as PostgreSQL writes it; None where there is none.

        Raises:
            psycopg.Error: the statement or the connection fails.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._leave()
            loop.add_reader(self._socket, self._read)
            self._loop = loop
        self._answer = loop.create_future()
        self._driver.send_query_prepared(_NAME.encode(), values, [_BINARY] * len(values))
        result = await self._answer
        if result is None or result.status != self._ok:
            from psycopg import OperationalError

            raise OperationalError("no answer" if result is None else result.get_error_message())
        return result.get_value(0, 0) if result.ntuples else None

    @property
    def idle(self) -> bool:
        """Whether it can be asked: it is whole, and nothing is under way."""
        return self._driver.transaction_status == self._idle

    def close(self) -> None:
        """End it."""
        self._leave()
        self._driver.finish()

    def _leave(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
        self._loop = None

    def _read(self) -> None:
        """Take what came; once it is the whole answer, hand it over."""
        from psycopg import Error

        answer = self._answer
        try:
            self._driver.consume_input()
            while not self._driver.is_busy():
                result = self._driver.get_result()
                if result is None:
                    if answer is not None and not answer.done():
                        answer.set_result(self._result)
                    self._result = None
                    return
                self._result = result
        except Error as error:
            self._leave()
            if answer is not None and not answer.done():
                answer.set_exception(error)


async def connected(options: Mapping[str, Any], statement: str, types: Sequence[str]) -> Asking:
    """A connection that can be asked ``statement``.

    Args:
        options: How psycopg connects.
        statement: What is asked, its parameters called ``$1``, ``$2`` and so on.
        types: Those of the parameters, as PostgreSQL calls them.

    Raises:
        psycopg.Error: the server cannot be reached, or refuses the statement.
    """
    from psycopg import AsyncConnection

    connection = await AsyncConnection.connect(**options, autocommit=True)
    try:
        await connection.execute(f"PREPARE {_NAME} ({', '.join(types)}) AS {statement}".encode())
        return Asking(connection)
    except BaseException:
        connection.pgconn.finish()
        raise
