"""The doctor: proves that each setting works by doing what Homeostat does with it; else says what to do."""

from __future__ import annotations

import errno
import os
import platform
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from homeostat.app.channels import Channel, parse_channels
from homeostat.app.container import Container
from homeostat.app.leases import here
from homeostat.app.settings import Settings, variable
from homeostat.app.space import least_free
from homeostat.domain.errors import HomeostatError, StoreUnavailable
from homeostat.domain.ids import new_id
from homeostat.domain.notices import Notice
from homeostat.domain.records import Cursor, Lease

_LIBRARIES: Final = ("deltalake", "lmdb", "msgspec", "polars", "scikit-learn", "skops", "sqlalchemy")
_LEAST_FREE: Final = 1 << 30


@dataclass(frozen=True)
class Check:
    """What one check found; ``remedy`` says what to do where it failed."""

    name: str
    ok: bool
    detail: str
    remedy: str
    seconds: float


class _Failed(HomeostatError):
    """A check that ran to its end and found something wrong."""


def diagnose(settings: Settings) -> list[Check]:
    """Try everything that ``settings`` name. What is written for the trial is removed again."""
    checks: dict[str, Callable[[Container], str]] = {
        "python": _python,
        "disk": _disk,
        "clock": _clock,
        "store": _store,
        "blobs": _blobs,
        "tables": _tables,
        "online": _online,
        "executor": _executor,
        "port": lambda container: _port(container, "port"),
        "serve_port": lambda container: _port(container, "serve_port"),
    }
    for channel in parse_channels(settings.channels):
        checks[f"channel {channel.name}"] = partial(_channel, channel=channel)
    try:
        container = Container(settings)
    except OSError as error:
        remedy = f"Make the folder writable, or set {variable('home')} to another"
        return [Check("home", False, f"cannot make {settings.home}: {error.strerror}", remedy, 0.0)]
    # The time that a check takes is real time, whatever clock is set.
    with container, Container(replace(settings, clock="system")) as timing:
        return [_checked(name, check, container, timing.clock.monotonic) for name, check in checks.items()]


def _checked(
    name: str, check: Callable[[Container], str], container: Container, monotonic: Callable[[], float]
) -> Check:
    began = monotonic()
    try:
        detail = check(container)
    except HomeostatError as error:
        return Check(name, False, error.message, error.remedy, monotonic() - began)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the doctor was asked to find
        detail = f"{type(error).__name__}: {error}"
        remedy = f"Check {variable(name)}" if hasattr(container.settings, name) else ""
        return Check(name, False, detail, remedy, monotonic() - began)
    return Check(name, True, detail, "", monotonic() - began)


def _python(container: Container) -> str:
    settings = container.settings
    extras = {
        "s3": ("obstore", settings.blobs.startswith("s3://") or settings.tables.startswith("s3://")),
        "redis": ("redis", settings.online.startswith("redis")),
        "postgres": ("psycopg", settings.store.startswith("postgresql")),
    }
    needed = dict.fromkeys(_LIBRARIES, "homeostat")
    needed |= {library: f"'homeostat[{extra}]'" for extra, (library, used) in extras.items() if used}
    found = []
    for library, package in needed.items():
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            raise _Failed(f"{library} is not installed", remedy=f"Run pip install {package}") from None
    return f"Python {platform.python_version()}, {', '.join(found)}"


def _disk(container: Container) -> str:
    free, folder = least_free(container.settings)
    detail = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < _LEAST_FREE:
        raise _Failed(detail, remedy="Free some space, run homeostat gc, or keep it on a larger disk")
    return detail


def _clock(container: Container) -> str:
    now, wall = container.clock.now(), container.clock.wall()
    if container.clock.now() < now:
        raise _Failed("the clock goes back", remedy="Let the machine keep its time by NTP")
    return (
        f"{container.settings.clock}: {now:%Y-%m-%d %H:%M:%S} UTC, this machine: {wall:%Y-%m-%d %H:%M:%S} UTC"
    )


def _store(container: Container) -> str:
    name = _trial()
    with container.store.begin() as transaction:
        transaction.insert(Cursor(name=name, seq=1))
    try:
        if container.store.get(Cursor, name) != Cursor(name=name, seq=1):
            raise _Failed("the store does not give back what it took", remedy=f"Check {variable('store')}")
    finally:
        with container.store.begin() as transaction:
            transaction.delete(Cursor, ("name", "=", name))
    return f"{container.settings.store}, ledger at {container.ledger.head().seq}"


def _blobs(container: Container) -> str:
    data = secrets.token_bytes(1024)
    digest = container.blobs.put(data)
    try:
        container.blobs.get(digest)
    finally:
        container.blobs.delete(digest)
    return container.settings.blobs


def _tables(container: Container) -> str:
    import polars as pl

    name, rows = _trial(), pl.DataFrame({"value": [1, 2, 3]})
    try:
        at = container.tables.append(name, rows, base=None)
        if container.tables.scan(name, at).collect().height != rows.height:
            raise _Failed("a table does not give back its rows", remedy=f"Check {variable('tables')}")
    finally:
        container.tables.drop(name)
    return container.settings.tables


def _online(container: Container) -> str:
    view = _trial()
    try:
        container.online.write(view, {b"key": b"value"}, 1)
        if container.online.read([(view, b"key")]) != [b"value"] or container.online.position(view) != 1:
            raise _Failed("the online store gives back something else", remedy=f"Check {variable('online')}")
    finally:
        container.online.clear(view)
    return container.settings.online


def _executor(container: Container) -> str:
    job = subprocess.run(
        [sys.executable, "-c", "import homeostat.app.job"],
        env={**os.environ, **container.settings.environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    if job.returncode:
        last = job.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise _Failed(f"a job cannot start: {last}", remedy="Install Homeostat into this Python again")
    return f"{container.settings.executor} by {sys.executable}"


def _channel(container: Container, channel: Channel) -> str:
    """Send a notice that says it is a trial: nothing less proves that people would be told."""
    now = container.clock.wall()
    trial = Notice(id=new_id(now), group=f"channel/{channel.name}", at=now, severity="ticket", told=[])
    try:
        container.sender(channel).send(trial)
    except StoreUnavailable as error:
        raise _Failed(
            f"it did not take a trial: {error.message}",
            remedy=f"Check the URL in {variable('channels')} or {channel.url_variable}, and what receives there",
        ) from error
    return f"{channel.kind} took a trial notice"


def _port(container: Container, name: str) -> str:
    host, port = container.settings.host, int(getattr(container.settings, name))
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise _Failed(
                f"cannot listen on {host}:{port}: {error.strerror}",
                remedy=f"Set {variable('host')} to an address of this machine, {variable(name)} above 1023",
            ) from error
        for lease in container.store.find(Lease):
            # A model server is known by its own socket, and says which port it shares with others.
            of_port = lease.address.rstrip("/").endswith(f":{port}") or lease.detail.get("port") == port
            if of_port and here(lease):
                return f"{host}:{port} is in use by this Homeostat (process {lease.pid})"
        raise _Failed(
            f"{host}:{port} is in use",
            remedy=f"Stop what listens there, or set {variable(name)} to another port",
        ) from error
    return f"{host}:{port} is free"


def _trial() -> str:
    return f"doctor-{secrets.token_hex(8)}"
