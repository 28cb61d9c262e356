"""The data plane as OpenAPI 3.1, made from the signatures of what is deployed at the moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.domain.release import VERSION
from homeostat.engine.serving import tensors
from homeostat.engine.serving.endpoint import Live
from homeostat.engine.serving.scorer import SCORE
from homeostat.server.http import Problem
from homeostat.server.protocols import inference, mlflow, native, tensorflow

if TYPE_CHECKING:
    from homeostat.engine.serving.plane import Plane

_REFERENCE: Final = "#/components/schemas/{name}"
_TEXT: Final = "text/plain"
_JSON: Final = "application/json"
_PAGES: Final = {
    "/health": "Whether the process answers.",
    "/ready": "Whether every deployment gives a real prediction.",
    "/ping": "As /ready: the path that MLflow and SageMaker ask.",
    "/stats": "What this worker has done and how it stands.",
}

Schema = dict[str, Any]


class Refused(msgspec.Struct):
    """The body of an error on Homeostat's own paths."""

    error: Problem


def openapi(plane: Plane) -> Schema:
    """The document.

    Args:
        plane: Whose deployments it describes.
    """
    kinds = (
        Refused,
        native.Answer,
        native.Full,
        inference.ServerMetadata,
        inference.ModelMetadata,
        inference.Answer,
        inference.Failure,
        tensorflow.Models,
        tensorflow.Status,
        tensorflow.Predictions,
        mlflow.Failure,
    )
    references, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    of: dict[Any, Schema] = dict(zip(kinds, references, strict=True))
    paths: Schema = {path: _get(text, {"type": "object"}, of[Refused]) for path, text in _PAGES.items()}
    for path, text in (("/version", "Which Homeostat answers."), ("/metrics", "Prometheus' exposition.")):
        paths[path] = _get(text, {"type": "string"}, of[Refused], media=_TEXT)
    paths["/v2"] = _get("Who answers.", of[inference.ServerMetadata], of[inference.Failure])
    for state in ("live", "ready"):
        paths[f"/v2/health/{state}"] = _get(
            f"Whether the server is {state}.", {"type": "object"}, of[inference.Failure]
        )
    paths["/v1/models"] = _get("What is deployed.", of[tensorflow.Models], of[inference.Failure])
    for name, endpoint in plane.endpoints.items():
        paths |= _deployment(name, endpoint.live, of)
    if len(plane.endpoints) == 1:
        (endpoint,) = plane.endpoints.values()
        paths[mlflow.PATH] = _invocations(endpoint.live, of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Homeostat: predictions", "version": VERSION},
        "paths": paths,
        "components": {"schemas": components},
    }


def _deployment(name: str, live: Live, of: Mapping[Any, Schema]) -> Schema:
    row = row_schema(live)
    failed = of[inference.Failure]
    one = of[native.Answer] if live.outputs[0] is SCORE else of[native.Full]
    several = {"type": "object", "required": ["deployment", "predictions"]}
    made: Schema = {
        f"/predict/{name}": _post(
            f"Ask deployment/{name}.",
            {"oneOf": [row, _object({"instances": {"type": "array", "items": row, "minItems": 1}})]},
            {"anyOf": [one, of[native.Full], several]},
            of[Refused],
            parameters=[
                {
                    "name": "explain",
                    "in": "query",
                    "description": "Also give the features and how old they are.",
                    "schema": {"type": "string", "enum": ["features"]},
                }
            ],
        ),
        f"/v1/models/{name}": _get("Which versions can answer.", of[tensorflow.Status], failed),
        f"/v1/models/{name}:predict": _post(
            "Ask, as with TensorFlow Serving.",
            _object({"instances": {"type": "array", "items": _listed(live, row), "minItems": 1}}, more=True),
            of[tensorflow.Predictions],
            failed,
        ),
    }
    versions = [f"/versions/{arm.version}" for arm in live.routes.arms]
    for path in [f"/v2/models/{name}{version}" for version in ("", *versions)]:
        made[path] = _get("What the model takes and gives.", of[inference.ModelMetadata], failed)
        made[f"{path}/ready"] = _get("Whether it gives a real prediction.", {"type": "object"}, failed)
        made[f"{path}/infer"] = _post("Ask, with tensors.", _tensors(live), of[inference.Answer], failed)
    return made


def row_schema(live: Live) -> Schema:
    """A row of a request: an object of columns with their types and bounds."""
    _, found = msgspec.json.schema_components([live.reader.row_type], ref_template=_REFERENCE)
    (schema,) = found.values()
    return {key: value for key, value in schema.items() if key != "title"}


def _listed(live: Live, row: Schema) -> Schema:
    if not live.table:
        return row
    width = len(live.reader.columns)
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": width, "maxItems": width}
    return {"anyOf": [row, numbers]}


def _tensors(live: Live) -> Schema:
    takes = tensors.inputs(live.reader.columns, live.table)
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"enum": [one.name for one in takes]},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 1,
                "maxItems": 2,
            },
            "datatype": {"enum": sorted({"BYTES", *tensors.NUMPY})},
            "data": {"type": "array", "minItems": 1},
        },
    }
    wanted = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": [one.name for one in tensors.described(live.outputs)]}},
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": tensor, "minItems": 1},
            "outputs": {"type": "array", "items": wanted},
        },
    }


def _invocations(live: Live, of: Mapping[Any, Schema]) -> Schema:
    row = row_schema(live)
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "data": {"type": "array", "items": {"type": "array"}, "minItems": 1},
        },
    }
    rows = {"type": "array", "items": row, "minItems": 1}
    forms = {
        "dataframe_split": split,
        "dataframe_records": rows,
        "instances": {**rows, "items": _listed(live, row)},
        "inputs": {"type": ["object", "array"]},
    }
    asked = _post(
        "Ask, as with MLflow and SageMaker.",
        {"oneOf": [_object({form: said}, params=_params(live)) for form, said in forms.items()]},
        of[tensorflow.Predictions],
        of[mlflow.Failure],
    )
    asked["post"]["requestBody"]["content"]["text/csv"] = {"schema": {"type": "string"}}
    return asked


def _params(live: Live) -> Schema:
    known = mlflow.parameters(live)
    if not known:
        return {"type": "object"}
    properties = {name: msgspec.json.schema(kind) for name, kind in known.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _object(required: Schema, *, more: bool = False, **optional: Schema) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": more,
    }


def _get(text: str, answer: Schema, failure: Schema, *, media: str = _JSON) -> Schema:
    return {"get": {"summary": text, "responses": _responses(answer, failure, (503,), media)}}


def _post(
    text: str, body: Schema, answer: Schema, failure: Schema, *, parameters: list[Schema] | None = None
) -> Schema:
    return {
        "post": {
            "summary": text,
            "parameters": parameters or [],
            "requestBody": {"required": True, "content": {_JSON: {"schema": body}}},
            "responses": _responses(
                answer, failure, (400, 403, 404, 405, 408, 413, 415, 422, 500, 503), _JSON
            ),
        }
    }


def _responses(answer: Schema, failure: Schema, statuses: tuple[int, ...], media: str) -> Schema:
    failed = {"description": "It went wrong.", "content": {_JSON: {"schema": failure}}}
    return {
        "200": {"description": "The answer.", "content": {media: {"schema": answer}}},
        **{str(status): failed for status in statuses},
    }
