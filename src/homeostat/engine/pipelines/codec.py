"""Results of steps as bytes, and back: what comes back is equal and of the same type, or it is not kept.

A value is a pair of its kind and its content, in MessagePack: Polars frames and series and Arrow tables as
Arrow IPC, NumPy arrays and scalars as ``.npy``, lists, tuples and dicts as the pairs inside them, and the
rest as it stands. Nothing is pickled.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

# Exact types only: what comes back of a subclass would be its base.
_PLAIN: Final = (type(None), bool, float, str, bytes)
_INTS: Final = (-(2**63), 2**64 - 1)


class NotKept(TypeError):
    """A value that cannot be kept; the message names the part of it that cannot."""


def encode(value: Any) -> bytes:
    """``value`` as bytes.

    Raises:
        NotKept: it holds a type that would not come back as it was.
    """
    return msgspec.msgpack.encode(_pack(value, "it"))


def decode(data: bytes) -> Any:
    """What ``encode`` was given."""
    return _unpack(msgspec.msgpack.decode(data))


def _pack(value: Any, where: str) -> list[Any]:
    kind = type(value)
    if kind in _PLAIN or (kind is int and _INTS[0] <= value <= _INTS[1]):
        return ["plain", value]
    if kind is datetime and value.tzinfo is UTC:
        return ["time", value.isoformat()]
    if kind in (list, tuple):
        return [kind.__name__, [_pack(item, f"{where}[{index}]") for index, item in enumerate(value)]]
    if kind is dict and all(type(key) is str for key in value):
        return ["dict", [[key, _pack(item, f"{where}[{key!r}]")] for key, item in value.items()]]
    if kind is pl.DataFrame:
        return ["frame", _ipc(value, where)]
    if kind is pl.Series:
        return ["series", _ipc(value.to_frame(), where)]
    if kind is np.ndarray or isinstance(value, np.generic):
        return ["array" if kind is np.ndarray else "scalar", _npy(value, where)]
    if _is_arrow(value):
        return ["arrow", _arrow(value)]
    raise NotKept(f"{where} is a {kind.__module__}.{kind.__qualname__}" + _hint(value))


def _unpack(pair: Any) -> Any:
    kind, content = pair
    match kind:
        case "plain":
            return content
        case "time":
            return datetime.fromisoformat(content).replace(tzinfo=UTC)
        case "list":
            return [_unpack(item) for item in content]
        case "tuple":
            return tuple(_unpack(item) for item in content)
        case "dict":
            return {key: _unpack(item) for key, item in content}
        case "frame":
            return pl.read_ipc_stream(content)
        case "series":
            return pl.read_ipc_stream(content).to_series()
        case "array":
            return np.load(io.BytesIO(content), allow_pickle=False)
        case "scalar":
            return np.load(io.BytesIO(content), allow_pickle=False)[()]
        case "arrow":
            import pyarrow as pa

            return pa.ipc.open_stream(content).read_all()
    raise NotKept(f"{kind!r} is no kind of value that this version of Homeostat keeps")


def _ipc(frame: pl.DataFrame, where: str) -> bytes:
    if any(isinstance(kind, pl.Object) for kind in frame.dtypes):
        raise NotKept(f"{where} has a column of Python objects")
    sink = io.BytesIO()
    # One chunk, so that equal frames have equal bytes however they were put together.
    frame.rechunk().write_ipc_stream(sink)
    return sink.getvalue()


def _npy(value: Any, where: str) -> bytes:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise NotKept(f"{where} is an array of Python objects")
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def _is_arrow(value: Any) -> bool:
    arrow = sys.modules.get("pyarrow")  # a value of a library that nobody imported does not exist
    return arrow is not None and isinstance(value, arrow.Table)


def _arrow(value: Any) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, value.schema) as writer:
        writer.write_table(value.combine_chunks())
    return sink.getvalue()


def _hint(value: Any) -> str:
    if isinstance(value, pl.LazyFrame):
        return ": collect it"
    if type(value).__module__.split(".")[0] == "pandas":
        return ": make it a Polars frame with pl.from_pandas"
    if isinstance(value, dict):
        return " with keys that are no texts"
    if isinstance(value, datetime):
        return ": give it the time zone UTC"
    return ""
