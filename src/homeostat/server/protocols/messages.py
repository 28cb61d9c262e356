"""The messages and calls of the Open Inference Protocol over gRPC, as its specification numbers them.

Fields that nothing here reads are left out; the library passes over them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from homeostat.adapters.messages import classes

SERVICE: Final = "inference.GRPCInferenceService"
CALLS: Final = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
CONTENTS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of ``InferTensorContents`` that holds each datatype; FP16 comes as raw bytes alone."""

_NAMED: Final = "1 string name, 2 string version"
_TENSOR: Final = "1 string name, 2 string datatype, 3 int64* shape"
_MESSAGES: Final = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{_NAMED}, 3 string* extensions",
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse": (
        "1 string name, 2 string* versions, 3 string platform, 4 TensorMetadata* inputs, 5 TensorMetadata* outputs"
    ),
    "TensorMetadata": _TENSOR,
    "InferTensorContents": (
        "1 bool* bool_contents, 2 int32* int_contents, 3 int64* int64_contents, 4 uint32* uint_contents,"
        " 5 uint64* uint64_contents, 6 float* fp32_contents, 7 double* fp64_contents, 8 bytes* bytes_contents"
    ),
    "Tensor": f"{_TENSOR}, 5 InferTensorContents contents",
    "RequestedOutput": "1 string name",
    "ModelInferRequest": (
        "1 string model_name, 2 string model_version, 3 string id, 5 Tensor* inputs, 6 RequestedOutput* outputs,"
        " 7 bytes* raw_input_contents"
    ),
    "InferParameter": "3 string string_param",
    "Parameter": "1 string key, 2 InferParameter value",  # an entry of a map, as it is on the wire
    "ModelInferResponse": (
        "1 string model_name, 2 string model_version, 3 string id, 4 Parameter* parameters, 5 Tensor* outputs,"
        " 6 bytes* raw_output_contents"
    ),
}


def message(name: str) -> Any:
    """The class of a message."""
    return _classes()[name]


@cache
def _classes() -> dict[str, Any]:
    return classes("inference", _MESSAGES, syntax="proto3", what="gRPC", extra="grpc")
