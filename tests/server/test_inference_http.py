"""The Open Inference Protocol over HTTP, driven by Triton's client and, where that is too well behaved, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.engine.serving.fakes import ROW
from tests.server.workers import Worker

COLUMNS = ["id", "carrier", "distance", "seats", "departs", "code", "late"]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    running = Worker(tmp_path_factory.mktemp("plane"))
    running.deploy(1, (1, 0.5, "champion"), (2, 0.5, "canary"))
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(worker: Worker) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{worker.port}") as made:
        yield made


def tensor(name: str, datatype: str, values: list[Any], *, binary: bool = True) -> triton.InferInput:
    kinds = {"BYTES": np.object_, "FP64": np.float64, "FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_}
    made = triton.InferInput(name, [len(values)], datatype)
    made.set_data_from_numpy(np.array(values, kinds[datatype]), binary_data=binary)
    return made


def rows(count: int = 3, *, binary: bool = True) -> list[triton.InferInput]:
    return [
        tensor("id", "BYTES", [f"row-{n}" for n in range(count)], binary=binary),
        tensor("carrier", "BYTES", ["AA"] * count, binary=binary),
        tensor("distance", "FP64", [min(10.0 * n, 5000.0) for n in range(count)], binary=binary),
        tensor("departs", "BYTES", [ROW["departs"]] * count, binary=binary),
    ]


def test_the_client_finds_the_server_alive_and_what_the_model_takes(
    client: triton.InferenceServerClient,
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("flights")
    assert client.is_model_ready("flights", "2")
    assert not client.is_model_ready("flights", "3")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    told = client.get_model_metadata("flights")
    assert (told["name"], told["versions"], told["platform"]) == ("flights", ["1", "2"], "homeostat")
    assert [one["name"] for one in told["inputs"]] == COLUMNS
    assert [one["datatype"] for one in told["inputs"]] == [
        "BYTES", "BYTES", "FP64", "INT64", "BYTES", "BYTES", "BOOL",
    ]  # fmt: skip
    assert {tuple(one["shape"]) for one in told["inputs"]} == {(-1,)}
    assert told["outputs"] == [
        {"name": "score", "datatype": "FP64", "shape": [-1]},
        {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]},
    ]
    assert client.get_model_metadata("flights", "2")["versions"] == ["2"]


@pytest.mark.parametrize("binary", [True, False])
def test_rows_in_tensors_are_answered_in_tensors(client: triton.InferenceServerClient, binary: bool) -> None:
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("score", "prediction_id")]
    got = client.infer("flights", rows(binary=binary), model_version="1", outputs=wanted, request_id="mine")
    assert got.as_numpy("score").tolist() == pytest.approx([0.1, 0.101, 0.102])
    assert {len(id) for id in got.as_numpy("prediction_id")} == {26}
    said = got.get_response()
    assert (said["model_name"], said["model_version"], said["id"]) == ("flights", "1", "mine")


def test_a_version_is_asked_by_its_path_and_else_the_arms_share(client: triton.InferenceServerClient) -> None:
    assert client.infer("flights", rows(), model_version="2").as_numpy("score").tolist() == pytest.approx(
        [0.2, 0.201, 0.202]
    )
    mixed = client.infer("flights", rows(60))
    scores = mixed.as_numpy("score") - np.arange(60) / 1000
    assert {round(score, 6) for score in scores.tolist()} == {0.1, 0.2}
    assert "model_version" not in mixed.get_response()


def test_all_kinds_of_columns_and_narrow_types(client: triton.InferenceServerClient, worker: Worker) -> None:
    given = [
        *rows(2)[:2],
        tensor("distance", "FP32", [500.0, 600.0]),
        *rows(2)[3:],
        tensor("seats", "INT64", [3, 4]),
        tensor("late", "BOOL", [True, False]),
        tensor("code", "BYTES", ["ABC", "DEF"]),
    ]
    assert client.infer("flights", given, model_version="1").as_numpy("score").tolist() == pytest.approx(
        [0.15, 0.16]
    )
    column = {"name": "seats", "shape": [1, 1], "datatype": "INT8", "data": [[5]]}
    assert post(worker, one(column)).status_code == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"distance": ("FP64", [np.nan])}, "distance: Expected `float`, got `null`"),
        ({"distance": ("FP64", [np.inf])}, "distance: it holds an infinite number"),
        ({"distance": ("INT64", [1])}, "distance: it is of FP64, not INT64"),
        ({"distance": ("FP64", [1.0, 2.0])}, "it has 2 rows and another input 1"),
        ({"carrier": ("BYTES", ["XX"])}, "carrier: Invalid enum value 'XX'. Use one of AA, UA"),
        ({"carrier": None}, "carrier: the input is missing"),
        ({"speed": ("FP64", [1.0])}, "speed: the model has no such input"),
    ],
)
def test_the_client_is_told_which_input_is_wrong(
    client: triton.InferenceServerClient, change: dict[str, Any], said: str
) -> None:
    given = {one.name(): one for one in rows(1)}
    for name, values in change.items():
        given.pop(name, None)
        if values is not None:
            given[name] = tensor(name, *values)
    with pytest.raises(InferenceServerException) as error:
        client.infer("flights", list(given.values()))
    assert error.value.status() == "400"
    assert said in error.value.message()


def one(*changes: dict[str, Any]) -> dict[str, Any]:
    kinds = {"id": "BYTES", "carrier": "BYTES", "distance": "FP64", "departs": "BYTES"}
    tensors = {
        name: {"name": name, "shape": [1], "datatype": kind, "data": [ROW[name]]}
        for name, kind in kinds.items()
    }
    return {"inputs": list((tensors | {change["name"]: change for change in changes}).values())}


def post(worker: Worker, body: Any, path: str = "flights/infer", **more: Any) -> httpx.Response:
    return worker.client.post(f"/v2/models/{path}", json=body, **more)


def number(shape: list[int], data: Any, datatype: str = "FP64") -> dict[str, Any]:
    return one({"name": "distance", "shape": shape, "datatype": datatype, "data": data})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (number([1], ["far"]), "distance: the data are not FP64"),
        (number([1], "far"), "distance: the data are not FP64"),
        (number([1], [True]), "distance: the data are not FP64"),
        (number([1], []), "distance: the shape [1] asks for 1 values, and there are 0"),
        (number([1, 2], [1.0, 2.0]), "distance: its shape is [-1], not [1, 2]"),
        (number([0], []), "distance: the shape [0] has no rows"),
        (number([], 1.0), "distance: [] is no shape"),
        (number([-1], [1.0]), "distance: [-1] is no shape"),
        (number([1], [1.0], "FP99"), "distance: 'FP99' is no datatype"),
        (one({"name": "seats", "shape": [1], "datatype": "INT8", "data": [300]}), "outside of INT8"),
        ({"inputs": []}, "id: the input is missing"),
        ({"inputs": 1}, "$.inputs"),
        ({}, "inputs"),
        ([], "object"),
        (one() | {"outputs": [{"name": "logits"}]}, "logits: the model has no such output"),
        ({"inputs": one()["inputs"] * 2}, "inputs: an input is given twice"),
    ],
)
def test_what_is_wrong_is_told_in_words(worker: Worker, body: Any, said: str) -> None:
    answer = post(worker, body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing/infer", 404),
        ("flights/versions/9/infer", 404),
        ("flights/versions/x/infer", 404),
        ("flights/versions//infer", 404),
        ("flights/explain", 404),
    ],
)
def test_unknown_names_and_versions(worker: Worker, path: str, status: int) -> None:
    answer = post(worker, one(), path)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})


def test_methods_and_bodies(worker: Worker) -> None:
    url = "/v2/models/flights/infer"
    assert worker.client.get(url).status_code == 405
    assert worker.client.post("/v2/health/live").status_code == 405
    for body in (b"", b"{", b'{"inputs": [NaN]}', b'{"inputs": [1e400]}', b"\xff"):
        answer = worker.client.post(url, content=body)
        assert (answer.status_code, set(answer.json())) == (400, {"error"})
    assert worker.client.post(url, content=b" " * (17 << 20)).status_code == 413


@pytest.mark.parametrize(
    ("length", "size", "rest", "said"),
    [
        (None, 8, b"\0" * 7, "binary_data_size is 8 and 7 bytes are left"),
        (None, -1, b"\0" * 8, "binary_data_size is -1"),
        (None, 8, b"\0" * 9, "1 bytes belong to no input"),
        (None, 4, b"\0" * 4, "1 values of FP64 are 8 bytes, and there are 4"),
        ("99999", 8, b"\0" * 8, "Inference-Header-Content-Length"),
        ("-1", 8, b"\0" * 8, "Inference-Header-Content-Length"),
        ("x", 8, b"\0" * 8, "Inference-Header-Content-Length"),
    ],
)
def test_binary_that_does_not_add_up(
    worker: Worker, length: str | None, size: int, rest: bytes, said: str
) -> None:
    said_tensor = {
        "name": "distance",
        "shape": [1],
        "datatype": "FP64",
        "parameters": {"binary_data_size": size},
    }
    head = httpx.Request("POST", "http://x", json=one(said_tensor)).content
    answer = worker.client.post(
        "/v2/models/flights/infer",
        content=head + rest,
        headers={"inference-header-content-length": length or str(len(head))},
    )
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_ten_thousand_rows_in_one_request(client: triton.InferenceServerClient) -> None:
    got = client.infer("flights", [t if t.name() != "distance" else tensor(
        "distance", "FP64", [n / 10 for n in range(10_000)]) for t in rows(10_000)], model_version="1")  # fmt: skip
    scores = got.as_numpy("score")
    assert scores.tolist() == pytest.approx([n / 100_000 + 0.1 for n in range(10_000)])
