"""The Open Inference Protocol over gRPC, driven by Triton's client: the same plane as over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from homeostat.server.protocols.messages import SERVICE, message
from tests.engine.serving.fakes import ROW
from tests.server.workers import Worker, shared_port


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    running = Worker(tmp_path_factory.mktemp("plane"), grpc_port=shared_port())
    running.deploy(1, (1, 0.5, "champion"), (2, 0.5, "canary"))
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(worker: Worker) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{worker.grpc_port}") as made:
        yield made


def tensor(name: str, datatype: str, values: list[Any]) -> triton.InferInput:
    kinds = {"BYTES": np.object_, "FP64": np.float64, "FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_}
    made = triton.InferInput(name, [len(values)], datatype)
    made.set_data_from_numpy(np.array(values, kinds[datatype]))
    return made


def rows(count: int = 3, **others: tuple[str, list[Any]]) -> list[triton.InferInput]:
    given: dict[str, tuple[str, list[Any]]] = {
        "id": ("BYTES", [f"row-{n}" for n in range(count)]),
        "carrier": ("BYTES", ["AA"] * count),
        "distance": ("FP64", [10.0 * n for n in range(count)]),
        "departs": ("BYTES", [ROW["departs"]] * count),
    }
    return [tensor(name, *values) for name, values in (given | others).items() if values[1]]


def test_server_and_models_say_what_they_are(client: triton.InferenceServerClient, worker: Worker) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("flights", "2")
    told = client.get_model_metadata("flights", as_json=True)
    http = httpx.get(f"{worker.url}/v2/models/flights", timeout=60).json()
    assert [one["name"] for one in told["inputs"]] == [one["name"] for one in http["inputs"]]
    assert told["versions"] == ["1", "2"]
    assert told["outputs"][0] == {"name": "score", "datatype": "FP64", "shape": ["-1"]}
    assert client.get_server_metadata().name == "homeostat"


def test_rows_in_tensors_are_answered_in_tensors(client: triton.InferenceServerClient) -> None:
    got = client.infer(
        "flights",
        rows(seats=("INT64", [1, 2, 3]), late=("BOOL", [True, False, True])),
        model_version="1",
        request_id="mine",
    )
    assert got.as_numpy("score").tolist() == pytest.approx([0.1, 0.101, 0.102])
    assert {len(id) for id in got.as_numpy("prediction_id")} == {26}
    said = got.get_response()
    assert (said.model_name, said.model_version, said.id) == ("flights", "1", "mine")
    wanted = [triton.InferRequestedOutput("score")]
    only = client.infer("flights", rows(), model_version="2", outputs=wanted)
    assert [one.name for one in only.get_response().outputs] == ["score"]
    assert only.as_numpy("score").tolist() == pytest.approx([0.2, 0.201, 0.202])


@pytest.mark.parametrize(
    ("model", "version", "given", "status", "said"),
    [
        ("nothing", "", {}, "NOT_FOUND", "there is no deployment/nothing"),
        ("flights", "7", {}, "NOT_FOUND", "does not serve version 7"),
        ("flights", "", {"carrier": ("BYTES", [])}, "INVALID_ARGUMENT", "carrier: the input is missing"),
        ("flights", "", {"distance": ("INT64", [1])}, "INVALID_ARGUMENT", "it is of FP64, not INT64"),
        ("flights", "", {"distance": ("FP64", [1.0, 2.0])}, "INVALID_ARGUMENT", "it has 2 rows"),
        ("flights", "", {"distance": ("FP64", [np.nan])}, "INVALID_ARGUMENT", "got `null`"),
        ("flights", "", {"distance": ("FP64", [9e9])}, "INVALID_ARGUMENT", "<= 5000.0"),
        ("flights", "", {"id": ("BYTES", ["poison"])}, "INTERNAL", "poison"),
    ],
)
def test_what_is_wrong_is_a_status_with_words(
    client: triton.InferenceServerClient, model: str, version: str, given: Any, status: str, said: str
) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.infer(model, rows(1, **given), model_version=version)
    assert error.value.status() == f"StatusCode.{status}"
    assert said in error.value.message()


def test_contents_in_the_message_are_answered_in_the_message(worker: Worker) -> None:
    request = message("ModelInferRequest")(model_name="flights", model_version="1", id="mine")
    for name, datatype, field in (
        ("id", "BYTES", "bytes_contents"),
        ("carrier", "BYTES", "bytes_contents"),
        ("distance", "FP32", "fp32_contents"),
        ("departs", "BYTES", "bytes_contents"),
    ):
        one = request.inputs.add(name=name, datatype=datatype, shape=[1])
        value = ROW[name]
        getattr(one.contents, field).append(value if datatype == "FP32" else value.encode())
    with grpc.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=message("ModelInferResponse").FromString,
        )
        answer = call(request)
        assert [one.name for one in answer.outputs] == ["score", "prediction_id"]
        assert list(answer.outputs[0].contents.fp64_contents) == [0.2]
        assert not answer.raw_output_contents
        request.inputs[2].contents.fp32_contents.append(1.0)
        with pytest.raises(grpc.RpcError) as error:
            call(request)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_requests_are_counted_beside_those_over_http(worker: Worker) -> None:
    text = httpx.get(f"{worker.url}/metrics", timeout=60).text
    assert (
        f'homeostat_request_seconds_count{{pid="{worker.process.pid}",protocol="grpc",status="200"}}' in text
    )
