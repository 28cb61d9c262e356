"""Every protocol takes a trace over from its caller and gives it to a collector of OpenTelemetry."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import msgspec

from homeostat.adapters.clock import ManualClock
from homeostat.app.settings import Settings
from homeostat.app.tracing.served import tracer_of
from homeostat.engine.serving.scorer import Scored
from homeostat.engine.serving.tracing import Tracer
from homeostat.engine.tracking.spans import attributes_of, read_json
from homeostat.server.dataplane import DataPlane
from homeostat.server.protocols import grpc as calls
from homeostat.server.protocols.messages import SERVICE, message
from tests.engine.serving.fakes import NOON, ROW, FakeScorer, body, loaded
from tests.engine.serving.test_plane import World
from tests.engine.serving.test_tracing import Kept
from tests.server.collecting import Collector
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


async def over_grpc(app: DataPlane) -> str:
    """Ask, and return what the answer says of its trace."""
    async with called(app) as call:
        told = dict(await call.initial_metadata())
        await call
    return str(told["traceparent"])


@asynccontextmanager
async def called(app: DataPlane) -> AsyncIterator[Any]:
    """A traced call of a server that lasts as long."""
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
        yield ask(request, metadata=(("traceparent", PARENT),))
    await server.stop(None)


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


class Held(FakeScorer):
    """Answers once it is let go, from when it is to wait on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = threading.Event(), threading.Event()
        self.let_go.set()

    def score(self, rows: Sequence[Any], times: Sequence[datetime]) -> Scored:
        self.asked.set()
        assert self.let_go.wait(180)
        return super().score(rows, times)


def test_a_call_that_its_caller_cancels_is_traced_as_cancelled() -> None:
    async def run() -> tuple[Kept, str]:
        kept, held = Kept(), Held()
        clock = ManualClock(NOON)
        world = World(tracer=Tracer(clock, 0.0, kept))
        world.versions[1] = loaded(1, held)
        world.deploy(1, 1)
        await world.plane.sync()
        held.asked.clear()
        held.let_go.clear()
        world.plane.endpoints["flights"].threaded = True
        app = DataPlane(world.plane)
        async with called(app) as call:
            waiting = asyncio.ensure_future(call.initial_metadata())
            await asyncio.to_thread(held.asked.wait, 180)
            call.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            async with asyncio.timeout(180):
                while not world.plane.tracer.waiting:  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(0.01)
            held.let_go.set()
            await world.plane.flush()
        await world.plane.close()
        world.plane.tracer.flush()
        return kept, app.measures.exposition().decode()

    kept, counted = asyncio.run(run())
    (root,) = kept.spans
    told = attributes_of(root["attributes"])
    assert (root["parentSpanId"], told["rpc.grpc.status_code"]) == (SPAN, "1")
    assert "status" not in root  # it is the caller's doing
    assert 'protocol="grpc",status="499"} 1' in counted
