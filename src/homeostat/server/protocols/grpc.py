"""The Open Inference Protocol, version 2, over gRPC: the same plane in the same process, on a port of its own.

Answers hold their tensors as the request did, as raw bytes or as contents. Errors are statuses: INVALID_ARGUMENT,
NOT_FOUND, UNAVAILABLE (try again), INTERNAL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from homeostat.domain.errors import BadRequest, HomeostatError, NotInstalled
from homeostat.engine.serving import tensors
from homeostat.engine.serving.tensors import Described, Tensor
from homeostat.engine.serving.tracing import PARENT, STATE, Trace
from homeostat.server.http import HttpError
from homeostat.server.protocols import inference, messages
from homeostat.server.protocols.asking import TRACE, Asking, refused, sentence
from homeostat.server.protocols.messages import message

if TYPE_CHECKING:
    from homeostat.server.protocols.measures import Measures

_STATUSES: Final = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 422: "INVALID_ARGUMENT", 503: "UNAVAILABLE"}

_GONE: Final = 499  # what gRPC makes of a call that its caller cancelled
_TRACED: Final = "ModelInfer"

_log = logging.getLogger(__name__)


class Calls:
    """What each call of the service answers.

    Args:
        asking: Whom to ask.
        measures: Where requests are counted.
    """

    def __init__(self, asking: Asking, measures: Measures) -> None:
        self._asking = asking
        self._measures = measures

    async def ServerLive(self, request: Any) -> Any:
        """The process answers."""
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, request: Any) -> Any:
        """Whether every deployment gives a real prediction."""
        return message("ServerReadyResponse")(ready=await _whether(self._asking.ready()))

    async def ModelReady(self, request: Any) -> Any:
        """Whether one deployment does."""
        found = self._asking.find(request.name, request.version)
        return message("ModelReadyResponse")(ready=await _whether(self._asking.probe(found)))

    async def ServerMetadata(self, request: Any) -> Any:
        """Who answers."""
        told = inference.server_metadata()
        return message("ServerMetadataResponse")(name=told.name, version=told.version, extensions=[])

    async def ModelMetadata(self, request: Any) -> Any:
        """What a model takes and gives."""
        told = inference.model_metadata(self._asking.find(request.name, request.version), request.version)
        return message("ModelMetadataResponse")(
            name=told.name,
            versions=told.versions,
            platform=told.platform,
            inputs=[_described(one) for one in told.inputs],
            outputs=[_described(one) for one in told.outputs],
        )

    async def ModelInfer(self, request: Any) -> Any:
        """Answer."""
        found = self._asking.find(request.model_name, request.model_version)
        wanted = [one.name for one in request.outputs]
        try:
            inference.check_wanted(found.live, wanted)
            rows = inference.take(found.live, _tensors(request))
        except BadRequest as error:
            raise refused(error) from None
        items = await self._asking.ask(found, rows, many=len(rows) > 1)
        answer = message("ModelInferResponse")(
            model_name=found.name, model_version=inference.version_of(items), id=request.id
        )
        for name, said in inference.degraded(items).items():
            answer.parameters.add(key=name).value.string_param = said
        for tensor in inference.give(found.live, items, wanted):
            given = answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            if request.raw_input_contents:
                answer.raw_output_contents.append(tensors.to_bytes(tensor))
            else:
                values: Sequence[Any] = tensor.values
                if tensor.datatype == "BYTES":
                    values = [str(value).encode() for value in values]
                getattr(given.contents, messages.CONTENTS[tensor.datatype]).extend(values)
        return answer

    async def answer(self, name: str, request: Any) -> Any:
        """One call.

        Raises:
            HttpError: it went wrong; with the status that HTTP would give.
        """
        clock = self._asking.plane.clock
        began, status = clock.monotonic(), 200
        call: Callable[[Any], Awaitable[Any]] = getattr(self, name)
        try:
            return await call(request)
        except HttpError as error:
            status = error.status
            raise
        except asyncio.CancelledError:
            status = _GONE
            raise
        except Exception as error:
            status = 500
            _log.exception("call failed: %s", name)
            raise HttpError(500, "internal", "the server failed", remedy="See the worker's log") from error
        finally:
            self._measures.count("grpc", status, clock.monotonic() - began)


async def serve(host: str, port: int, asking: Asking, measures: Measures, limit: int) -> Any:
    """A server that answers on a port which other processes may share; stop it with ``stop(grace)``.

    Args:
        limit: The largest message in bytes.

    Raises:
        NotInstalled: grpcio is missing.
        HomeostatError: the port cannot be had.
    """
    try:
        import grpc
    except ImportError as error:
        raise NotInstalled(
            f"gRPC needs grpcio, which cannot be imported: {error}",
            remedy="Run: pip install 'homeostat[grpc]'",
        ) from error
    calls = Calls(asking, measures)

    def handler(name: str) -> Any:
        async def call(request: Any, context: Any) -> Any:
            trace = _trace(asking, context) if name == _TRACED else None
            code = grpc.StatusCode.OK
            try:
                if trace is not None:
                    await context.send_initial_metadata([tuple(one.decode() for one in trace.header)])
                return await calls.answer(name, request)
            except HttpError as error:
                code = grpc.StatusCode[_STATUSES.get(error.status, "INTERNAL")]
                await context.abort(code, sentence(error))
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            finally:
                if trace is not None:
                    _end(trace, code)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=message(f"{name}Request").FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )

    options = [("grpc.so_reuseport", 1), ("grpc.max_receive_message_length", limit)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                messages.SERVICE, {name: handler(name) for name in messages.CALLS}
            ),
        )
    )
    try:
        server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise HomeostatError(
            f"cannot listen on {host}:{port} for gRPC: {error}",
            remedy="Set HOMEOSTAT_GRPC_PORT to a free one",
        ) from error
    await server.start()
    return server


def _trace(asking: Asking, context: Any) -> Trace | None:
    """The trace of a call, taken over from its metadata where they say so."""
    told = dict(context.invocation_metadata() or ())
    parent, state = (str(told.get(key.decode(), "")).encode() for key in (PARENT, STATE))
    trace = asking.plane.tracer.begin(parent, state)
    TRACE.set(trace)
    return trace


def _end(trace: Trace, code: Any) -> None:
    """What is known of a call by its end, under the names of OpenTelemetry's conventions."""
    told = {"rpc.system": "grpc", "rpc.service": messages.SERVICE, "rpc.method": _TRACED}
    error = code.name if code.name in ("INTERNAL", "UNAVAILABLE") else ""
    status: int = code.value[0]
    trace.answered(
        trace.deployment, f"{messages.SERVICE}/{_TRACED}", told | {"rpc.grpc.status_code": status}, error
    )


