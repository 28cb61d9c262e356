"""Every protocol takes a trace over from its caller and gives it to a collector of OpenTelemetry."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import grpc
import httpx
import msgspec
import pytest

from homeostat.adapters.clock import ManualClock
from homeostat.app.settings import Settings
from homeostat.app.tracing.served import tracer_of
from homeostat.engine.tracking.spans import attributes_of, read_json
from homeostat.server.dataplane import DataPlane
from homeostat.server.protocols import grpc as calls
from homeostat.server.protocols.messages import SERVICE, message
from tests.engine.serving.fakes import NOON, ROW, body
from tests.engine.serving.test_plane import World
from tests.server.listening import listening
from tests.server.workers import free_port

ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{ID}-{SPAN}-01"
INSTANCES = msgspec.json.encode({"instances": [ROW]})
JSON = {"content-type": "application/json"}
ASKED = [
    ("/predict/flights", body()),
    ("/predict/%66lights", body()),  # which goes the long way
    ("/v1/models/flights:predict", INSTANCES),
    ("/invocations", INSTANCES),
]


class Collector(BaseHTTPRequestHandler):
    """Keeps what is exported."""

    got: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        self.got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[str]:
    Collector.got = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def over_grpc(app: DataPlane) -> str:
    """Ask, and return what the answer says of its trace."""
    port = free_port()
    server = await calls.serve("127.0.0.1", port, app.asking, app.measures, app.body_limit)
    request = message("ModelInferRequest")(model_name="flights")
    values: dict[str, tuple[str, Any]] = {"distance": ("FP64", 1.0)}
    values |= {name: ("BYTES", ROW[name].encode()) for name in ("id", "carrier", "departs")}
    for name, (kind, value) in values.items():
        field = {"FP64": "fp64_contents", "BYTES": "bytes_contents"}[kind]
        one = request.inputs.add(name=name, datatype=kind, shape=[1])
        getattr(one.contents, field).append(value)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=lambda asked: asked.SerializeToString(),
            response_deserializer=message("ModelInferResponse").FromString,
        )
        call = ask(request, metadata=(("traceparent", PARENT),))
        told = dict(await call.initial_metadata())
        await call
    await server.stop(None)
    return str(told["traceparent"])


def test_each_protocol_is_traced(collector: str, tmp_path: Path) -> None:
    async def run() -> list[str]:
        clock = ManualClock(NOON)
        world = World(tracer=tracer_of(Settings(home=tmp_path, otlp=collector, trace_share=0), clock))
        world.deploy(1, 1)
        await world.plane.sync()
        given = []
        app = DataPlane(world.plane)
        async with (
            listening(app) as (port, _),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            for path, sent in ASKED:
                answer = await client.post(path, content=sent, headers=JSON | {"traceparent": PARENT})
                assert answer.status_code == 200, answer.text
                given.append(answer.headers["traceparent"])
                assert "traceparent" not in (await client.post(path, content=sent, headers=JSON)).headers
            given.append(await over_grpc(app))
        await world.plane.close()
        await asyncio.to_thread(world.plane.tracer.flush)
        return given

    given = asyncio.run(run())
    ((path, request),) = Collector.got
    assert path == "/v1/traces"
    spans = [span for span, about in read_json(request) if about["service.name"] == "homeostat"]
    roots = [span for span in spans if span["parent_span_id"] == SPAN]
    assert [f"00-{ID}-{span['span_id']}-01" for span in roots] == given
    assert {span["trace_id"] for span in spans} == {ID}
    assert [span["name"] for span in roots] == [
        "POST /predict/{deployment}",
        "POST /predict/{deployment}",
        "POST /v1/models/{deployment}:predict",
        "POST /invocations",
        "inference.GRPCInferenceService/ModelInfer",
    ]
    assert {attributes_of(span["attributes"])["homeostat.rows"] for span in roots} == {1}
    assert [span["name"] for span in spans].count("log") == 5
