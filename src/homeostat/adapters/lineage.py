"""OpenLineage's own transports: a file of JSON lines, or a server that takes lineage over HTTP, as Marquez does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeostat.domain.errors import NotInstalled, StoreUnavailable


class OpenLineageSink:
    """Sends to a file or a server.

    Args:
        place: A path, or the URL of a server (its ``/api/v1/lineage``).
        token: What is sent as a bearer token; empty: none.

    Raises:
        NotInstalled: the extra ``lineage`` is not there.
    """

    def __init__(self, place: str, token: str = "") -> None:
        try:
            from openlineage.client.transport import get_default_factory
        except ModuleNotFoundError as error:
            raise NotInstalled(
                "openlineage-python is not installed", remedy="Run pip install 'homeostat[lineage]'"
            ) from error
        self._place = place
        if place.startswith(("http://", "https://")):
            auth = {"type": "api_key", "apiKey": token} if token else {}
            # Without the slash the last part of a path, as behind a proxy, is taken off by the library.
            url = f"{place.rstrip('/')}/"
            config: dict[str, Any] = {"type": "http", "url": url, "auth": auth, "retry": {"total": 0}}
        else:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            config = {"type": "file", "log_file_path": place, "append": True}
        self._transport: Any = get_default_factory().create(config)

    def emit(self, event: Any) -> None:
        """Send an event.

        Raises:
            StoreUnavailable: the file or the server does not take it.
        """
        try:
            self._transport.emit(event)
        except Exception as error:  # whatever its libraries raise
            raise StoreUnavailable(
                f"{self._place} takes no lineage: {type(error).__name__}: {error}",
                remedy="Check HOMEOSTAT_LINEAGE, and what listens there",
            ) from error
