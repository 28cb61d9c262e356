"""Model directories in and out of the registry: MLflow's as they are, ours as MLflow's, and any as one tar file."""

from __future__ import annotations

import contextlib
import io
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import msgspec

from homeostat.app.artifacts import put_in
from homeostat.app.container import Container
from homeostat.app.registry import models
from homeostat.app.registry.contents import files_of
from homeostat.app.registry.reading import resolve
from homeostat.app.tracking.experiments import DEFAULT, ensure_default
from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import BadRequest, Conflict, NotFound, Unsafe
from homeostat.domain.events import Event
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.refs import Ref
from homeostat.domain.tracking import LoggedModel, RegisteredModel
from homeostat.engine.registry import flavors, package
from homeostat.engine.tracking.places import SCHEME, clean, model_root, path_of

Layout = Literal["mlflow", "package"]
Files = dict[str, bytes]
READY: Final = "READY"
_PLAIN: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_EMPTY: Final = "/"  # ends the name of a folder that holds nothing


def import_directory(
    container: Container, name: str, files: Mapping[str, bytes], *, actor: str = "user"
) -> ModelVersion:
    """Make an MLflow model directory a version of a registered model, which is registered if need be.

    What is in it is kept and not run. Importing the same again gives the version that there is.

    Args:
        container: The ports.
        name: The model.
        files: The directory's files by path; a path that ends with ``/`` is an empty folder.
        actor: Who asked.

    Raises:
        BadRequest: it is no model directory, or the name or a path cannot be.
        Unsafe: its ``MLmodel`` file does not describe a model.
    """
    if flavors.MLMODEL not in files:
        raise BadRequest(
            f"there is no {flavors.MLMODEL} file in the directory",
            remedy="Name one that mlflow.<flavor>.save_model wrote",
        )
    for path in files:
        if clean(path) != path.removesuffix(_EMPTY):
            raise BadRequest(f"{path!r} is no path of a model's file", remedy="Rename it")
    flavors.describe(files)
    manifest = package.store(container.blobs, files)
    digest = package.digest(manifest)
    ensure_default(container)
    if container.store.get(RegisteredModel, name) is None:
        with contextlib.suppress(Conflict):  # another process registered it meanwhile
            models.register(container, name, actor=actor)
    with container.store.begin() as tx:
        models.locked(tx, name)
        known = tx.find(ModelVersion, ("model", "=", name), ("digest", "=", digest), limit=1)
        if known:
            return known[0]
        number, now = models.take_number(tx, container, name), container.clock.now()
        logged = LoggedModel(
            id=f"m-{uuid.uuid4().hex}",
            experiment=DEFAULT,
            name=name,
            status=READY,
            artifacts="",
            created_at=now,
            updated_at=now,
        )
        source = model_root(f"{SCHEME}:/{DEFAULT}", logged.id)
        tx.insert(msgspec.structs.replace(logged, artifacts=source))
        for path, data in files.items():
            if not path.endswith(_EMPTY):
                put_in(container, tx, f"{path_of(source)}/{path}", [manifest["files"][path]], len(data))
        made = ModelVersion(
            model=name,
            version=number,
            digest=digest,
            manifest=manifest,
            run="",
            stage="registered",
            source=source,
            logged_model=logged.id,
            actor=actor,
            created_at=now,
            updated_at=now,
        )
        tx.insert(made)
        tx.append(
            Event(
                kind="model.version-created",
                subject=str(Ref("model", name).at(number)),
                at=now,
                actor=actor,
                body={"digest": digest, "source": source, "imported": True},
            )
        )
    return made


def export_files(container: Container, name: str, at: str, layout: Layout = "mlflow") -> Files:
    """The files of a version, by path.

    Args:
        container: The ports.
        name: The model.
        at: The version's number, or an alias.
        layout: ``package``: as they are kept. ``mlflow``: as an MLflow model directory, which one that came as such is.

    Raises:
        NotFound: there is no such version, or its files are not kept here.
        Unsafe: a file was altered.
        Conflict: MLflow has no flavor for such a model.
    """
    record = resolve(container.store, name, at).record
    files = kept_files(container, record)
    if layout == "package" or flavors.MLMODEL in files:
        return files
    run = container.store.get(Run, record.run) if record.run else None
    return mlflow_of(container, files, record.digest, run, record.created_at)


