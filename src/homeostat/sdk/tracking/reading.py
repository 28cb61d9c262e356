"""Reading runs: from the server, or from the store itself where no server runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import quote

import msgspec

from homeostat.domain.errors import StoreUnavailable
from homeostat.sdk.transport import Transport

if TYPE_CHECKING:
    from homeostat.app.container import Container
    from homeostat.app.settings import Settings
    from homeostat.app.tracking.curves import Heap, Points
    from homeostat.app.tracking.files import RunFile
    from homeostat.app.tracking.search import View
    from homeostat.app.tracking.summaries import Best, Found, Goal, RunSummary
    from homeostat.app.tracking.values import LoggedValue


class Runs(Protocol):
    """Finds runs. For the arguments see ``homeostat.app.tracking.summaries``."""

    def find(
        self,
        filter: str = "",
        *,
        experiments: Sequence[str] = (),
        order_by: Sequence[str] = (),
        view: View = "active",
        limit: int = 100,
        token: str = "",
    ) -> Found:
        """A page of runs."""

    def summary(self, id: str) -> RunSummary:
        """One run, by its id or the beginning of it."""

    def best(
        self, metric: str, *, goal: Goal = "min", filter: str = "", experiments: Sequence[str] = ()
    ) -> Best:
        """The best run by a metric."""

    def points(self, id: str, key: str, axis: str = "") -> Points:
        """All points of a metric of a run."""

    def all_points(self, id: str, after: str = "") -> Heap:
        """The points of the metrics of a run, some metrics at once."""

    def values(self, id: str, key: str = "") -> list[LoggedValue]:
        """What is logged to a run beside numbers."""

    def files(self, id: str, folder: str = "") -> list[RunFile]:
        """Every file of a run below a folder; nothing when there is no such folder."""

    def fetch(self, id: str, path: str, into: BinaryIO) -> None:
        """Write one of a run's files to another."""

    def delete(self, id: str) -> None:
        """Delete a run; it can be restored until ``homeostat gc`` removes it."""

    def restore(self, id: str) -> None:
        """Take a deletion back."""


class RemoteRuns:
    """Runs of a server. Its infinities are texts (``strict=False`` reads them), as JSON has none.

    Args:
        transport: The way to it.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def find(
        self,
        filter: str = "",
        *,
        experiments: Sequence[str] = (),
        order_by: Sequence[str] = (),
        view: View = "active",
        limit: int = 100,
        token: str = "",
    ) -> Found:
        """A page of runs."""
        from homeostat.app.tracking.summaries import Found

        body = {
            "filter": filter,
            "experiments": list(experiments),
            "order_by": list(order_by),
            "view": view,
            "limit": limit,
            "token": token,
        }
        return msgspec.json.decode(self._post("/runs/search", body), type=Found, strict=False)

    def summary(self, id: str) -> RunSummary:
        """One run, by its id or the beginning of it."""
        from homeostat.app.tracking.summaries import RunSummary

        return msgspec.json.decode(self._get(id, "summary"), type=RunSummary, strict=False)

    def best(
        self, metric: str, *, goal: Goal = "min", filter: str = "", experiments: Sequence[str] = ()
    ) -> Best:
        """The best run by a metric."""
        from homeostat.app.tracking.summaries import Best

        body = {"metric": metric, "goal": goal, "filter": filter, "experiments": list(experiments)}
        return msgspec.json.decode(self._post("/runs/best", body), type=Best, strict=False)

    def points(self, id: str, key: str, axis: str = "") -> Points:
        """All points of a metric of a run."""
        from homeostat.app.tracking.curves import Points

        return msgspec.json.decode(self._get(id, "points", key=key, axis=axis), type=Points, strict=False)

    def all_points(self, id: str, after: str = "") -> Heap:
        """The points of the metrics of a run, some metrics at once."""
        from homeostat.app.tracking.curves import Heap

        return msgspec.json.decode(self._get(id, "points/all", after=after), type=Heap, strict=False)

    def values(self, id: str, key: str = "") -> list[LoggedValue]:
        """What is logged to a run beside numbers."""
        from homeostat.app.tracking.values import LoggedValue

        return msgspec.json.decode(self._get(id, "values", key=key), type=list[LoggedValue])

    def files(self, id: str, folder: str = "") -> list[RunFile]:
        """Every file of a run below a folder."""
        from homeostat.app.tracking.files import RunFile

        return msgspec.json.decode(self._get(id, "files", path=folder), type=list[RunFile])

    def fetch(self, id: str, path: str, into: BinaryIO) -> None:
        """Write one of a run's files to another."""
        query = {"run_uuid": id, "path": path}
        self._transport.send("GET", "/get-artifact", params=query, into=into)

    def delete(self, id: str) -> None:
        """Delete a run."""
        self._post("/api/2.0/mlflow/runs/delete", {"run_id": id})

    def restore(self, id: str) -> None:
        """Take a deletion back."""
        self._post("/api/2.0/mlflow/runs/restore", {"run_id": id})

    def _get(self, id: str, what: str, **params: str) -> bytes:
        path = f"/runs/{quote(id, safe='')}/{what}"
        return self._transport.send("GET", path, params=params, repeatable=True)

    def _post(self, path: str, body: Any) -> bytes:
        headers = {"content-type": "application/json"}
        content = msgspec.json.encode(body)
        return self._transport.send("POST", path, content=content, headers=headers, repeatable=True)


