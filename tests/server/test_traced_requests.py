"""Every protocol takes a trace over from its caller and gives it to a collector of OpenTelemetry."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest

from homeostat.adapters.clock import ManualClock
from homeostat.app.settings import Settings
from homeostat.app.tracing.served import tracer_of
from homeostat.engine.tracking.spans import attributes_of, read_json
from homeostat.server.dataplane import DataPlane
from tests.engine.serving.fakes import NOON, ROW, body
from tests.engine.serving.test_plane import World
from tests.server.listening import listening

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


def test_each_protocol_is_traced(collector: str, tmp_path: Path) -> None:
    async def run() -> list[str]:
        clock = ManualClock(NOON)
        world = World(tracer=tracer_of(Settings(home=tmp_path, otlp=collector, trace_share=0), clock))
        world.deploy(1, 1)
        await world.plane.sync()
        given = []
        async with (
            listening(DataPlane(world.plane)) as (port, _),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            for path, sent in ASKED:
                answer = await client.post(path, content=sent, headers=JSON | {"traceparent": PARENT})
                assert answer.status_code == 200, answer.text
                given.append(answer.headers["traceparent"])
                assert "traceparent" not in (await client.post(path, content=sent, headers=JSON)).headers
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
    assert [attributes_of(span["attributes"])["http.route"] for span in roots] == [
        "/predict/{deployment}",
        "/predict/{deployment}",
        "/v1/models/{deployment}:predict",
        "/invocations",
    ]
    assert [span["name"] for span in spans].count("log") == 4
