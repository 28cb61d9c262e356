"""The loop as traces: a turn, and a version from the decision to train it to its promotion, told to a collector."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.reactors import react_all
from homeostat.app.rollouts import promote
from homeostat.app.settings import Settings
from homeostat.app.tracing.loop import flush, trace_version
from homeostat.app.tracing.served import tracer_of
from homeostat.domain.traces import span_of, trace_of
from homeostat.engine.tracking.spans import Span, attributes_of, read_json
from tests.app.churning import declare, trained
from tests.server.collecting import Collector


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    Collector.got = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        otlp = f"http://127.0.0.1:{server.server_port}"
        with Container(Settings(home=tmp_path / "home", otlp=otlp)) as made:
            declare(made, tmp_path / "project")
            yield made
        server.shutdown()
        thread.join()


def cleared() -> None:
    assert flush(60)
    Collector.got.clear()


def spans() -> list[Span]:
    assert flush(60)
    return [span for _, request in Collector.got for span, _ in read_json(request)]


def test_a_version_is_a_trace_that_requests_link_to(container: Container) -> None:
    trained(container)
    own = {one["name"]: one for one in spans() if one["trace_id"] == trace_of("churn", 1)}
    assert own.keys() == {"model churn", "decide", "queue", "train", "judge", "promote"}
    root = own["model churn"]
    assert root["span_id"] == span_of("churn", 1)
    assert {one["parent_span_id"] for name, one in own.items() if name != "model churn"} == {root["span_id"]}
    assert attributes_of(root["attributes"])["homeostat.reason"] == "asked for"
    assert attributes_of(own["promote"]["attributes"])["homeostat.stage"] == "champion"
    assert own["train"]["end_time_unix_nano"] > own["train"]["start_time_unix_nano"]
    ids = {one["span_id"] for one in spans()}
    for event in container.ledger.find(subject="model/churn@1", limit=100):
        if event.kind in ("model.version-created", "model.accepted", "model.champion"):
            trace_version(container, event)  # told again, it is the same
    assert {one["span_id"] for one in spans()} == ids

    cleared()
    tracer = tracer_of(container.settings, container.clock)
    request = tracer.begin(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert request is not None
    request.attributes["homeostat.model.version"] = 1
    request.answered("churn", "POST /predict", {})
    tracer.flush()
    (span,) = spans()
    assert [(one["trace_id"], one["span_id"]) for one in span["links"]] == [
        (root["trace_id"], root["span_id"])
    ]


def test_a_turn_that_did_something_is_a_trace_of_its_parts(container: Container) -> None:
    react_all(container)
    controller = Controller(container)
    controller.tick()
    controller.tick()
    cleared()
    controller.tick()
    assert not spans()  # nothing was to be done
    controller._guards = lambda did: did.append("something")  # type: ignore[method-assign] # a part that does something
    controller._guards.__name__ = "guards"
    controller.tick()
    found = spans()
    root = next(one for one in found if one["name"] == "tick")
    assert attributes_of(root["attributes"])["homeostat.did"] == "something"
    assert {"reap", "start", "guards", "rules"} <= {one["name"] for one in found}
    assert {one["trace_id"] for one in found} == {root["trace_id"]}


def test_a_version_that_comes_back_is_promoted_once(container: Container) -> None:
    trained(container)
    trained(container, C=0.5)
    assert len(_promoted(2)) == 1
    cleared()
    promote(container, "churn", 1, actor="ann", reason="the other is worse")
    react_all(container)
    assert not _promoted(1), "the trace of then is as it was"


def _promoted(version: int) -> list[Span]:
    return [
        one for one in spans() if one["trace_id"] == trace_of("churn", version) and one["name"] == "promote"
    ]


def test_a_collector_that_is_away_holds_up_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as away:  # it listens, and never answers
        away.settimeout(60)
        otlp = f"http://127.0.0.1:{away.getsockname()[1]}"
        with Container(Settings(home=tmp_path / "home", otlp=otlp)) as container:
            declare(container, tmp_path / "project")
            assert trained(container).stage == "accepted"
            Controller(container).tick()
        told, _ = away.accept()
        with told:
            assert told.recv(4) == b"POST"
    assert flush(60), "what nobody takes is lost"
