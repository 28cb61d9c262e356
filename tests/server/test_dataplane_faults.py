"""Clients that behave badly, and too many of them: others are answered all the same."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import time
import zlib
from collections.abc import Callable, Iterator

import pytest

from tests.engine.serving.fakes import ROW, body
from tests.server.workers import Worker, eventually, write_deployments

HEAD = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
INFER = json.dumps({"instances": [ROW]}).encode()
TENSORS = json.dumps(
    {
        "inputs": [
            {
                "name": name,
                "shape": [1],
                "datatype": "BYTES" if isinstance(value, str) else "FP64",
                "data": [value],
            }
            for name, value in ROW.items()
        ]
    }
).encode()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATIENCE", "3")
        running = Worker(tmp_path_factory.mktemp("plane"))
        running.deploy(1, (1, 1.0, "champion"))
        running.start()
    yield running
    assert running.stop() == 0


def connect(worker: Worker) -> socket.socket:
    return socket.create_connection(("127.0.0.1", worker.port), timeout=60)


def everything(connection: socket.socket) -> bytes:
    got = b""
    while part := connection.recv(65536):
        got += part
    return got


@pytest.mark.parametrize(
    ("path", "content"), [(b"/predict/flights", body()), (b"/v1/models/flights:predict", INFER)]
)
def test_a_client_that_closes_its_side_gets_its_answer(worker: Worker, path: bytes, content: bytes) -> None:
    with connect(worker) as connection:
        connection.sendall(HEAD % (path, len(content)) + content)
        connection.shutdown(socket.SHUT_WR)
        got = everything(connection)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"0.2" in got


def test_half_a_request_and_no_more_is_dropped(worker: Worker) -> None:
    for sent in (b"", b"POST /pre", HEAD % (b"/predict/flights", 500) + b"{"):
        with connect(worker) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert everything(connection) == b""
    assert worker.ask().status_code == 200


def test_clients_that_never_end_asking_are_dropped_and_hinder_nobody(worker: Worker) -> None:
    halves = [b"", b"POST /predict/flights HTTP/1.1\r\nhost:", HEAD % (b"/predict/flights", 500) + b"{"]
    halves.append(HEAD % (b"/v2/models/flights/infer", 500) + b"{")
    slow = [connect(worker) for _ in range(40)]
    for number, connection in enumerate(slow):
        connection.sendall(halves[number % 4])
    assert {worker.ask(id=str(n)).status_code for n in range(20)} == {200}
    for connection in slow:
        with contextlib.suppress(ConnectionResetError):
            assert everything(connection) == b""
        connection.close()


@pytest.mark.parametrize("sent", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_refused(worker: Worker, sent: bytes) -> None:
    with connect(worker) as connection:
        connection.sendall(sent)
        assert everything(connection).startswith(b"HTTP/1.1 400")
    assert worker.ask().status_code == 200


def test_a_body_in_chunks_and_one_after_100_continue(worker: Worker) -> None:
    chunked = b"POST /predict/flights HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with connect(worker) as connection:
        connection.sendall(chunked)
        for part in (body()[:10], body()[10:]):
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert everything(connection).startswith(b"HTTP/1.1 200")
    with connect(worker) as connection:
        head = HEAD % (b"/predict/flights", len(body()))
        connection.sendall(head.replace(b"host: x", b"host: x\r\nexpect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(body())
        connection.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 200" in everything(connection)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (b"/predict/flights", body()),
        (b"/v1/models/flights:predict", INFER),
        (b"/v2/models/flights/infer", TENSORS),
        (b"/invocations?deployment=flights", INFER),
    ],
)
def test_a_body_that_takes_its_time_is_answered_by_what_serves_once_it_is_there(
    worker: Worker, path: bytes, content: bytes
) -> None:
    head = HEAD % (path, len(content))

    def slowly(then: Callable[[], None]) -> bytes:
        with connect(worker) as connection:
            connection.sendall(head.replace(b"host: x", b"host: x\r\nexpect: 100-continue"))
            assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")  # who answers was looked up
            then()
            worker.sync()
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            return everything(connection)

    try:
        answer = slowly(lambda: worker.deploy(2, (2, 1.0, "champion")))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"0.3" in answer
        assert slowly(lambda: write_deployments(worker.home, {})).startswith(b"HTTP/1.1 404")
    finally:
        worker.deploy(1, (1, 1.0, "champion"))
        worker.sync()


PATHS = [("/predict/flights", body()), ("/v1/models/flights:predict", INFER), ("/invocations", INFER)]


@pytest.mark.parametrize(("path", "content"), PATHS)
def test_compressed_bodies_are_unpacked_within_the_limit(worker: Worker, path: str, content: bytes) -> None:
    def post(encoding: str, sent: bytes) -> int:
        return worker.client.post(path, content=sent, headers={"content-encoding": encoding}).status_code

    packed = gzip.compress(content)
    assert post("gzip", packed) == post("deflate", zlib.compress(content)) == post("identity", content) == 200
    assert post("gzip", packed[:-9]) == post("gzip", content) == post("deflate", b"") == 400
    assert post("br", content) == 415
    assert post("gzip", gzip.compress(b" " * (17 << 20))) == 413  # a few kilobytes on the way


@pytest.mark.parametrize(("path", "content"), PATHS)
def test_a_client_that_offers_another_protocol_is_answered_in_this_one(
    worker: Worker, path: str, content: bytes
) -> None:
    offer = b"host: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk"
    asked = (HEAD % (path.encode(), len(content))).replace(b"host: x", offer) + content
    chunks = asked.replace(b"content-length: %d" % len(content), b"transfer-encoding: chunked")
    chunks = chunks[: -len(content)] + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    last = asked.replace(b"Upgrade, HTTP2", b"close, Upgrade, HTTP2")
    with connect(worker) as connection:
        connection.sendall(asked + chunks[:-20])
        time.sleep(0.1)
        connection.sendall(chunks[-20:] + last)
        got = everything(connection)  # which ends, as the last one asked
    assert got.count(b"HTTP/1.1 200 OK\r\n") == got.count(b"0.2") == 3
    with connect(worker) as connection:
        connection.sendall(b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 400")


def test_a_body_over_the_limit_is_refused_before_it_is_read(worker: Worker) -> None:
    for path in (b"/predict/flights", b"/v2/models/flights/infer", b"/invocations"):
        with connect(worker) as connection:
            connection.sendall(HEAD % (path, 1 << 30))
            got = everything(connection)
        assert got.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in got


@pytest.mark.parametrize("path", ["/predict/flights", "/v1/models/flights:predict", "/invocations"])
def test_ten_thousand_rows_in_one_body(worker: Worker, path: str) -> None:
    rows = [ROW | {"id": str(n), "distance": n / 10} for n in range(10_000)]
    answer = worker.client.post(path, json={"instances": rows}, timeout=60)
    assert answer.status_code == 200
    scores = [one["score"] if isinstance(one, dict) else one for one in answer.json()["predictions"]]
    assert scores == pytest.approx([n / 100_000 + 0.1 for n in range(10_000)])


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
@pytest.mark.parametrize("path", ["/predict/flights", "/v1/models/flights:predict", "/invocations"])
def test_what_is_no_number_is_refused(worker: Worker, path: str, number: bytes) -> None:
    content = b'{"instances": [%s]}' % body().replace(b"1000.0", number)
    answer = worker.client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()


def test_too_much_work_is_refused_at_once_with_when_to_come_again(worker: Worker) -> None:
    """Each of these rows takes 0.3 s, so more than a few that wait would wait for more than a second."""
    for _ in range(3):
        assert worker.ask(id="slow").status_code == 200

    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(worker)) for _ in range(40)]
        for number, connection in enumerate(connections):
            content = body(id=f"slow-{number}")
            connection.sendall(HEAD % (b"/predict/flights", len(content)) + content)
            connection.shutdown(socket.SHUT_WR)
        answers = [everything(connection) for connection in connections]
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]
    assert refused
    assert all(b"retry-after: 1" in answer and b'"overloaded"' in answer for answer in refused)
    assert sum(answer.startswith(b"HTTP/1.1 200") for answer in answers) == 40 - len(refused) > 0
    eventually(lambda: worker.ask().status_code == 200)