def mlflow_of(
    container: Container, files: Mapping[str, bytes], digest: str, run: Run | None, made_at: datetime
) -> Files:
    """The files of a package of ours as an MLflow model directory: of equal packages and runs, equal files.

    Raises:
        Conflict: MLflow has no flavor for such a model.
    """
    from homeostat.engine.registry.exporting import mlflow_files

    code = msgspec.json.decode(container.blobs.get(run.code), type=dict[str, str]) if run and run.code else {}
    created = (run.ended_at if run else None) or made_at
    return mlflow_files(files, digest=digest, created=created, code=code, run=run.id if run else "")


def kept_files(container: Container, record: ModelVersion) -> Files:
    """The files of a version's package, each checked; of one that a client registered, those at its source.

    Raises:
        NotFound: they are not kept here.
        Unsafe: one was altered.
    """
    found = {
        path: b"".join(map(container.blobs.get, chunks))
        for path, (_, chunks) in files_of(container, record).items()
    }
    for path, digest in record.manifest.get("files", {}).items():
        if digest_bytes(found[path]) != digest:
            raise Unsafe(f"{path} was altered", remedy="Do not use it")
    if not found:
        uri, ref = record.location or record.source, Ref("model", record.model).at(record.version)
        raise NotFound(f"the files of {ref} are not here, but at {uri!r}", remedy="Fetch them from there")
    return found


def read_tree(folder: Path) -> Files:
    """The files below a folder, by path; an empty folder's path ends with ``/``.

    Raises:
        BadRequest: it is no folder, or holds what is neither file nor folder.
    """
    if not folder.is_dir():
        raise BadRequest(f"{folder} is no folder", remedy="Name the directory of a model")
    files: Files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadRequest(f"{path} is neither a file nor a folder", remedy="Replace it with its content")
        if path.is_file():
            files[name] = path.read_bytes()
        elif not any(path.iterdir()):
            files[name + _EMPTY] = b""
    return files


def write_tree(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files below a folder, which must be new or empty.

    Raises:
        Conflict: it holds something.
        Unsafe: a path leads out of it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is there already", remedy="Name a folder that is new or empty")
    for name in files:
        _check(name)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        target = folder / name
        if name.endswith(_EMPTY):
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def to_tar(files: Mapping[str, bytes]) -> bytes:
    """Files as a tar file, the same for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name.removesuffix(_EMPTY))
            entry.type = tarfile.DIRTYPE if name.endswith(_EMPTY) else tarfile.REGTYPE
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


class _Packed(Mapping[str, bytes]):
    """The files in a tar file by path, each read when it is asked for: large models are not held twice."""

    def __init__(self, tar: tarfile.TarFile, entries: Mapping[str, tarfile.TarInfo]) -> None:
        self._tar, self._entries = tar, entries

    def __getitem__(self, path: str) -> bytes:
        reader = self._tar.extractfile(self._entries[path])
        return reader.read() if reader else b""

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def from_tar(data: bytes) -> Mapping[str, bytes]:
    """The files of a tar file; see ``to_tar``.

    Raises:
        BadRequest: it is none, or holds links and the like.
        Unsafe: a path leads out of it.
    """
    found: dict[str, tarfile.TarInfo] = {}
    size = 0
    try:
        tar = tarfile.open(fileobj=io.BytesIO(data), mode="r:")  # noqa: SIM115 - holds memory alone
        for entry in tar:
            size += entry.size
            end = entry.offset_data + entry.size
            plain = entry.type in _PLAIN and not entry.issparse()
            if not plain or entry.size < 0 or max(size, end) > len(data):
                raise BadRequest(f"{entry.name!r} is neither a file nor a folder", remedy="Leave it out")
            _check(entry.name)
            found[entry.name if entry.isreg() else entry.name + _EMPTY] = entry
    except (tarfile.TarError, RecursionError, ValueError) as error:
        raise BadRequest(f"the body is no tar file: {error}", remedy="Send a tar file") from error
    # A folder that holds something shows in the paths below it, which come next to it in order.
    paths = sorted(found)
    full = {path for path, after in pairwise(paths) if path.endswith(_EMPTY) and after.startswith(path)}
    return _Packed(tar, {path: entry for path, entry in found.items() if path not in full})


def _check(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise Unsafe(f"{name!r} leads out of the folder", remedy="Do not use it; ask where it comes from")
    if any("\ud800" <= letter <= "\udfff" for letter in name):  # bytes that are no UTF-8
        raise BadRequest(f"{name!r} is no path of a model's file", remedy="Rename it")
