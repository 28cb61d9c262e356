"""The control API does as its own description says, whatever is sent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import checks
from starlette.testclient import TestClient

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.registry import models, versions
from homeostat.app.settings import Settings
from homeostat.engine.tracking import entries, rows
from homeostat.engine.tracking.frames import frame
from homeostat.server.api import Api
from homeostat.server.described import OPERATIONS

PROJECT = """
import homeostat as hs

class Row(hs.Contract):
    id: str
    x: float
    late: bool | None

def train(data):
    raise RuntimeError("not in this test")

rows = hs.Dataset("rows", key="id", contract=Row)
delay = hs.Model("delay", task=hs.Binary(label="late", source=rows), train=train)
"""
POINTS = np.array(
    [
        (0, 0.5, 1_700_000_000_000, 1),
        (0, math.nan, 1_700_000_000_001, 2),
        (0, -math.inf, 1_700_000_000_002, 3),
        (1, math.inf, 1_700_000_000_000, 1),
    ],
    rows.ROW,
).tobytes()
SAID = (
    entries.Began(experiment="exp", at=1_700_000_000_000, tags={"homeostat.axis": "time"}),
    entries.Params(values={"a": "1"}),
    entries.Points(keys=["loss", "far"], rows=POINTS),
)
FRAMES = b"".join(frame("S1", number, entries.encode(entry)) for number, entry in enumerate(SAID, 1))
THERE = {
    "name": ["rows", "delay", "m"],
    "id": ["r1"],
    "version": ["1", "latest"],
    "trigger": ["delay"],
    "key": ["loss", "far"],
    "stream": ["S1"],
    "ref": ["model/m@1", "run/r1"],
    "old": ["m@1"],
    "new": ["m@1"],
    "limit": ["3"],
    "direction": ["up"],
}
HELD = [checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance]
HELD += [checks.response_schema_conformance]


@schemathesis.serializer("application/vnd.homeostat.frames", "application/x-tar")
def as_it_is(_: Any, value: bytes) -> bytes:
    return value


class Asked(NamedTuple):
    client: TestClient
    schema: Any


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """A server with a run, a registered model and a project that is applied; and its description."""
    folder: Path = tmp_path_factory.mktemp("described")
    (folder / "project.py").write_text(PROJECT)
    with Container(Settings(home=folder / "home")) as container, ThreadPoolExecutor(2) as pool:
        apply(container, load_project(folder))
        models.register(container, "m", tags={"a": "1"})
        versions.create(container, "m", "s3://elsewhere/m")
        api = Api(container, pool)
        client = TestClient(api, base_url="http://127.0.0.1", raise_server_exceptions=False)
        assert client.post("/runs/r1/log?stream=S1", content=FRAMES).json()["seq"] == len(SAID)
        document = client.get("/openapi.json").json()
        schema = schemathesis.openapi.from_dict(document)
        schema.validate()
        assert {
            f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
        } == set(OPERATIONS)
        yield Asked(client, schema)


def body_of(case: Any) -> bytes:
    if isinstance(case.body, bytes):
        return case.body
    return b"" if type(case.body).__name__ == "NotSet" else json.dumps(case.body).encode()


@pytest.mark.parametrize("name", OPERATIONS)
@hypothesis.settings(
    database=None,
    max_examples=hypothesis.settings().max_examples // 10,  # the profile's share: there are many calls
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(data=st.data())
def test_what_is_answered_is_what_is_described(asked: Asked, name: str, data: st.DataObject) -> None:
    method, path = name.split(" ")
    case = data.draw(asked.schema[path][method].as_strategy())
    for given in (case.path_parameters, case.query):
        for key in list(given or {}):
            if key in THERE and data.draw(st.booleans()):
                given[key] = data.draw(st.sampled_from(THERE[key]))
    body = body_of(case)
    if body and data.draw(st.integers(0, 3)) == 0:
        body = data.draw(st.binary(max_size=40))
    answer = asked.client.request(
        method,
        case.formatted_path,
        params=case.query or {},
        content=body,
        headers={"content-type": case.media_type or "application/json"},
    )
    case.validate_response(answer, checks=HELD)
