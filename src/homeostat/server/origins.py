"""Who may ask. Browsers send requests to this machine on behalf of any page they show, some without asking first."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, urlsplit

from homeostat.server.http import Headers, HttpError

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def names(host: str) -> frozenset[str] | None:
    """By which names a server on this address is asked; None where it is none of loopback, and any name may be its."""
    return _LOOPBACK | {host} if host in _LOOPBACK else None


def refusal(headers: Headers, hosts: frozenset[str] | None) -> HttpError | None:
    """Why a request is not answered: it names another host, or a page of another origin sent it; None where it is.

    Args:
        headers: Of the request.
        hosts: By which names the server is asked; None: by any.
    """
    host = origin = ""
    for name, value in headers:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"origin":
            origin = value.decode("latin-1")
    if hosts is not None and _parts(f"//{host}").hostname not in hosts:
        return HttpError(403, "wrong_host", f"{host!r} is not this server", remedy="Use http://127.0.0.1")
    if origin and _parts(origin).netloc != host:
        return HttpError(403, "wrong_origin", f"a page of {origin} may not ask", remedy="Use a client")
    return None


@lru_cache(maxsize=64)  # most requests name the same
def _parts(url: str) -> SplitResult:
    """A URL in parts, which are empty where it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
