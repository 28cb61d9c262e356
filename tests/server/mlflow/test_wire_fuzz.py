"""Whatever is sent to any call of the protocol, the answer is that it was done or what is wrong with it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.server.mlflow.app import ENDPOINTS
from homeostat.server.mlflow.wire import Endpoint, Wire
from tests.conftest import Databases

pytestmark = pytest.mark.slow

EDGES = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud800",
    "😀",
    "é" * 200,
    "../up",
    "/root",
    "a/../b",
    "%2e%2e%2f",
    "a?b",
    "'",
    '"',
    "1e308",
    "NaN",
    "x" * 10_000,
    "9" * 400,
    "-1",
    "null",
    "metrics.m > 1",
    "params.p LIKE '%' AND",
    "tags.`a b` = 'c'",
    "start_time > 99999999999999999999999",
    "metrics.m = 1e999",
    "eyJ9",
    "runs:/a/b",
    "models:/m/1",
]
_NUMBERS = itertools.count()
NUMBERS = [0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 1.5, 1e308, -1e308, True, "7", "Infinity"]
JSON = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(EDGES) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """The calls, on either database."""
    home = tmp_path_factory.mktemp("wire")
    if request.param == "sqlite":
        with Container(Settings(home=home)) as container:
            yield Wire(container, ENDPOINTS)
        return
    databases: Databases = request.getfixturevalue("databases")
    url = databases.make()
    with Container(Settings(home=home, store=url)) as container:
        yield Wire(container, ENDPOINTS)
    databases.drop(url)


@pytest.fixture
def filled(wire: Wire) -> Wire:
    """With a run, a model and a version there to be asked about."""
    name = f"m{next(_NUMBERS)}"
    experiment = _asked(wire, "experiments/create", {"name": name})["experiment_id"]
    run = _asked(wire, "runs/create", {"experiment_id": experiment, "start_time": 1})["run"]["info"]["run_id"]
    point = {"key": "m", "value": 1.0, "timestamp": 1, "step": 1}
    _asked(
        wire, "runs/log-batch", {"run_id": run, "metrics": [point], "params": [{"key": "p", "value": "1"}]}
    )
    _asked(wire, "registered-models/create", {"name": name})
    _asked(wire, "model-versions/create", {"name": name, "source": f"runs:/{run}/m", "run_id": run})
    _asked(wire, "registered-models/alias", {"name": name, "alias": "a", "version": "1"})
    model = _asked(wire, "logged-models", {"experiment_id": experiment, "name": "l"})["model"]["info"][
        "model_id"
    ]
    KNOWN["trace_id"] = KNOWN["request_id"] = [f"tr-{name}"]
    KNOWN["trace_ids"] = KNOWN["request_ids"] = [[f"tr-{name}"]]
    told = {"trace_id": f"tr-{name}", "trace_location": _place(experiment)}
    status, answer = wire.call(
        "POST", "3.0/mlflow/traces", "", json.dumps({"trace": {"trace_info": told}}).encode()
    )
    assert status == 200, answer
    KNOWN["locations"] = [[_place(experiment)]]
    KNOWN["run_id"] = KNOWN["run_uuid"] = [run]
    KNOWN["run_ids"] = [[run]]
    KNOWN["experiment_id"], KNOWN["experiment_ids"] = [experiment], [[experiment]]
    KNOWN["model_id"] = [model]
    KNOWN["name"] = [name]
    return wire


def _place(experiment: str) -> dict[str, Any]:
    return {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}


def _asked(wire: Wire, path: str, message: dict[str, Any]) -> Any:
    status, answer = wire.call("POST", f"2.0/mlflow/{path}", "", json.dumps(message).encode())
    assert status == 200, answer
    return json.loads(answer)


# Values with which a call gets further than its first check, by the name of the field.
KNOWN: dict[str, list[Any]] = {
    "experiment_name": ["Default"],
    "version": ["1"],
    "alias": ["a"],
    "key": ["m", "t", "mlflow.runName"],
    "metric_key": ["m"],
    "source": ["runs:/none/m"],
    "stage": ["Staging"],
    "status": ["FINISHED"],
    "timestamp": [1],
    "max_results": [1, 10],
    "order_by": [[], ["name"]],
    "filter": ["", "name = 'm'", "metrics.m > 0.5"],
    "page_token": [""],
    "view_type": ["ALL"],
    "run_view_type": ["ALL"],
    "tag_key": ["t"],
    "assessment_id": ["a-none"],
    "assessment": [{"assessment_name": "good", "feedback": {"value": 1}}],
    "filter_string1": ["name = 'a'"],
    "filter_string2": ["trace.text LIKE '%a%'", "feedback.good > 0 AND span.attributes.a LIKE '%'"],
    "timestamp_ms": [1],
    "digest": ["d"],
    "source_type": ["local"],
    "model_json": ['{"run_id": "", "artifact_path": "m", "utc_time_created": "", "flavors": {}}'],
}


_fields = cache(msgspec.structs.fields)


@st.composite
def _message(draw: st.DrawFn, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A message that a call takes, but for up to two fields."""
    names = [field.encode_name for field in _fields(kind)]
    odd = draw(st.sets(st.sampled_from(names), max_size=2)) if names else set()
    message = {}
    for field in _fields(kind):
        name = field.encode_name
        if name in odd:
            message[name] = draw(_odd(field.type))
        elif name in KNOWN:
            message[name] = draw(st.sampled_from(KNOWN[name]))
        elif field.required or draw(st.booleans()):
            message[name] = draw(_good(field.type))
    return message


