"""Settings: where Homeostat keeps things and how it runs.

Each setting stands once, as a field of ``Settings`` with its default and its help. Its environment variable
is ``HOMEOSTAT_`` and its name in capitals. A flag wins over the environment, that over the file, that over
the default. The file is ``homeostat.toml`` in the working directory, or else in the home. Every path is made
absolute (one in the file starts at the file's folder), so a value means the same in every process.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints
from urllib.parse import parse_qs, urlsplit

from homeostat.app.channels import parse_channels
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import HomeostatError

FILE: Final = "homeostat.toml"
CREDENTIALS: Final = {
    "store": "PGPASSWORD or a .pgpass file",
    "blobs": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "tables": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "online": "REDIS_USERNAME and REDIS_PASSWORD",
    "lineage": "HOMEOSTAT_LINEAGE_TOKEN",
}


@dataclass(frozen=True)
class Help:
    """What a setting is for, and how its default reads where it follows from other settings."""

    text: str
    default: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting, checked and absolute; empty stands for the default that follows from the others.

    Raises:
        HomeostatError: a value that cannot be; names the setting and what to write instead.
    """

    home: Annotated[Path, Help("Folder of everything that has no place of its own.")] = Path(".homeostat")
    store: Annotated[
        str,
        Help(
            "Database of records and ledger: sqlite:///file or postgresql://…",
            "sqlite:///<home>/homeostat.db",
        ),
    ] = ""
    blobs: Annotated[
        str, Help("Where packages and artifacts are kept: a folder or s3://bucket/prefix.", "<home>/blobs")
    ] = ""
    tables: Annotated[
        str,
        Help(
            "Where dataset versions are kept as Delta Lake tables: a folder or s3://bucket/prefix.",
            "<home>/tables, or <blobs>/tables when blobs are on s3",
        ),
    ] = ""
    online: Annotated[
        str, Help("Store of features for serving: lmdb:folder or redis://…", "lmdb:<home>/online")
    ] = ""
    executor: Annotated[
        str, Help("Where training and pipelines run; local: is processes of this machine.")
    ] = "local:"
    host: Annotated[str, Help("Address that the servers listen on.")] = "127.0.0.1"
    port: Annotated[int, Help("Port of the server; 0 takes a free one.")] = 5000
    serve_port: Annotated[int, Help("Port that answers predictions; 0 takes a free one.")] = 5001
    grpc_port: Annotated[int, Help("Port that answers predictions over gRPC; 0: none.")] = 0
    workers: Annotated[int, Help("Processes that answer predictions.")] = 1
    trainings: Annotated[int, Help("Trainings that run at once; others wait, each model in its turn.")] = 2
    training_limit: Annotated[
        str, Help("Longest time of a training; one that takes longer hangs, is ended and tried again.")
    ] = "1d"
    clock: Annotated[
        Literal["system", "simulated"],
        Help("Whose time it is: system, or simulated (kept in <home>/clock and moved by a driver)."),
    ] = "system"
    server: Annotated[str, Help("URL of the server that clients talk to.", "http://<host>:<port>")] = ""
    trace_share: Annotated[
        float, Help("Share of the predictions that are traced where their callers do not say; 0: none.")
    ] = 0.001
    trace_limit: Annotated[
        int,
        Help(
            "Most traces of predictions that a model server keeps here in a minute, asked for or not; 0: none."
        ),
    ] = 60
    otlp: Annotated[
        str,
        Help(
            "Collector of OpenTelemetry that metrics, and traces of predictions and of the loop go to, as http://127.0.0.1:4318.",
            "none: one trace in ten seconds is kept here",
        ),
    ] = ""
    country: Annotated[
        str, Help("Where runs use electricity, as three letters of ISO 3166 (DEU).", "the world's mean")
    ] = ""
    energy_price: Annotated[
        str, Help("Price of a kilowatt hour for the cost of runs, as in 0.32 EUR.", "no cost")
    ] = ""

    cpu_price: Annotated[
        str, Help("Price of an hour of one processor for the cost of predictions, as in 0.04 EUR.", "no cost")
    ] = ""
    lineage: Annotated[
        str, Help("Where lineage is told as OpenLineage: a file, or a server as http://…", "nowhere")
    ] = ""
    channels: Annotated[
        str, Help("Who is told of alerts besides the log, as in docs/alerts.md.", "the log alone")
    ] = ""

    def __post_init__(self) -> None:
        home = _absolute(str(self.home), Path.cwd())
        blobs = _place("blobs", self.blobs or str(home / "blobs"))
        tables = f"{blobs.rstrip('/')}/tables" if blobs.startswith("s3://") else str(home / "tables")
        port = _number("port", self.port, 0, 65535)
        reach = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        for name, value in {
            "home": home,
            "store": _store(self.store or f"sqlite:///{home / 'homeostat.db'}"),
            "blobs": blobs,
            "tables": _place("tables", self.tables or tables),
            "online": _online(self.online or f"lmdb:{home / 'online'}"),
            "executor": _one_of("executor", self.executor, ("local:",)),
            "host": self.host,
            "port": port,
            "serve_port": _number("serve_port", self.serve_port, 0, 65535),
            "grpc_port": _number("grpc_port", self.grpc_port, 0, 65535),
            "workers": _number("workers", self.workers, 1, 1024),
            "trainings": _number("trainings", self.trainings, 1, 1024),
            "training_limit": _while("training_limit", self.training_limit),
            "clock": _one_of("clock", self.clock, ("system", "simulated")),
            "server": _web("server", self.server or f"http://{reach}:{port}"),
            "trace_share": _share("trace_share", self.trace_share),
            "trace_limit": _number("trace_limit", self.trace_limit, 0, 12_000),
            "otlp": _web("otlp", self.otlp) if self.otlp else "",
            "country": _country(self.country),
            "energy_price": _price("energy_price", self.energy_price, "a kilowatt hour, as in 0.32 EUR"),
            "cpu_price": _price("cpu_price", self.cpu_price, "an hour of one processor, as in 0.04 EUR"),
            "lineage": _lineage(self.lineage),
            "channels": _channels(self.channels),
        }.items():
            object.__setattr__(self, name, value)

    @classmethod
    def load(
        cls,
        flags: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Settings:
        """The settings in force: flags (None: not given) over environment over file over default.

        Raises:
            HomeostatError: an unknown key in the file or the flags, or a value that cannot be.
        """
        environ = os.environ if environ is None else environ
        directory = Path.cwd() if directory is None else directory
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        if unknown := sorted(given.keys() - NAMES):
            raise HomeostatError(f"there is no setting {unknown[0]!r}", remedy=f"Use {_LISTED}")
        given = {n: v for n in NAMES if (v := environ.get(variable(n), ""))} | given
        given = {name: _rebased(name, value, directory) for name, value in given.items()}
        home = directory.absolute() / ".homeostat"
        return cls(**({"home": home} | _from_file(given, directory) | given))

    def environment(self) -> dict[str, str]:
        """The variables under which a child process has these same settings."""
        return {variable(name): str(getattr(self, name)) for name in NAMES}


NAMES: Final = tuple(f.name for f in fields(Settings))
_LISTED: Final = ", ".join(NAMES)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"HOMEOSTAT_{name.upper()}"


def described() -> list[tuple[str, str, str, str]]:
    """Name, environment variable, default and help of every setting, in order."""
    helps = {n: hint.__metadata__[0] for n, hint in get_type_hints(Settings, include_extras=True).items()}
    return [
        (f.name, variable(f.name), helps[f.name].default or str(f.default), helps[f.name].text)
        for f in fields(Settings)
    ]


def _from_file(given: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    home = Path(given.get("home", directory / ".homeostat"))
    file = next((f for f in (directory / FILE, home / FILE) if f.is_file()), None)
    if file is None:
        return {}
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HomeostatError(
            f"{file} is not TOML: {error}", remedy="Correct the file, or remove it"
        ) from error
    for name in found:
        if name not in NAMES:
            raise HomeostatError(f"{file} has an unknown setting {name!r}", remedy=f"Use {_LISTED}")
        if name == "home" and file.parent == home:
            raise HomeostatError(
                f"{file} lies in the home and cannot move it",
                remedy=f"Set {variable('home')} or --home instead",
            )
    return {name: _rebased(name, value, file.parent) for name, value in found.items()}


def _while(name: str, value: Any) -> str:
    try:
        parse_duration(_text(name, value))
    except HomeostatError as error:
        raise HomeostatError(
            f"setting {name}: {error.message}", remedy=f"Set {variable(name)} to a time as 12h"
        ) from error
    return str(value)


def _rebased(name: str, value: Any, base: Path) -> Any:
    """A value whose relative path starts at ``base``."""
    if not isinstance(value, str | Path) or not str(value):
        return value
    text = str(value)
    if name == "home":
        return _absolute(text, base)
    if name == "store" and text.startswith("sqlite:///") and text != "sqlite:///:memory:":
        return f"sqlite:///{_absolute(text.removeprefix('sqlite:///'), base)}"
    if name == "online" and text.startswith("lmdb:"):
        return f"lmdb:{_absolute(text.removeprefix('lmdb:'), base)}"
    if name in ("blobs", "tables", "lineage") and "://" not in text:
        return str(_absolute(text, base))
    return value


def _absolute(text: str, base: Path) -> Path:
    return Path(os.path.normpath(base.absolute() / Path(text).expanduser()))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str | Path):
        raise HomeostatError(f"setting {name} is {value!r}, not a text", remedy="Write it in quotes")
    return str(value)


def _url(name: str, value: str) -> str:
    """``value``, which carries no secret: a URL is stored, logged and handed to children."""
    try:
        parts = urlsplit(value)
        secret = bool(parts.password) or "password" in parse_qs(parts.query)
    except ValueError as error:
        raise HomeostatError(
            f"setting {name} is no URL: {error}", remedy=f"Correct {variable(name)}"
        ) from error
    if secret or (parts.username is not None and name != "store"):
        raise HomeostatError(
            f"setting {name} carries credentials in its URL",
            remedy=f"Remove them and set {CREDENTIALS.get(name, 'them in the environment')} instead",
        )
    return value


def _store(value: Any) -> str:
    text = _text("store", value)
    if text.startswith("sqlite:///"):
        path = text.removeprefix("sqlite:///")
        if path in ("", ":memory:"):
            raise HomeostatError(
                "setting store is a database in memory, which other processes cannot see",
                remedy="Name a file, as in sqlite:///homeostat.db",
            )
        return f"sqlite:///{_absolute(path, Path.cwd())}"
    if text.startswith(("postgresql://", "postgresql+psycopg://")):
        return _url("store", text)
    raise HomeostatError(
        f"setting store has an unknown form: {text.split('@')[-1]!r}",
        remedy="Write sqlite:///file or postgresql://user@host/database",
    )


def _place(name: str, value: Any) -> str:
    text = _text(name, value)
    if text.startswith("s3://"):
        return _url(name, text.rstrip("/"))
    if "://" in text:
        raise HomeostatError(
            f"setting {name} has an unknown form: {text.split('@')[-1]!r}",
            remedy="Write a folder or s3://bucket/prefix",
        )
    return str(_absolute(text, Path.cwd()))


def _online(value: Any) -> str:
    text = _text("online", value)
    if text.startswith("lmdb:") and text != "lmdb:":
        return f"lmdb:{_absolute(text.removeprefix('lmdb:'), Path.cwd())}"
    if text.startswith(("redis://", "rediss://")):
        return _url("online", text)
    raise HomeostatError(
        f"setting online has an unknown form: {text.split('@')[-1]!r}",
        remedy="Write lmdb:folder or redis://host:6379/0",
    )


def _web(name: str, value: Any) -> str:
    text = _text(name, value)
    if not text.startswith(("http://", "https://")):
        raise HomeostatError(
            f"setting {name} has an unknown form: {text!r}", remedy="Write a URL, as in http://127.0.0.1:5000"
        )
    return _url(name, text.rstrip("/"))


def _country(value: Any) -> str:
    text = _text("country", value)
    if text and not (len(text) == 3 and text.isascii() and text.isalpha()):
        raise HomeostatError(
            f"setting country is {text!r}", remedy="Write three letters of ISO 3166, as DEU or USA"
        )
    return text.upper()


def _price(name: str, value: Any, like: str) -> str:
    text = str(value) if isinstance(value, int | float) else _text(name, value)
    price, _, currency = text.partition(" ")
    try:
        known = not text or 0 <= float(price) < 1e9
    except ValueError:
        known = False
    if not known or len(currency) > 20:
        raise HomeostatError(f"setting {name} is {text!r}", remedy=f"Write the price of {like}")
    return text


def _lineage(value: Any) -> str:
    text = _text("lineage", value)
    if text.startswith(("http://", "https://")):
        return _url("lineage", text.rstrip("/"))
    return str(_absolute(text, Path.cwd())) if text else ""


def _channels(value: Any) -> str:
    text = "; ".join(value) if isinstance(value, list) else _text("channels", value)
    parse_channels(text)
    return text


def _number(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        raise HomeostatError(
            f"setting {name} is {value!r}", remedy=f"Set {variable(name)} to a number from {least} to {most}"
        )
    return number


def _share(name: str, value: Any) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        raise HomeostatError(
            f"setting {name} is {value!r}", remedy=f"Set {variable(name)} to a number from 0 to 1"
        )
    return share


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise HomeostatError(
            f"setting {name} is {value!r}", remedy=f"Set {variable(name)} to {' or '.join(choices)}"
        )
    return str(value)
