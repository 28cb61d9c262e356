"""The Open Inference Protocol, version 2, over HTTP, with its binary extension: ``/v2``.

Written to the protocol's specification. With ``Inference-Header-Content-Length`` the body is that many bytes of JSON
and then the tensors whose ``binary_data_size`` says so, in order; answers have the same form where the client asks for
it. Errors are ``{"error": text}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.domain.release import VERSION
from homeostat.engine.serving import tensors
from homeostat.engine.serving.endpoint import Live
from homeostat.engine.serving.predictions import Prediction
from homeostat.engine.serving.tensors import Described, Tensor
from homeostat.server.http import Headers, HttpError, Receive, Reply, Scope, encode, header, only, read_body
from homeostat.server.protocols.asking import Asking, Found, fallbacks, marks, refused, sentence

PREFIX: Final = "/v2"
LENGTH: Final = b"inference-header-content-length"
NAME: Final = "homeostat"
EXTENSIONS: Final = ("binary_tensor_data",)
_BINARY: Final = b"application/octet-stream"


class Input(msgspec.Struct):
    """A tensor of a request; its values stand in ``data``, or after the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Wanted(msgspec.Struct):
    """An output that the client asks for."""

    name: str
    parameters: dict[str, Any] = {}


class Request(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] = []


class Given(msgspec.Struct, omit_defaults=True):
    """A tensor of an answer."""

    name: str
    shape: Sequence[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Sequence[Any] | msgspec.UnsetType = msgspec.UNSET


class Answer(msgspec.Struct, omit_defaults=True):
    """The JSON of an answer. The version is left out where rows of one request were answered by several, or by none."""

    model_name: str
    outputs: list[Given]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, str] = {}