async def _whether(asked: Awaitable[None]) -> bool:
    try:
        await asked
    except HttpError:
        return False
    return True


def _described(one: Described) -> Any:
    return message("TensorMetadata")(name=one.name, datatype=one.datatype, shape=one.shape)


def _tensors(request: Any) -> list[Tensor]:
    """The tensors of a request.

    Raises:
        BadRequest: they are not what they say that they are.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise BadRequest(
            f"there are {len(request.inputs)} inputs and {len(raw)} raw contents", remedy="Send one for each"
        )
    made = []
    for place, one in enumerate(request.inputs):
        shape = list(one.shape)
        if raw:
            if one.HasField("contents"):
                raise BadRequest("it has contents and raw contents", field=one.name[:200], remedy="Send one")
            made.append(tensors.from_bytes(one.name, one.datatype, shape, raw[place]))
            continue
        count = tensors.check(one.name, one.datatype, shape)
        field = messages.CONTENTS.get(one.datatype)
        values = list(getattr(one.contents, field)) if field else []
        others = [held.name for held, _ in one.contents.ListFields() if held.name != field]
        if others or len(values) != count:
            raise BadRequest(
                f"the shape {shape} asks for {count} values of {one.datatype} and {len(values)} are there",
                field=one.name[:200],
                remedy=f"Send them in {field or 'raw_input_contents'}",
            )
        if one.datatype == "BYTES":
            try:
                values = [value.decode() for value in values]
            except UnicodeDecodeError:
                raise BadRequest("a value is no UTF-8", field=one.name[:200], remedy="Encode it") from None
        made.append(Tensor(one.name, one.datatype, shape, values))
    return made
