"""The calls about artifacts: the ``mlflow-artifacts`` proxy, files and folders of runs, logged models and versions.

Files go to and come from this server, but for what ``parts`` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

import msgspec

from homeostat.app import artifacts, tracking
from homeostat.app.container import Container
from homeostat.app.logged_models import logged_model
from homeostat.app.registry.versions import download_uri
from homeostat.app.tracking.files import place_in_run
from homeostat.domain.errors import BadRequest, HomeostatError
from homeostat.domain.refs import number_of
from homeostat.engine.tracking.places import clean, path_of, run_root
from homeostat.server.http import (
    Disconnected,
    HttpError,
    Receive,
    Scope,
    Send,
    encode,
    patient,
    read_body,
    respond,
)
from homeostat.server.mlflow import parts
from homeostat.server.mlflow.errors import MlflowError, answer_of, of_body
from homeostat.server.mlflow.reading import Named, missing
from homeostat.server.mlflow.streams import give_out, take_in
from homeostat.server.mlflow.wire import Endpoint
from homeostat.server.room import Room

T = TypeVar("T")
_Work = Callable[[Scope, Receive, Send], Awaitable[None]]

OF_RUNS: Final = "/get-artifact"
OF_VERSIONS: Final = "/model-versions/get-artifact"
_PROXY: Final = "2.0/mlflow-artifacts/"
_FILES: Final = _PROXY + "artifacts"
_PARTS: Final = _PROXY + "mpu/"
_ADDRESSES: Final = _PROXY + "presigned/"
_UPLOAD: Final = "2.0/mlflow/upload-artifact"
_MODELS: Final = "2.0/mlflow/logged-models/"
_OF_MODEL: Final = "/artifacts/files"
_LARGEST_UPLOAD: Final = 10 << 20

_log = logging.getLogger(__name__)


class FileInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file or a folder, as clients see it."""

    path: str
    is_dir: bool
    file_size: int | None = None


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to ``artifacts/list`` and its kin; ``root_uri`` is what paths are relative to."""

    root_uri: str = ""
    files: list[FileInfo] = []


class Listing(msgspec.Struct, frozen=True):
    """``artifacts/list``. There is one page, so a token is never given and not looked at."""

    run_id: str = ""
    run_uuid: str = ""
    path: str = ""


class Presigning(msgspec.Struct, frozen=True):
    """``artifacts/presigned-upload-url`` and ``artifacts/presigned-download-url``."""

    path: Named


class Files:
    """Answers the calls whose bodies or answers are files.

    Args:
        container: The ports.
        pool: Where the store and the disk are waited for.
        room: Memory for bodies that are no files.
    """

    def __init__(self, container: Container, pool: Executor, room: Room) -> None:
        self._container = container
        self._room = room
        self._pool = pool

    def work_for(self, scope: Scope) -> _Work | None:
        """What answers a request; None when it is not one of these."""
        method, whole = scope["method"], scope["path"]
        _, _, path = whole.partition("api/")
        found: _Work | None = None
        if path.startswith(_PROXY):
            found = self._proxy(method, path)
        elif method == "GET" and whole in (OF_RUNS, OF_VERSIONS):
            found = partial(self._give, self._of_run if whole == OF_RUNS else self._of_version)
        elif method == "POST" and path == _UPLOAD:
            found = self._upload
        elif method == "GET" and path.startswith(_MODELS) and path.endswith(_OF_MODEL):
            found = partial(self._give, partial(self._of_model, path[len(_MODELS) : -len(_OF_MODEL)]))
        return None if found is None else partial(self._answering, found)

    def _proxy(self, method: str, path: str) -> _Work | None:
        if path == _FILES:
            return self._list if method == "GET" else None
        if path.startswith(_FILES + "/"):
            return {"GET": self._get, "PUT": self._put, "DELETE": self._delete}.get(method)
        if method == "POST" and path.startswith(_PARTS):
            return self._upload_parts
        if method == "GET" and path.startswith(_ADDRESSES):
            return self._address
        return None

    async def _answering(self, work: _Work, scope: Scope, receive: Receive, send: Send) -> None:
        """Do it; what fails before the answer began is answered as any call that fails."""
        began = False

        async def watched(message: Any) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await work(scope, receive, watched)
        except Disconnected:
            return
        except HomeostatError as error:
            if began:  # the status is out already: the connection ends short of what was promised
                raise
            told = of_body(error) if isinstance(error, HttpError) else error
            status, content = answer_of(told)
            await respond(send, status, content, told.headers if isinstance(told, MlflowError) else None)
        except Exception:
            if began:
                raise
            _log.exception("%s %s failed", scope["method"], scope["path"])
            await respond(send, *answer_of(MlflowError("INTERNAL_ERROR", "the server failed; see its log")))

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _query(scope).get("path", "")
        files = await self._run(lambda: _infos(self._container, path, ""))
        await respond(send, 200, encode(Listed(files=files)))

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        await give_out(self._container, self._pool, scope, receive, send, _after(scope, _FILES + "/"))

    async def _put(self, scope: Scope, receive: Receive, send: Send) -> None:
        await take_in(self._container, self._pool, patient(receive), _after(scope, _FILES + "/"))
        await respond(send, 200, b"{}")

    async def _delete(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _after(scope, _FILES + "/")
        await self._run(lambda: artifacts.remove(self._container, path))
        await respond(send, 200, b"{}")

    async def _upload_parts(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _after(scope, _PARTS)
        with self._room.share() as take:
            body = await read_body(scope, patient(receive), parts.LARGEST, take)
            answer = await self._run(lambda: parts.answer(self._container, path, body))
        await respond(send, 200, encode(answer if answer is not None else {}))

    async def _address(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _after(scope, _ADDRESSES)
        await respond(send, 200, encode(await self._run(lambda: parts.address(self._container, path))))

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A small file from a page."""
        query = _query(scope)
        run, path = query.get("run_uuid", ""), query.get("path", "")
        if not run or not path:
            raise BadRequest(
                f"Request must specify {'path' if run else 'run_uuid'}.", field="path" if run else "run_uuid"
            )
        root = await self._run(lambda: _run_uri(self._container, run))
        target = f"{path_of(root)}/{_inside(path)}"
        await take_in(self._container, self._pool, patient(receive), target, limit=_LARGEST_UPLOAD)
        await respond(send, 200, b"{}")

    async def _give(
        self, find: Callable[[dict[str, str]], str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        query = _query(scope)
        path = await self._run(lambda: find(query))
        await give_out(self._container, self._pool, scope, receive, send, path)

    def _of_run(self, query: dict[str, str]) -> str:
        run = query.get("run_id") or query.get("run_uuid")
        if not run:
            raise missing("run_id")
        return place_in_run(self._container, run, _asked(query, "path"))

    def _of_version(self, query: dict[str, str]) -> str:
        name, version = query.get("name", ""), query.get("version", "")
        if not name:
            raise missing("name")
        number = number_of(version)
        if number is None:
            raise BadRequest(f"Model version must be an integer, got '{version[:40]}'", field="version")
        path = _asked(query, "path")
        root = _resolved(self._container, download_uri(self._container, name, number))
        return f"{path_of(root)}/{path}"

    def _of_model(self, id: str, query: dict[str, str]) -> str:
        path = _asked(query, "artifact_file_path")
        return f"{path_of(logged_model(self._container, id).artifacts)}/{path}"

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def listed(container: Container, root: str, path: str) -> Listed:
    """The folder at ``path`` below the URI ``root``.

    Raises:
        BadRequest: the path cannot be, or the root is kept elsewhere.
    """
    below = _inside(path) if path else ""
    return Listed(root, _infos(container, f"{path_of(root)}/{below}", f"{below}/" if below else ""))


def _infos(container: Container, path: str, prefix: str) -> list[FileInfo]:
    return [
        FileInfo(prefix + entry.name, entry.size is None, entry.size)
        for entry in artifacts.listing(container, path)
    ]


def _run_uri(container: Container, id: str) -> str:
    run = tracking.run(container, id)
    return run_root(tracking.experiment(container, run.experiment).artifacts, run.id)


def _resolved(container: Container, uri: str) -> str:
    """A URI of this server's artifacts for one that goes by way of a run or a logged model."""
    scheme, _, rest = uri.partition(":/")
    name, _, path = rest.partition("/")
    if scheme == "runs":
        return f"{_run_uri(container, name)}/{path}"
    if scheme == "models" and not path:
        return logged_model(container, name).artifacts
    return uri


def _asked(query: dict[str, str], name: str) -> str:
    """The path that a query names."""
    path = query.get(name, "")
    if not path:
        raise missing(name)
    return _inside(path)


def _inside(path: str) -> str:
    """A path as such, before it is put below another: so that ``/etc`` is refused and not taken for ``etc``."""
    try:
        return clean(path)
    except BadRequest as error:  # in the words that MLflow's clients look for
        raise BadRequest("Invalid path", field="path") from error


def _after(scope: Scope, prefix: str) -> str:
    """What follows the proxy's own path, as it was sent: what is no UTF-8 must not become something else."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1").partition(prefix)[2]


def _query(scope: Scope) -> dict[str, str]:
    try:
        found = parse_qs(scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise BadRequest(f"Bad Request. The query cannot be read: {error}") from error
    return {name: values[0] for name, values in found.items()}


def _artifacts(container: Container, asked: Listing) -> Listed:
    run = asked.run_id or asked.run_uuid
    if not run:
        raise missing("run_id")
    return listed(container, _run_uri(container, run), asked.path)


def _presigned(what: str) -> Callable[[Container, Presigning], None]:
    def refuse(container: Container, asked: Presigning) -> None:
        raise BadRequest(
            f"Presigned {what} is not supported for proxied artifact storage (artifact URI scheme: mlflow-artifacts)",
            remedy="Use the artifact URI, which goes by way of this server",
        )

    return refuse


_AT: Final = "2.0/mlflow/artifacts/"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("GET", _AT + "list", Listing, _artifacts),
    Endpoint("POST", _AT + "presigned-upload-url", Presigning, _presigned("upload")),
    Endpoint("POST", _AT + "presigned-download-url", Presigning, _presigned("download")),
)
