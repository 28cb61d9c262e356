"""Calls of the control API: a request as a use case sees it, and its answer or error as JSON."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, TypeVar, cast

import msgspec

from homeostat.domain.errors import (
    BadRequest,
    Conflict,
    ContractBroken,
    DeclarationError,
    HomeostatError,
    NotFound,
    StoreUnavailable,
    Unsafe,
)
from homeostat.domain.refs import number_of
from homeostat.server.http import HttpError, encode

if TYPE_CHECKING:
    import polars as pl
    from starlette.datastructures import QueryParams

T = TypeVar("T")
ARROW: Final = "application/vnd.apache.arrow.stream"
MSGPACK: Final = "application/vnd.msgpack"
TAR: Final = "application/x-tar"
MOST: Final = 1000
"""How many records one answer may hold, where the request limits them."""
_STATUSES: Final[Mapping[str, int]] = {
    NotFound.code: 404,
    Conflict.code: 409,
    ContractBroken.code: 422,
    DeclarationError.code: 422,
    Unsafe.code: 422,
    StoreUnavailable.code: 503,
}
"""By the code of an error; of any other it is 400."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """One request, as a use case sees it: its body in memory, or, where that may be large, in a file."""

    path: Mapping[str, Any]
    query: QueryParams
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    file: BinaryIO | None = None

    def read(self, kind: type[T]) -> T:
        """The body as ``kind``, from JSON or from MessagePack where its content type says so; an empty one is ``{}``.

        Raises:
            BadRequest: it is something else.
        """
        try:
            if self.content_type == MSGPACK:
                return msgspec.msgpack.decode(self.body, type=kind)
            return msgspec.json.decode(self.body or b"{}", type=kind)
        except msgspec.DecodeError as error:
            what, _, path = str(error).partition(" - at `")
            raise BadRequest(f"the body does not fit: {what}", field=path.strip("$.`")) from error

    def number(self, name: str, default: int) -> int:
        """A whole number of the query."""
        text = self.query.get(name, str(default))
        number = number_of(text)
        if number is None:
            raise BadRequest(f"{name} is {text[:40]!r}", field=name, remedy="Give a whole number")
        return number

    def limit(self, default: int = 20) -> int:
        """How many records the answer may hold at most.

        Raises:
            BadRequest: it is none, or more than an answer holds.
        """
        limit = self.number("limit", default)
        if not 1 <= limit <= MOST:
            raise BadRequest(f"limit is {limit}", field="limit", remedy=f"Ask for 1 to {MOST}")
        return limit

    def flag(self, name: str) -> bool:
        """``true`` or ``false`` of the query; false where it is not there."""
        text = self.query.get(name, "false")
        if text not in ("true", "false"):
            raise BadRequest(f"{name} is {text[:40]!r}", field=name, remedy="Give true or false")
        return text == "true"


Actor = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
"""Who does so, as the ledger names them."""


class Training(msgspec.Struct, forbid_unknown_fields=True):
    """What to train, and why."""

    reason: str = "asked for"
    using: str = ""
    params: dict[str, Any] = {}
    tags: dict[str, str] = {}
    actor: Actor = "user"


class HandedParcel(msgspec.Struct, forbid_unknown_fields=True):
    """Rows for one dataset: an Arrow IPC stream (in MessagePack), or objects."""

    dataset: str
    rows: bytes | list[dict[str, Any]]
    token: str = ""
    tags: dict[str, str] = {}


class Handed(msgspec.Struct, forbid_unknown_fields=True):
    """Rows for several datasets, to be stored together or not at all."""

    parcels: list[HandedParcel]


class Promotion(msgspec.Struct, forbid_unknown_fields=True):
    """What to promote, and why."""

    version: int
    reason: str = "asked for"
    actor: Actor = "user"


class Consent(msgspec.Struct, forbid_unknown_fields=True):
    """Who agrees to a version, why, and to which package (empty: the version's)."""

    reason: str
    actor: Actor = "user"
    digest: str = ""


class Vouching(msgspec.Struct, forbid_unknown_fields=True):
    """A signature over the package of ``digest`` (empty: the version's), and the key that it verifies with."""

    bundle: str
    public: str
    digest: str = ""
    actor: Actor = "user"


class Ending(msgspec.Struct, forbid_unknown_fields=True):
    """From when on a version is not to be deployed anew, why, and what to take in its place."""

    on: datetime
    reason: str
    use: str = ""
    actor: Actor = "user"


class Pointing(msgspec.Struct, forbid_unknown_fields=True):
    """Where an alias is to point; None: to nothing."""

    alias: str
    version: int | None
    actor: Actor = "user"


class Marking(msgspec.Struct, forbid_unknown_fields=True):
    """Tags of a model or a version (None takes one off), and what it is."""

    version: str = ""
    tags: dict[str, str | None] = {}
    description: str | None = None
    actor: Actor = "user"


class Restoring(msgspec.Struct, forbid_unknown_fields=True):
    """Why a deprecation is taken back."""

    reason: str = ""
    actor: Actor = "user"


class Return(msgspec.Struct, forbid_unknown_fields=True):
    """Why to go back."""

    reason: str = "asked for"
    actor: Actor = "user"


class Moment(msgspec.Struct, forbid_unknown_fields=True):
    """The time that the simulated clock is to show."""

    now: datetime


def answer(work: Callable[[Call], Any], call: Call) -> tuple[int, bytes | BinaryIO]:
    """The status and the body of the answer to a call; bytes and files, which may be large, are it as they are."""
    try:
        found = work(call)
        if isinstance(found, io.IOBase):
            return 200, cast("BinaryIO", found)
        return 200, found if isinstance(found, bytes) else encode(found)
    except HomeostatError as error:
        return refused(error)
    except Exception:  # noqa: BLE001 - the client gets an answer, the log the cause
        _log.exception("request failed")
        return 500, HttpError(500, "internal", "the server failed", remedy="See its log").body()


def refused(error: HomeostatError) -> tuple[int, bytes]:
    """The status and the body of the answer that tells of an error."""
    if isinstance(error, HttpError):
        return error.status, error.body()
    status = _STATUSES.get(error.code, 400)
    field = error.field if isinstance(error, BadRequest) else ""
    return status, HttpError(status, error.code, error.message, field=field, remedy=error.remedy).body()


def rows_of(call: Call) -> pl.DataFrame:
    """The rows of a body: an Arrow IPC stream, or a JSON array of objects."""
    return table_of(call.body if call.content_type == ARROW else call.read(list[dict[str, Any]]))


def table_of(rows: bytes | list[dict[str, Any]]) -> pl.DataFrame:
    """The rows of an Arrow IPC stream, or objects as rows.

    Raises:
        BadRequest: they make no table.
    """
    import polars as pl

    try:
        if isinstance(rows, bytes):
            return pl.read_ipc_stream(io.BytesIO(rows))
        return pl.DataFrame(rows, infer_schema_length=None)
    # Polars panics, which is no Exception, at streams that are not well formed.
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        TypeError,
        OSError,
        OverflowError,
    ) as error:
        raise BadRequest(
            f"the rows make no table: {error}", remedy="Send an array of objects, or an Arrow IPC stream"
        ) from error
