"""A model that takes no missing value fails on a row that lacks one: the error says which; a fallback may answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeostat.app.container import Container
from homeostat.app.serving import ModelServing
from homeostat.app.settings import Settings
from homeostat.server.dataplane import DataPlane
from tests.app import churning

NULLABLE = churning.PROJECT.replace(
    'usage: Annotated[float, hs.Check(ge=-9, le=9, unit="GB")]', "usage: float | None"
)
ROW = {"id": 1, "plan": "a", "usage": 0.5}


def ask(container: Container, *bodies: Any) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        serving = ModelServing(container, "w1")
        await serving.plane.follow()
        transport = httpx.ASGITransport(DataPlane(serving.plane).public)  # type: ignore[arg-type]  # as ASGI is spoken
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            answers = [await client.post("/predict/churn", json=body) for body in bodies]
        await serving.plane.close()
        return answers

    return asyncio.run(run())


def deploy(container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
    monkeypatch.setattr(churning, "PROJECT", NULLABLE)
    churning.declare(container, folder, more)
    churning.trained(container)


def test_the_error_names_what_is_missing_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        deploy(container, tmp_path / "project", monkeypatch)
        whole, one, many = ask(
            container, ROW, ROW | {"usage": None}, {"instances": [ROW, ROW | {"usage": None}]}
        )
    assert whole.status_code == 200
    assert (one.status_code, many.status_code) == (500, 500)  # the contract allows it: the model is at fault
    error = one.json()["error"]
    assert "FeaturesMissing: asked__usage is missing: ValueError: Input X contains NaN." in error["message"]
    assert "imputer" in error["remedy"]
    assert "hs.Fallback(answer=…)" in error["remedy"]
    assert many.json()["error"]["field"] == "instances[1]"


def test_a_declared_answer_is_given_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Container(Settings(home=tmp_path / "home")) as container:
        deploy(container, tmp_path / "project", monkeypatch, "fallback=hs.Fallback(answer=0.25),")
        (answer,) = ask(container, ROW | {"usage": None})
    assert answer.status_code == 200
    assert answer.json()["score"] == 0.25
    assert "asked__usage is missing" in answer.json()["degraded"]["reason"]
