"""Pages of any site can have a browser send requests to this machine, and some of them without asking first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from homeostat.server.http import HttpError

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def foreign(headers: Iterable[tuple[bytes, bytes]]) -> HttpError | None:
    """Why what a page sent to a loopback address is not answered; None where no page did, or one from here."""
    found = {name: value.decode("latin-1") for name, value in headers if name in (b"host", b"origin")}
    host, origin = found.get(b"host", ""), found.get(b"origin", "")
    if not origin or (_parts(origin).netloc == host and _parts(f"//{host}").hostname in LOOPBACK):
        return None
    return HttpError(403, "wrong_origin", f"a page of {origin} may not ask", remedy="Use a client")


def _parts(url: str) -> SplitResult:
    """A URL in parts, which are empty where it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
