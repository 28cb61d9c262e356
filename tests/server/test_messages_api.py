"""Messages over HTTP: CloudEvents as their own library sends them, each once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from starlette.testclient import TestClient

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.domain.records import Message
from homeostat.server.api import Api


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path)) as made:
        yield made


@pytest.fixture
def client(container: Container) -> Iterator[TestClient]:
    with ThreadPoolExecutor(1) as pool:
        yield TestClient(Api(container, pool), base_url="http://127.0.0.1")


def event(id: str) -> CloudEvent:
    attributes = {"id": id, "source": "/erp", "type": "prices.published", "subject": "2024 \N{EURO SIGN}"}
    return CloudEvent(attributes, data={"rows": 3})


def send(client: TestClient, message: HTTPMessage) -> dict[str, int]:
    answer = client.post("/events", content=message.body, headers=message.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, int] = answer.json()
    return found


def test_events_are_taken_in_each_mode_and_once(client: TestClient, container: Container) -> None:
    assert send(client, to_structured_event(event("1"))) == {"taken": 1, "repeated": 0}
    assert send(client, to_binary_event(event("1"))) == {"taken": 0, "repeated": 1}
    assert send(client, to_binary_event(event("2"))) == {"taken": 1, "repeated": 0}
    bodies = [to_structured_event(event(id)).body for id in ("2", "3", "4", "4")]
    batch = HTTPMessage({"content-type": "application/cloudevents-batch+json"}, b"[%s]" % b",".join(bodies))
    assert send(client, batch) == {"taken": 2, "repeated": 2}
    found = container.store.find(Message, order=["id"])
    assert [(one.id, one.source, one.type) for one in found] == [
        (id, "/erp", "prices.published") for id in ("1", "2", "3", "4")
    ]
    assert {one.subject for one in found} == {"2024 \N{EURO SIGN}"}
    assert len({one.digest for one in found}) == 1  # the same data, however they came


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("application/cloudevents+json", b"{"),
        ("application/cloudevents+json", b"[]"),
        ("application/cloudevents+json", b'{"id": "1", "type": "t", "specversion": "1.0"}'),
        ("application/cloudevents+json", b'{"id": "1", "type": "t", "source": "s", "specversion": "0.1"}'),
        ("application/cloudevents-batch+json", b'[{"id": "1"}]'),
        ("application/cloudevents-batch+json", b"{}"),
    ],
)
def test_what_is_no_event_is_refused(
    client: TestClient, container: Container, kind: str, body: bytes
) -> None:
    answer = client.post("/events", content=body, headers={"content-type": kind})
    assert answer.status_code == 400
    assert "remedy" in answer.json()["error"]
    assert not container.store.count(Message)
