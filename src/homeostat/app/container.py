"""The container: the only place that knows which adapter stands behind which port.

A port is made when it is first asked for, and its library is imported only then. ``close`` gives back what
was made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from homeostat.app.channels import Channel, parse_channels
from homeostat.app.settings import Settings
from homeostat.domain.errors import HomeostatError

if TYPE_CHECKING:
    import polars as pl

    from homeostat.adapters.sql import SqlMetaStore
    from homeostat.domain.declarations import Task, View
    from homeostat.domain.records import ModelVersion
    from homeostat.engine.features.featureset import FeatureSet
    from homeostat.engine.registry.package import Package
    from homeostat.ports.blobs import Blobs
    from homeostat.ports.clock import Clock
    from homeostat.ports.direct import Direct
    from homeostat.ports.executor import Executor
    from homeostat.ports.ledger import Ledger
    from homeostat.ports.lineage import LineageSink
    from homeostat.ports.meta import MetaStore
    from homeostat.ports.notifier import Notifier, Sender
    from homeostat.ports.online import OnlineStore
    from homeostat.ports.points import Points
    from homeostat.ports.search import Search
    from homeostat.ports.sources import Sink, Source
    from homeostat.ports.tables import Tables

    _port = cached_property
else:

    class _port(cached_property):
        """A cached property that two threads cannot both make."""

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            with instance.lock:
                return super().__get__(instance, owner)


_WAITING: Final = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "500"}
_LIBRARIES: Final = ("homeostat.app.training", "homeostat.adapters.sql", "skops.io")
"""What nearly every job imports."""


class Container:
    """The ports, wired as the settings say. A context manager; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = RLock()
        self._turns: dict[str, Lock] = {}
        self._made = ExitStack()
        settings.home.mkdir(parents=True, exist_ok=True)

    @_port
    def clock(self) -> Clock:
        from homeostat.adapters.clock import SimulatedClock, SystemClock

        if self.settings.clock == "system":
            return SystemClock()
        clock = SimulatedClock(self.settings.home / "clock")
        self._made.callback(clock.close)
        return clock

    @_port
    def store(self) -> MetaStore:
        return self._sql

    @_port
    def ledger(self) -> Ledger:
        from homeostat.adapters.sql import SqlLedger

        return SqlLedger(self._sql)

    @_port
    def search(self) -> Search:
        from homeostat.adapters.sql import SqlSearch

        return SqlSearch(self._sql)

    @_port
    def points(self) -> Points:
        from homeostat.adapters.sql import SqlPoints

        points = SqlPoints(self._sql)
        self._made.callback(points.close)
        return points

    @_port
    def blobs(self) -> Blobs:
        from homeostat.adapters.blobs import FileBlobs, S3Blobs

        place = self.settings.blobs
        return S3Blobs(place, s3_options(os.environ)) if place.startswith("s3://") else FileBlobs(Path(place))

    @_port
    def direct(self) -> Direct | None:
        """Where others reach the blobs past this process; None where they cannot."""
        from homeostat.adapters.blobs import S3Direct

        place = self.settings.blobs
        return S3Direct(place, s3_options(os.environ)) if place.startswith("s3://") else None

    @_port
    def tables(self) -> Tables:
        from homeostat.adapters.tables import DeltaTables

        place = self.settings.tables
        return DeltaTables(place, s3_options(os.environ) if place.startswith("s3://") else {})

    @_port
    def online(self) -> OnlineStore:
        from homeostat.adapters.online import LmdbOnline, RedisOnline

        scheme, _, rest = self.settings.online.partition(":")
        online: OnlineStore = (
            LmdbOnline(Path(rest)) if scheme == "lmdb" else RedisOnline(self.settings.online)
        )
        self._made.callback(online.close)
        return online

    @_port
    def executor(self) -> Executor:
        from homeostat.adapters.executors import LocalExecutor

        # Threads of OpenMP that spin while they wait starve each other where there are more of them than cores, and
        # waking one that sleeps costs more than a short loop takes: those of GNU may spin a little before they sleep.
        environment = {name: os.environ.get(name, value) for name, value in _WAITING.items()}
        environment |= self.settings.environment()
        executor = LocalExecutor(
            environment,
            logs=self.settings.home / "logs" / "jobs",
            monotonic=self.clock.monotonic,
            libraries=_LIBRARIES,
        )
        self._made.callback(executor.close)
        return executor

    @_port
    def notifier(self) -> Notifier:
        from homeostat.adapters.notifiers import LogNotifier

        return LogNotifier(self.settings.home / "logs" / "alerts.jsonl")

    @_port
    def channels(self) -> tuple[Channel, ...]:
        """Who else is told of alerts."""
        return parse_channels(self.settings.channels)

    @_port
    def lineage(self) -> LineageSink | None:
        """Where lineage is told; None: nowhere."""
        from homeostat.adapters.lineage import OpenLineageSink

        place = self.settings.lineage
        return OpenLineageSink(place, os.environ.get("HOMEOSTAT_LINEAGE_TOKEN", "")) if place else None

    def sender(self, channel: Channel) -> Sender:
        """The way to a channel, with its secrets from the environment.

        Raises:
            HomeostatError: its URL, its secret or its library is not there.
        """
        from homeostat.adapters.notifiers import AppriseService, Webhook

        url = channel.address()
        if channel.kind == "apprise":
            return AppriseService(url)
        secret = os.environ.get(channel.secret_variable, "")
        if not secret:
            raise HomeostatError(
                f"channel {channel.name} has no secret to sign with",
                remedy=f"Set {channel.secret_variable} to whsec_ and base64",
            )
        return Webhook(url, secret, self.clock.wall)

    def source(self, place: str, *, form: str = "", files: Path | None = None, links: bool = False) -> Source:
        """A reader of another tracker's place; for arguments see ``homeostat.adapters.sources.opening``."""
        from homeostat.adapters.sources import open_source

        return open_source(place, form=form, files=files, links=links)

    def sink(self, folder: Path) -> Sink:
        """A writer of an export."""
        from homeostat.adapters.sources import ExportFolder

        return ExportFolder(folder)

    def features(self, views: Sequence[View], task: Task, schemas: Mapping[str, pl.Schema]) -> FeatureSet:
        """The features of a model; see ``FeatureSet``. A replay of history remembers those it has computed."""
        from homeostat.engine.features.featureset import FeatureSet

        return FeatureSet(views, task.request, schemas, [task.label], task.aside)

    def package(self, version: ModelVersion, trusted: Sequence[str]) -> Package:
        """The package of a version, loaded; see ``package.load``. A replay of history remembers the newest."""
        from homeostat.engine.registry import package

        return package.load(self.blobs, version.manifest, trusted, expect=version.digest)

    def turn(self, work: str) -> Lock:
        """The lock of a piece of work that one thread of this process does at a time."""
        return self._turns.setdefault(work, Lock())

    def close(self) -> None:
        """Close every port that was made, the last first. The container is spent."""
        self._made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @_port
    def _sql(self) -> SqlMetaStore:
        from homeostat.adapters.sql import SqlMetaStore

        store = SqlMetaStore(self.settings.store)
        self._made.callback(store.close)
        return store


