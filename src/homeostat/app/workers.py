"""The model servers of this machine: who they are, and bringing them level with the store."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.leases import alive, here
from homeostat.domain.records import Lease

_PATIENCE: Final = 10.0
_AT_ONCE: Final = 32


def workers(container: Container) -> list[Lease]:
    """The model servers that run, on any machine."""
    return [
        lease for lease in container.store.find(Lease, ("role", "=", "worker")) if alive(container, lease)
    ]


def sync_workers(container: Container) -> dict[str, Any]:
    """Have every model server of this machine load what the store says and hand over its predictions.

    Those of other machines do so by themselves within half a second. A server that does not answer is left to its
    supervisor; its entry says why.

    Returns:
        By worker, what it serves and flushed, or ``{"error": …}``.
    """
    ours = [lease for lease in workers(container) if here(lease)]
    if len(ours) < 2:
        return {lease.subject: _told(lease) for lease in ours}
    # At once: one that is slow to hand over its log must not keep the next from changing its arms.
    with ThreadPoolExecutor(min(len(ours), _AT_ONCE), thread_name_prefix="sync") as pool:
        return dict(zip((lease.subject for lease in ours), pool.map(_told, ours), strict=True))


def _told(lease: Lease) -> Any:
    try:
        return _sync(lease.address)
    except (OSError, HTTPException, msgspec.DecodeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


class _Local(HTTPConnection):
    """HTTP over a socket of this machine, which has a path for an address."""

    def __init__(self, path: str) -> None:
        super().__init__("worker", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


def _sync(path: str) -> Any:
    with closing(_Local(path)) as connection:
        connection.request("POST", "/-/sync")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise HTTPException(f"it answered {answer.status}: {body[:200].decode(errors='replace')}")
        return msgspec.json.decode(body)
