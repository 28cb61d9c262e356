"""The calls of the ``mlflow-artifacts`` proxy for uploads in parts and for addresses to download from.

They go past this server where an object store keeps the blobs. Elsewhere they are answered as by an MLflow server
whose store has none, and the client falls back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from homeostat.app import uploads
from homeostat.app.container import Container
from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.places import clean
from homeostat.ports.direct import Direct
from homeostat.server.mlflow.errors import MlflowError
from homeostat.server.mlflow.reading import Int32, Named, Reader

LARGEST: Final = 32 << 20  # bytes of a message: each part comes back with its address


class Creation(msgspec.Struct, frozen=True):
    """``mpu/create/…``; of ``path`` the last name counts, as clients send that of their own disk."""

    path: Named
    num_parts: Int32 = 1


class Part(msgspec.Struct, frozen=True):
    """A part that was sent."""

    part_number: Int32
    etag: str = ""


class Completion(msgspec.Struct, frozen=True):
    """``mpu/complete/…``."""

    path: Named
    upload_id: Named
    parts: list[Part]


class Abortion(msgspec.Struct, frozen=True):
    """``mpu/abort/…``."""

    path: Named
    upload_id: Named


class Credential(msgspec.Struct, frozen=True):
    """Where to PUT a part, and with which headers."""

    url: str
    part_number: int
    headers: dict[str, str] = {}


class Created(msgspec.Struct, frozen=True):
    """The answer to ``mpu/create/…``."""

    upload_id: str
    credentials: list[Credential]


class Address(msgspec.Struct, frozen=True):
    """The answer to ``presigned/…``."""

    url: str
    file_size: int
    headers: dict[str, str] = {}


def _create(container: Container, direct: Direct, folder: str, asked: Creation) -> Created:
    id, addresses = uploads.begin(container, direct, _target(folder, asked.path), asked.num_parts)
    return Created(id, [Credential(url, number) for number, url in enumerate(addresses, 1)])


def _complete(container: Container, direct: Direct, folder: str, asked: Completion) -> None:
    parts = [(part.part_number, part.etag) for part in asked.parts]
    uploads.complete(container, direct, _target(folder, asked.path), asked.upload_id, parts)


def _abort(container: Container, direct: Direct, folder: str, asked: Abortion) -> None:
    uploads.abort(direct, asked.upload_id)


_CALLS: Final[dict[str, tuple[Reader[Any], Callable[[Container, Direct, str, Any], Any]]]] = {
    "create": (Reader(Creation), _create),
    "complete": (Reader(Completion), _complete),
    "abort": (Reader(Abortion), _abort),
}


def answer(container: Container, path: str, body: bytes) -> Any:
    """Answer a call about an upload.

    Args:
        container: The ports.
        path: What follows ``mpu/``: the call's name and the folder where the file goes.
        body: The message.

    Raises:
        HomeostatError: as the use cases do; it cannot be here, or there is no such call.
    """
    direct = container.direct
    if direct is None:
        raise _not_here("Multipart upload")
    name, _, folder = path.partition("/")
    if name not in _CALLS:
        raise MlflowError("ENDPOINT_NOT_FOUND", f"there is no call mpu/{name}")
    reader, call = _CALLS[name]
    return call(container, direct, folder, reader.body(body, {}))


def address(container: Container, path: str) -> Address:
    """Answer ``presigned/…``.

    Raises:
        HomeostatError: there is no such file, or it cannot be got past this server.
    """
    direct = container.direct
    found = None if direct is None else uploads.address(container, direct, path)
    if found is None:
        raise _not_here("Multipart download")
    return Address(*found)


def _target(folder: str, path: str) -> str:
    name = path.replace("\\", "/").rpartition("/")[2]
    if not name:
        raise BadRequest(f"Invalid path {path!r}: it must include a filename", field="path")
    return f"{folder}/{name}" if (folder := clean(folder)) else name


def _not_here(what: str) -> MlflowError:
    """By these words clients know to fall back."""
    return MlflowError("NOT_IMPLEMENTED", f"{what} is not supported for the current artifact repository")
