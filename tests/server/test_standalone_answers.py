"""What a model by itself answers to MLflow's protocol is what MLflow would."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from homeostat.adapters.clock import SystemClock
from homeostat.app.settings import Settings
from homeostat.app.standalone import Asked, Standalone
from homeostat.server.dataplane import DataPlane

OFFERS = """
class Offers:
    signature = {"months": int, "plan": str}

    def predict(self, X):
        return {"risk": X["months"] / 10, "offer": X["plan"] + "-plus"}
"""


def answers(model: str, *bodies: bytes, kind: str = "application/json") -> list[tuple[int, Any]]:
    """What ``/invocations`` answers to each body."""

    async def asked() -> list[tuple[int, Any]]:
        plane = Standalone(Asked(model, "m"), Settings(), SystemClock()).plane
        await plane.sync()
        found = []
        for body in bodies:
            given: dict[str, Any] = {"status": 0, "body": b""}

            async def receive(body: bytes = body) -> dict[str, Any]:
                return {"type": "http.request", "body": body}

            async def send(message: Any, given: dict[str, Any] = given) -> None:
                given |= {key: message[key] for key in ("status", "body") if key in message}

            headers = [(b"content-type", kind.encode())]
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/invocations",
                "query_string": b"",
                "headers": headers,
            }
            await DataPlane(plane).public(scope, receive, send)
            found.append((given["status"], msgspec.json.decode(given["body"])))
        await plane.close()
        return found

    return asyncio.run(asked())


def test_outputs_by_name_are_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "offers.py").write_text(OFFERS)
    monkeypatch.chdir(tmp_path)
    (answer,) = answers("offers.py:Offers", b'{"dataframe_records": [{"months": 5, "plan": "full"}]}')
    assert answer == (200, {"predictions": [{"risk": 0.5, "offer": "full-plus"}]})


def test_columns_of_a_model_without_names_are_taken_by_their_place(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(100, 2))
    model = LogisticRegression().fit(X, X[:, 0] > X[:, 1])
    skops.io.dump(model, tmp_path / "model.skops")
    path = str(tmp_path / "model.skops")
    forms = [b'"columns": ["a", "b"],', b'"columns": ["0", "1"],', b'"columns": [0, 1],', b""]
    bodies = [b'{"dataframe_split": {%b "data": [[1, 0], [0, 1]]}}' % form for form in forms]
    assert answers(path, *bodies) == [(200, {"predictions": [True, False]})] * 4
    assert answers(path, b"0,1\n1,0\n0,1\n", kind="text/csv") == [(200, {"predictions": [True, False]})]
    # Names that are known stay names, in any order; some of them alone are a mistake.
    assert answers(path, b"x1,x0\n0,1\n1,0\n", kind="text/csv") == [(200, {"predictions": [True, False]})]
    assert answers(path, b"x0,b\n1,0\n", kind="text/csv")[0][0] == 400
    assert answers(path, b"0,1,2\n1,0,2\n", kind="text/csv")[0][0] == 400