class LocalRuns:
    """Runs of a store."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def find(
        self,
        filter: str = "",
        *,
        experiments: Sequence[str] = (),
        order_by: Sequence[str] = (),
        view: View = "active",
        limit: int = 100,
        token: str = "",
    ) -> Found:
        """A page of runs."""
        from homeostat.app.tracking.summaries import find

        return find(
            self._container,
            filter,
            experiments=experiments,
            order_by=order_by,
            view=view,
            limit=limit,
            token=token,
        )

    def summary(self, id: str) -> RunSummary:
        """One run, by its id or the beginning of it."""
        from homeostat.app.tracking.summaries import summary

        return summary(self._container, id)

    def best(
        self, metric: str, *, goal: Goal = "min", filter: str = "", experiments: Sequence[str] = ()
    ) -> Best:
        """The best run by a metric."""
        from homeostat.app.tracking.summaries import best

        return best(self._container, metric, goal=goal, filter=filter, experiments=experiments)

    def points(self, id: str, key: str, axis: str = "") -> Points:
        """All points of a metric of a run."""
        from homeostat.app.tracking.curves import points

        return points(self._container, id, key, axis)

    def all_points(self, id: str, after: str = "") -> Heap:
        """The points of the metrics of a run, some metrics at once."""
        from homeostat.app.tracking.curves import all_points

        return all_points(self._container, id, after)

    def values(self, id: str, key: str = "") -> list[LoggedValue]:
        """What is logged to a run beside numbers."""
        from homeostat.app.tracking.values import logged_values

        return logged_values(self._container, id, key)

    def files(self, id: str, folder: str = "") -> list[RunFile]:
        """Every file of a run below a folder."""
        from homeostat.app.tracking.files import run_files

        return run_files(self._container, id, folder)

    def fetch(self, id: str, path: str, into: BinaryIO) -> None:
        """Write one of a run's files to another."""
        from homeostat.app.artifacts import content, find
        from homeostat.app.tracking.files import place_in_run

        into.writelines(
            content(self._container, find(self._container, place_in_run(self._container, id, path)))
        )

    def delete(self, id: str) -> None:
        """Delete a run."""
        from homeostat.app.tracking import delete_run

        delete_run(self._container, id)

    def restore(self, id: str) -> None:
        """Take a deletion back."""
        from homeostat.app.tracking import restore_run

        restore_run(self._container, id)


@contextmanager
def runs(settings: Settings, *, server: str | None = None) -> Iterator[Runs]:
    """Runs of the server where one answers, else of the store, with what waits in the spool.

    Args:
        settings: Where both are.
        server: The server to ask and no other; empty: none runs, the store is read. None: the settings' server, if it
            answers, or that of the home.
    """
    from homeostat.app.running import server_of

    url = server_of(settings) if server is None else server
    if url:
        transport = Transport(url, timeout=120.0, patience=20.0)
        try:
            if server is not None or _answers(transport):
                yield RemoteRuns(transport)
                return
        finally:
            transport.close()
    from homeostat.app.container import Container
    from homeostat.sdk.tracking.local import Local
    from homeostat.sdk.tracking.sync import sync

    with Container(settings) as container:
        sync(settings.home / "spool", Local(container))
        yield LocalRuns(container)


def _answers(transport: Transport) -> bool:
    try:
        transport.send("GET", "/health")
    except StoreUnavailable:
        return False
    return True
