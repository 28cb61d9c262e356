"""Which format a place has, told by what is there. Readers are imported where they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from homeostat.adapters.sources.reading import folders_of
from homeostat.domain.errors import BadRequest
from homeostat.ports.sources import Source

if TYPE_CHECKING:
    from sqlalchemy import URL

Format = Literal["homeostat", "mlflow", "wandb", "tensorboard", "neptune"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
_SQLITE: Final = b"SQLite format 3\0"
_MARK: Final = "homeostat-export.json"
_DATABASE: Final = "mlflow.db"
# What tells a format by the names of files somewhere below a folder; MLflow's come first, for others may be artifacts.
_PATTERNS: Final[dict[Format, str]] = {
    "wandb": "run-*.wandb",
    "neptune": "*part_*.parquet",
    "tensorboard": "*tfevents*",
}
_KNOWN: Final = (
    "Name an mlruns folder, MLflow's database (sqlite:///… or postgresql://…), a folder of W&B or TensorBoard,"
    " or what neptune-exporter or homeostat export wrote"
)

_OWN: Final = "homeostat.db"
_HOME_OF: Final = (
    "It is the home of a Homeostat: write an export of it with homeostat export --home, and import that"
)
_DATABASE_OF: Final = f"It has files alone, of runs that a database of MLflow's knows: name that one, as in sqlite:///{_DATABASE}"


def open_source(place: str, *, form: str = "", files: Path | None = None, links: bool = False) -> Source:
    """A reader of a place.

    Args:
        place: A folder, a file, or the URL of a database.
        form: Which of ``FORMATS`` it has; empty: what it looks like.
        files: The folder in which files are that are kept apart: those of an MLflow server or a Neptune export, or
            an MLflow database's that was moved.
        links: Whether to follow links that lead out of the folder of a run.

    Raises:
        BadRequest: there is nothing of a known format.
        NotInstalled: a library that it needs is not there.
        StoreUnavailable: a database does not answer.
    """
    if "://" in place or place.startswith("sqlite:"):
        return _database(_url(place), files, links)
    path = Path(place).expanduser()
    if not path.exists():
        raise BadRequest(f"there is no {path}", field="source", remedy=_KNOWN)
    known = next((known for known in FORMATS if known == form), None)
    if form and known is None:
        raise BadRequest(f"{form!r} is no format", field="form", remedy=f"Use one of {', '.join(FORMATS)}")
    known = known or (_form_of_file(path) if path.is_file() else _form(path))
    if known is None:
        from homeostat.adapters.sources.mlflow_folder import files_alone

        alone = path.is_dir() and any(map(files_alone, folders_of(path)))
        raise BadRequest(
            f"nothing in {path} is of a known format",
            field="source",
            remedy=_DATABASE_OF if alone else _HOME_OF if (path / _OWN).is_file() else _KNOWN,
        )
    source = _reader(path, known, files, links)
    if (
        form
        and known != "homeostat"
        and not source.count()
        and not any(map(_anything, (source.experiments(), source.models())))
    ):
        raise BadRequest(f"nothing in {path} is of the kind {source.kind}", field="source", remedy=_KNOWN)
    return source


def _anything(items: Iterable[object]) -> bool:
    return next(iter(items), None) is not None


def _reader(path: Path, form: Format, files: Path | None, links: bool) -> Source:
    if form == "mlflow":
        from homeostat.adapters.sources.mlflow_folder import MlflowFolder

        folder = None if path.is_file() else _mlruns(path)
        database = path if path.is_file() else path / _DATABASE
        if folder is None and database.is_file():
            return _database(_file_url(database), files, links)
        beside = database if folder is not None and database.is_file() else None
        return MlflowFolder(folder or path, files, links=links, beside=beside)
    if form == "wandb":
        from homeostat.adapters.sources.wandb import WandbFolder

        return WandbFolder(path, links=links)
    if form == "tensorboard":
        from homeostat.adapters.sources.tensorboard import TensorboardFolder

        return TensorboardFolder(path)
    if form == "neptune":
        from homeostat.adapters.sources.neptune import NeptuneExport

        return NeptuneExport(path, files)
    from homeostat.adapters.sources.exported import Exported

    return Exported(path)


def _database(url: URL, files: Path | None, links: bool) -> Source:
    from homeostat.adapters.sources.mlflow_database import MlflowDatabase

    return MlflowDatabase(url, files, links=links)


def _file_url(path: Path) -> URL:
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(path.absolute()))


def _url(place: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as error:
        raise BadRequest("the source's URL cannot be parsed", field="source", remedy=_KNOWN) from error
    name = url.drivername.partition("+")[0]
    name = "postgresql" if name == "postgres" else name
    if name not in ("postgresql", "sqlite"):
        raise BadRequest(f"places of {name} are not read", field="source", remedy=_KNOWN)
    return url.set(drivername=name)


def _form_of_file(path: Path) -> Format | None:
    with path.open("rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            return "mlflow"
    return "wandb" if path.suffix == ".wandb" else "tensorboard" if "tfevents" in path.name else None


def _form(path: Path) -> Format | None:
    if (path / _MARK).is_file():
        return "homeostat"
    if _mlruns(path) is not None or (path / _DATABASE).is_file():
        return "mlflow"
    for form, pattern in _PATTERNS.items():
        if next(path.rglob(pattern), None) is not None:
            return form
    return None


def _mlruns(path: Path) -> Path | None:
    """The MLflow folder at a path or as ``mlruns`` in it: one has experiments with a ``meta.yaml`` each."""
    for folder in (path, path / "mlruns"):
        if any(folder.glob("*/meta.yaml")) or any(folder.glob(".trash/*/meta.yaml")):
            return folder
    return None
