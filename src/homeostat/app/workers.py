"""The model servers of this machine: who they are, and bringing them level with the store."""

from __future__ import annotations

import socket
from typing import Any, Final

import httpx
import msgspec

from homeostat.app.container import Container
from homeostat.app.leases import alive
from homeostat.domain.records import Lease

_PATIENCE: Final = 30.0


def workers(container: Container) -> list[Lease]:
    """The model servers that run, on any machine."""
    return [
        lease for lease in container.store.find(Lease, ("role", "=", "worker")) if alive(container, lease)
    ]


def sync_workers(container: Container) -> dict[str, Any]:
    """Have every model server of this machine load what the store says and hand over its predictions.

    Those of other machines do so by themselves within a second. A server that does not answer is left to its
    supervisor; its entry says why.

    Returns:
        By worker, what it serves and flushed, or ``{"error": …}``.
    """
    told: dict[str, Any] = {}
    for lease in workers(container):
        if lease.host != socket.gethostname():
            continue
        # A socket of this machine needs no certificates, and loading them takes longer than the call.
        transport = httpx.HTTPTransport(uds=lease.address, verify=False)
        with httpx.Client(transport=transport, base_url="http://worker", timeout=_PATIENCE) as client:
            try:
                answer = client.post("/-/sync")
                answer.raise_for_status()
                told[lease.subject] = msgspec.json.decode(answer.content)
            except (httpx.HTTPError, msgspec.DecodeError) as error:
                told[lease.subject] = {"error": f"{type(error).__name__}: {error}"}
    return told