class ServerMetadata(msgspec.Struct):
    """Who answers."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ModelMetadata(msgspec.Struct):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Described]
    outputs: list[Described]


class Failure(msgspec.Struct):
    """The body of an error."""

    error: str


_decode: Final = msgspec.json.Decoder(Request).decode


def problem(error: HttpError) -> bytes:
    """An error as this protocol has it."""
    return encode(Failure(sentence(error)))


def server_metadata() -> ServerMetadata:
    """What ``GET /v2`` says."""
    return ServerMetadata(NAME, VERSION, EXTENSIONS)


def model_metadata(found: Found, version: str) -> ModelMetadata:
    """What a model takes and gives, from its signature."""
    live = found.live
    versions = [version] if version else [str(arm.version) for arm in live.routes.arms]
    return ModelMetadata(
        name=found.name,
        versions=versions,
        platform=NAME,
        inputs=tensors.inputs(live.reader.columns, live.table),
        outputs=tensors.described(live.outputs),
    )


def take(live: Live, given: Sequence[Tensor]) -> list[msgspec.Struct]:
    """Checked rows from the tensors of a request.

    Raises:
        BadRequest: they are not what the model takes; names the input.
    """
    reader = live.reader
    return reader.take(tensors.rows(reader.columns, live.table, given, whole=reader.whole))


def give(live: Live, items: Sequence[Prediction], wanted: Sequence[str]) -> list[Tensor]:
    """The outputs that were asked for; all where none was.

    Raises:
        BadRequest: the model has no such output.
    """
    made = {tensor.name: tensor for tensor in tensors.answers(live.outputs, items)}
    return [made[name] for name in wanted] if wanted else list(made.values())


def check_wanted(live: Live, wanted: Sequence[str]) -> None:
    """Before the model is asked.

    Raises:
        BadRequest: the model has no such output.
    """
    known = [one.name for one in tensors.described(live.outputs)]
    for name in wanted:
        if name not in known:
            raise BadRequest(
                "the model has no such output", field=name[:200], remedy=f"Use {', '.join(known)}"
            )


def version_of(items: Sequence[Prediction]) -> str:
    """The version that answered; empty where several did, or none."""
    versions = {item.version for item in items}
    return str(versions.pop() or "") if len(versions) == 1 else ""


def degraded(items: Sequence[Prediction]) -> dict[str, str]:
    """What an answer says besides, where fallbacks gave it."""
    kinds = fallbacks(items)
    return {"degraded": kinds} if kinds else {}


async def answer(asking: Asking, limit: int, scope: Scope, receive: Receive) -> Reply:
    """Answer a request below ``/v2``."""
    match scope["path"].rstrip("/").split("/")[2:]:
        case []:
            only(scope, "GET")
            return Reply(200, encode(server_metadata()))
        case ["health", "live"]:
            only(scope, "GET")
            return Reply(200, encode({"live": True}))
        case ["health", "ready"]:
            only(scope, "GET")
            await asking.ready()
            return Reply(200, encode({"ready": True}))
        case ["models", name, *rest]:
            return await _model(asking, limit, scope, receive, name, rest)
    raise _nothing()


async def _model(
    asking: Asking, limit: int, scope: Scope, receive: Receive, name: str, rest: list[str]
) -> Reply:
    version = ""
    if len(rest) > 1 and rest[0] == "versions":
        version, rest = rest[1], rest[2:]
        if not version:
            raise _nothing()
    match rest:
        case []:
            found = asking.find(name, version)
            only(scope, "GET")
            return Reply(200, encode(model_metadata(found, version)))
        case ["ready"]:
            found = asking.find(name, version)
            only(scope, "GET")
            await asking.probe(found)
            return Reply(200, encode({"name": name, "ready": True}))
        case ["infer"]:
            asking.find(name, version)
            only(scope, "POST")
            body = await read_body(scope, receive, limit)
            return await _infer(asking, scope, body, asking.find(name, version))
    raise _nothing()


async def _infer(asking: Asking, scope: Scope, body: bytes, found: Found) -> Reply:
    live = found.live
    try:
        request, given = read(body, header(scope, LENGTH))
        wanted = [one.name for one in request.outputs]
        check_wanted(live, wanted)
        rows = take(live, given)
    except BadRequest as error:
        raise refused(error) from None
    items = await asking.ask(found, rows, many=len(rows) > 1)
    made = Answer(found.name, [], version_of(items), request.id, degraded(items))
    every = request.parameters.get("binary_data_output") is True
    binary = {one.name: one.parameters.get("binary_data", every) is True for one in request.outputs}
    return _reply(made, give(live, items, wanted), binary, every, marks(items) or [])


def read(body: bytes, length: bytes) -> tuple[Request, list[Tensor]]:
    """The request and its tensors.

    Raises:
        BadRequest: the body is not what it says that it is.
    """
    size = len(body)
    if length:
        size = int(length) if length.isdigit() and len(length) < 12 else -1
        if not 0 < size <= len(body):
            raise BadRequest(
                f"Inference-Header-Content-Length is {length[:20].decode('latin-1')} in a body of {len(body)} bytes",
                remedy="Give the length of the JSON in bytes",
            )
    rest = memoryview(body)[size:]
    try:
        request = _decode(body[:size] if length else body)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)[:500], remedy="Send the inputs as the protocol has them") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(
            f"the body is no JSON: {error}"[:500], remedy="NaN and infinity are none; binary tensors hold NaN"
        ) from None
    found = []
    for one in request.inputs:
        announced = one.parameters.get("binary_data_size")
        if announced is None:
            if one.data is msgspec.UNSET:
                raise BadRequest("the input has no data", field=one.name[:200], remedy="Send data")
            found.append(tensors.from_json(one.name, one.datatype, one.shape, one.data))
            continue
        if type(announced) is not int or not 0 <= announced <= len(rest) or one.data is not msgspec.UNSET:
            raise BadRequest(
                f"binary_data_size is {str(announced)[:20]} and {len(rest)} bytes are left",
                field=one.name[:200],
                remedy="Send that many bytes after the JSON, and no data in it",
            )
        found.append(tensors.from_bytes(one.name, one.datatype, one.shape, rest[:announced]))
        rest = rest[announced:]
    if len(rest):
        raise BadRequest(f"{len(rest)} bytes belong to no input", remedy="Announce them in binary_data_size")
    return request, found


def _reply(
    made: Answer, outputs: Sequence[Tensor], binary: dict[str, bool], every: bool, headers: Headers
) -> Reply:
    parts = []
    for tensor in outputs:
        given = Given(tensor.name, tensor.shape, tensor.datatype)
        if binary.get(tensor.name, every):
            parts.append(tensors.to_bytes(tensor))
            given.parameters = {"binary_data_size": len(parts[-1])}
        else:
            given.data = tensor.values
        made.outputs.append(given)
    said = encode(made)
    if not parts:
        return Reply(200, said, headers=headers)
    length = (LENGTH, str(len(said)).encode())
    return Reply(200, b"".join([said, *parts]), _BINARY, [length, *headers])


def _nothing() -> HttpError:
    return HttpError(404, "not_found", "there is nothing here", remedy="Use POST /v2/models/{model}/infer")
