"""The short way of a request: from the parsed bytes to who answers and back, in one write.

uvicorn's protocol makes a task, an event and two writes of each request, which costs more than a small answer. What a
subclass knows goes the short way. All else goes uvicorn's through the same application: what the subclass does not
know, what is pipelined behind a request that is not answered yet, and connections as such. But for all of them it holds
that a client may close its side once it has asked, that one which never ends asking is dropped, and that one which
offers to speak another protocol (as Java's does) is answered in this one.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import inf
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from homeostat.server.http import Reply

_OFFERS: Final = frozenset({b"upgrade", b"http2-settings", b"connection"})
"""Headers that offer another protocol. One that keeps its connection without a word need not say so."""


class Asked:
    """One request on the short way. Some of its attributes are those that the protocol knows of its cycles.

    Args:
        protocol: The connection it came on.
        path: What was asked for, as it came.
        query: What followed the question mark.
    """

    __slots__ = (
        "body",
        "disconnected",
        "encoding",
        "keep_alive",
        "more_body",
        "path",
        "protocol",
        "query",
        "response_complete",
        "state",
        "task",
        "trace",
    )

    def __init__(self, protocol: ShortWay, path: bytes, query: bytes) -> None:
        self.protocol = protocol
        self.path = path
        self.query = query
        self.keep_alive = True
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.trace = b""
        self.state = b""
        self.encoding = b""
        self.task: asyncio.Task[None] | None = None

    @property
    def message_event(self) -> Asked:
        """Where the protocol tells its cycles that something came: nobody waits here."""
        return self

    def set(self) -> None:
        """Nothing: see ``message_event``."""

    def reply(self, reply: Reply) -> None:
        """Write the answer, all of it at once."""
        protocol, transport = self.protocol, self.protocol.transport
        if self.response_complete or transport.is_closing():
            return
        self.response_complete = True
        status, body, media_type, headers = reply
        parts = [STATUS_LINE[status]]
        for name, value in protocol.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in headers or ():
            if name == b"connection" and value == b"close":
                self.keep_alive = False
            else:
                parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"content-type: ", media_type, b"\r\ncontent-length: %d\r\n\r\n" % len(body), body)
        transport.write(b"".join(parts))
        if not self.keep_alive:
            transport.close()
        protocol.answered()


class ShortWay(HttpToolsProtocol, ABC):
    """uvicorn's protocol with the short way. A subclass says what takes it, and answers that."""

    since = 0.0
    """When the request began that is not whole yet, in the loop's time; 0 where there is none, and infinity where the
    application looks after it."""
    rested = 0.0
    """When the last answer of the short way went out, in the loop's time; 0 where a request came since."""
    offered = False
    """Whether the request that is being read offers another protocol."""

    @abstractmethod
    def takes(self, path: bytes) -> bool:
        """Whether a request, whose headers are there, takes the short way."""

    @abstractmethod
    def limit(self) -> int:
        """How many bytes a body may have."""

    @abstractmethod
    def refuse(self, asked: Asked) -> None:
        """Answer a request whose body is longer."""

    @abstractmethod
    def answer(self, asked: Asked) -> None:
        """Begin to answer a request, which is whole."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Read on behind an offer of another protocol, where the parser stops, as if there had been none."""
        while data:
            self._unset_keepalive_if_required()
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                self.offered = False
                if self.parser.get_method() != b"CONNECT":
                    data = self._declined() + data[stopped.args[0] :]
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                    continue
                self.send_400_response("This is no proxy.")
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
            return

    def _declined(self) -> bytes:
        """The head of the request without what it offers."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name not in _OFFERS:
                lines.append(b"%b: %b" % (name, value))
            elif name == b"connection" and b"close" in value.lower():
                lines.append(b"connection: close")
        return b"\r\n".join([*lines, b"", b""])

    def eof_received(self) -> bool:  # type: ignore[override]  # True: keep the connection
        """Who has sent a whole request and no more still gets the answer."""
        cycle: Any = self.cycle
        if self.since or cycle is None or cycle.response_complete:
            return False
        cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """Note when. What the application needs to know of a request is put together where it goes there."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.since = self.loop.time()
        self.rested = 0.0

    def on_headers_complete(self) -> None:
        """Take the short way where the request allows it."""
        if self.parser.should_upgrade():
            self.offered = True
            return
        path, _, query = self.url.partition(b"?")
        cycle: Any = self.cycle
        if (
            b"%" in self.url
            or not (cycle is None or cycle.response_complete)
            or self.expect_100_continue
            or self.parser.get_method() != b"POST"
            or not self.takes(path)
        ):
            url, headers, expect = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expect
            self.headers += headers
            super().on_headers_complete()
            return
        asked = Asked(self, path, query)
        asked.keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self.cycle = asked  # type: ignore[assignment]  # as far as the protocol looks, it is one of its own
        self.begun(asked)

    def begun(self, asked: Asked) -> None:
        """Look at the headers of a request that takes the short way."""

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to the limit."""
        cycle: Any = self.cycle
        if type(cycle) is not Asked:
            super().on_body(body)
        elif not cycle.response_complete:
            if not cycle.body:
                cycle.body = body
            elif type(cycle.body) is bytes:
                cycle.body = bytearray(cycle.body + body)
            else:
                cycle.body += body
            if len(cycle.body) > self.limit():
                self.refuse(cycle)

    def on_message_complete(self) -> None:
        """Ask."""
        if self.offered:  # and nothing was read yet behind its headers
            return
        self.since = 0.0
        cycle: Any = self.cycle
        if type(cycle) is not Asked:
            super().on_message_complete()
        elif not cycle.response_complete:
            self.answer(cycle)

    def answered(self) -> None:
        """An answer of the short way went out: what is pipelined behind it is next."""
        if self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.rested = self.loop.time()


def drop_slow(connections: Iterable[object], patience: float) -> None:
    """Close connections whose request is not whole after so many seconds, and those that nobody uses any more.

    One look at all of them now and then costs less than a timer for each answer.
    """
    for connection in list(connections):
        if not isinstance(connection, ShortWay):
            continue
        now = connection.loop.time()
        cycle: Any = connection.cycle
        if connection.since == inf and cycle is not None and cycle.response_complete:
            connection.since = now  # answered before it was whole: nobody looks after the rest any more
        if connection.since and now - connection.since > patience:
            connection.since = 0.0
            connection.transport.abort()
        elif connection.rested and now - connection.rested > connection.timeout_keep_alive:
            connection.rested = 0.0
            connection.transport.close()