S3_VARIABLES: Final = frozenset(
    f"AWS_{name}"
    for name in (
        "ACCESS_KEY_ID",
        "SECRET_ACCESS_KEY",
        "SESSION_TOKEN",
        "REGION",
        "DEFAULT_REGION",
        "ENDPOINT",
        "ENDPOINT_URL",
        "ENDPOINT_URL_S3",
        "ALLOW_HTTP",
        "SKIP_SIGNATURE",
        "VIRTUAL_HOSTED_STYLE_REQUEST",
        "S3_EXPRESS",
        "CONDITIONAL_PUT",
        "CONTAINER_CREDENTIALS_RELATIVE_URI",
        "WEB_IDENTITY_TOKEN_FILE",
        "ROLE_ARN",
    )
)


def s3_options(environ: Mapping[str, str]) -> dict[str, str]:
    """The ``AWS_*`` variables that say where and as whom, and leave to use plain http where the endpoint does.

    Others of that prefix are for other programs, and an unknown one would be refused.
    """
    options = {name: value for name, value in environ.items() if name in S3_VARIABLES and value}
    endpoint = (
        options.get("AWS_ENDPOINT_URL_S3")
        or options.get("AWS_ENDPOINT_URL")
        or options.get("AWS_ENDPOINT", "")
    )
    options.pop("AWS_ENDPOINT_URL_S3", None)
    if endpoint:
        options["AWS_ENDPOINT_URL"] = endpoint
    if endpoint.startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return options