# Kept: making what draws a value takes longer than drawing it and asking.
@cache
def _good(kind: Any) -> st.SearchStrategy[Any]:
    return _of(kind, st.just("a"), st.just(1))


@cache
def _odd(kind: Any) -> st.SearchStrategy[Any]:
    return _of(kind, st.sampled_from(EDGES) | st.text(max_size=20), st.sampled_from(NUMBERS)) | JSON


def _of(kind: Any, texts: st.SearchStrategy[Any], numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        return _of(get_args(kind)[0], texts, numbers)
    if origin in (Union, UnionType):
        return st.one_of([_of(one, texts, numbers) for one in get_args(kind)])
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if origin in (list, tuple):
        return st.lists(_of(get_args(kind)[0], texts, numbers), min_size=1, max_size=3)
    if origin is dict:
        return st.dictionaries(texts, _of(get_args(kind)[1], texts, numbers), max_size=3)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _message(kind)
    if kind is bool:
        return st.booleans()
    if kind is NoneType:
        return st.none()
    return numbers if kind in (int, float) else texts


def _ask(wire: Wire, endpoint: Endpoint, message: Any) -> tuple[int, bytes]:
    path = endpoint.path
    for name in ("model_id", "tag_key", "trace_id", "request_id", "assessment_id"):
        path = path.replace(f"{{{name}}}", str(KNOWN[name][0]))
    if endpoint.method == "GET" and isinstance(message, dict):
        flat = {name: value for name, value in message.items() if not isinstance(value, dict)}
        return wire.call("GET", path, urlencode(flat, doseq=True, errors="surrogatepass"), b"")
    return wire.call(endpoint.method, path, "", json.dumps(message).encode())


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_no_body_is_too_odd_to_be_answered(filled: Wire, endpoint: Endpoint) -> None:
    examples = settings().max_examples * 2 // 5  # the profile's share: there are many calls

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(_message(endpoint.message))
    def check(message: dict[str, Any]) -> None:
        status, answer = _ask(filled, endpoint, message)
        told = json.loads(answer)
        assert status < 500, told
        if status != 200:
            assert told["error_code"]
            assert told["message"]

    check()


BROKEN = [
    b"{",
    b"[",
    b"null",
    b"5",
    b'"text"',
    b'"\\"{\\""',
    b"\xff\xfe",
    b'{"run_id": "\xff"}',
    b'{"run_id": "\\ud800"}',
    b'{"run_id": NaN}',
    b'{"run_id": 1e999}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"metrics": [' + b"{}," * 1000 + b"{}]}",
    b'{"run_id": "r", "run_id": "s"}',
    b"{}" + b" " * 1_000_000 + b"x",
]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_broken_bodies_and_queries_are_told_of(wire: Wire, endpoint: Endpoint) -> None:
    path = endpoint.path.replace("{model_id}", "m-0").replace("{tag_key}", "t")
    for body in BROKEN:
        status, answer = wire.call(endpoint.method, path, "", body)
        assert status < 500, (body[:40], answer)
        json.loads(answer)
    for query in (
        "%ff",
        "run_id=%ff&run_id=%00",
        "a" * 100_000,
        "&" * 1000,
        "run_id",
        "max_results=" + "9" * 5000,
    ):
        status, answer = wire.call("GET", path, query, b"")
        assert status < 500, (query[:40], answer)
        json.loads(answer)
