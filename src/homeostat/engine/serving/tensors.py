"""Tensors of the Open Inference Protocol: what a model takes and gives, rows from tensors and tensors from answers.

Each column is an input of its own, of shape ``[n]`` or ``[n, 1]``; a model that knows no names of its columns takes one
table ``[n, columns]``. Numbers may come in a narrower type of their kind, and in no other kind. A NaN is a missing
value, an infinity none at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isinf, prod
from typing import Any, Final

import msgspec
import numpy as np

from homeostat.domain.contracts import Column, ColumnType
from homeostat.domain.errors import BadRequest
from homeostat.engine.serving.predictions import Prediction
from homeostat.engine.serving.scorer import Output

ID: Final = "prediction_id"
"""The output that holds the id of each row's prediction."""

DATATYPES: Final[Mapping[ColumnType, str]] = {
    "string": "BYTES",
    "float": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    "datetime": "BYTES",
}
NUMPY: Final[Mapping[str, Any]] = {
    "BOOL": np.dtype("?"),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_INTEGERS: Final = frozenset(name for name in NUMPY if "INT" in name)
_FLOATS: Final = frozenset(name for name in NUMPY if name.startswith("FP"))
_TAKEN: Final[Mapping[ColumnType, frozenset[str]]] = {
    "string": frozenset({"BYTES"}),
    "float": _FLOATS,
    "integer": _INTEGERS,
    "boolean": frozenset({"BOOL"}),
    "datetime": frozenset({"BYTES"}),
}
_LISTS: Final[Mapping[str, Any]] = {
    "BOOL": list[bool | None],
    "BYTES": list[str | None],
    **dict.fromkeys(_INTEGERS, list[int | None]),
    **dict.fromkeys(_FLOATS, list[float | None]),
}


class Described(msgspec.Struct, frozen=True):
    """What is known of a tensor before it is there; -1 stands for the number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Tensor(msgspec.Struct):
    """A tensor with its values, flat, in the order of rows."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: Sequence[Any]


def inputs(columns: Sequence[Column], table: str) -> list[Described]:
    """The inputs of a model with these columns."""
    if table:
        return [Described(table, DATATYPES[columns[0].type], (-1, len(columns)))]
    return [Described(column.name, DATATYPES[column.type], (-1,)) for column in columns]


def described(outputs: Sequence[Output]) -> list[Described]:
    """The outputs of a model: what it gives, and the ids of its predictions."""
    made = [
        Described(one.name, DATATYPES[one.type], (-1, one.width) if one.width else (-1,)) for one in outputs
    ]
    return [*made, Described(ID, "BYTES", (-1,))]


def check(name: str, datatype: str, shape: Sequence[int]) -> int:
    """How many values a tensor says that it has.

    Raises:
        BadRequest: no tensor has such a datatype or shape.
    """
    if datatype != "BYTES" and datatype not in NUMPY:
        raise _wrong(name, f"{datatype[:20]!r} is no datatype", "Use one that the model's metadata names")
    if not shape or len(shape) > 8 or any(size < 0 or size >= 1 << 40 for size in shape):
        raise _wrong(
            name, f"{list(shape)[:8]} is no shape of rows", "Send the number of rows as the first size"
        )
    if shape[0] == 0 or prod(shape) == 0:
        raise _wrong(name, f"the shape {list(shape)} has no rows", "Send at least one row")
    return prod(shape)


def from_json(name: str, datatype: str, shape: Sequence[int], data: msgspec.Raw) -> Tensor:
    """A tensor whose values are a list, or lists in lists.

    Raises:
        BadRequest: the values are not of the datatype, or not as many as the shape says.
    """
    count = check(name, datatype, shape)
    kind = _LISTS[datatype]
    try:
        values = msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        try:
            values = msgspec.convert(_flat(msgspec.json.decode(data)), kind)
        except (msgspec.ValidationError, RecursionError, TypeError):
            what = str(error).split(" - at")[0]
            raise _wrong(name, f"the data are not {datatype}: {what}", f"Send a list of {datatype}") from None
    if len(values) != count:
        raise _wrong(
            name,
            f"the shape {list(shape)} asks for {count} values, and there are {len(values)}",
            "Correct one of them",
        )
    if datatype in _INTEGERS:
        limits = np.iinfo(NUMPY[datatype])
        if any(value is not None and not limits.min <= value <= limits.max for value in values):
            raise _wrong(name, f"a value lies outside of {datatype}", "Use a wider datatype")
    return Tensor(name, datatype, shape, values)


def from_bytes(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> Tensor:
    """A tensor in binary, little end first; texts are preceded by their length in four bytes.

    Raises:
        BadRequest: there are more bytes or fewer than the shape says.
    """
    count = check(name, datatype, shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _texts(name, bytes(data), count))
    dtype = NUMPY[datatype]
    if len(data) != count * dtype.itemsize:
        raise _wrong(
            name,
            f"{count} values of {datatype} are {count * dtype.itemsize} bytes, and there are {len(data)}",
            "Correct the shape or the data",
        )
    return Tensor(name, datatype, shape, np.frombuffer(data, dtype).tolist())


def to_bytes(tensor: Tensor) -> bytes:
    """The values in binary."""
    if tensor.datatype == "BYTES":
        encoded = [str(value).encode() for value in tensor.values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
    return np.asarray(tensor.values, NUMPY[tensor.datatype]).tobytes()


def rows(
    columns: Sequence[Column], table: str, tensors: Sequence[Tensor], *, whole: bool = False
) -> list[dict[str, Any]]:
    """What the tensors hold, as an object of columns for each row; bounds and choices are not looked at.

    Args:
        whole: Whether nullable columns must be there too.

    Raises:
        BadRequest: an input is missing, unknown, given twice, of another datatype or of another shape.
    """
    given = {tensor.name: tensor for tensor in tensors}
    names = [table] if table else [column.name for column in columns]
    if len(given) < len(tensors):
        raise BadRequest("an input is given twice", field="inputs", remedy="Give each once")
    for name in given.keys() - set(names):
        raise _wrong(name, "the model has no such input", f"It has {', '.join(names)}"[:500])
    if table:
        return _of_table(columns, table, given.get(table))
    missing = [
        column.name for column in columns if column.name not in given and (whole or not column.nullable)
    ]
    if missing:
        raise _wrong(missing[0], "the input is missing", "Send it")
    found: dict[str, list[Any]] = {}
    height = 0
    for column in columns:
        tensor = given.get(column.name)
        if tensor is None:
            continue
        _fits(tensor, column.type)
        if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
            raise _wrong(tensor.name, f"its shape is [-1], not {list(tensor.shape)}", "Send a value a row")
        height = height or tensor.shape[0]
        if tensor.shape[0] != height:
            raise _wrong(
                tensor.name,
                f"it has {tensor.shape[0]} rows and another input {height}",
                "Send as many rows of each",
            )
        found[column.name] = _values(tensor)
    if not found:
        raise BadRequest("there is no input", field="inputs", remedy="Send at least one row")
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def answers(outputs: Sequence[Output], items: Sequence[Prediction]) -> list[Tensor]:
    """What the model gave, as tensors, and the ids of the predictions."""
    made = []
    for one in outputs:
        values = [value(one.name, item) for item in items]
        shape = [len(items), one.width] if one.width else [len(items)]
        flat = [part for row in values for part in row] if one.width else values
        made.append(Tensor(one.name, DATATYPES[one.type], shape, flat))
    return [*made, Tensor(ID, "BYTES", [len(items)], [item.id for item in items])]


def value(output: str, item: Prediction) -> Any:
    """One output of a decided prediction, as JSON holds it."""
    assert item.scored is not None
    found = item.scored.output(output, item.index)
    if isinstance(found, datetime):
        return found.isoformat()
    return found.tolist() if isinstance(found, np.ndarray | np.generic) else found


def _of_table(columns: Sequence[Column], table: str, tensor: Tensor | None) -> list[dict[str, Any]]:
    if tensor is None:
        raise _wrong(table, "the input is missing", "Send it")
    width = len(columns)
    if len(tensor.shape) != 2 or tensor.shape[1] != width:
        raise _wrong(table, f"its shape is [-1, {width}], not {list(tensor.shape)}", "Correct it")
    _fits(tensor, columns[0].type)
    values, names = _values(tensor), [column.name for column in columns]
    return [dict(zip(names, values[at : at + width], strict=True)) for at in range(0, len(values), width)]


def _fits(tensor: Tensor, kind: ColumnType) -> None:
    if tensor.datatype not in _TAKEN[kind]:
        raise _wrong(tensor.name, f"it is of {DATATYPES[kind]}, not {tensor.datatype}", "Convert it")


def _values(tensor: Tensor) -> list[Any]:
    """The values, missing ones as None."""
    if tensor.datatype not in _FLOATS:
        return list(tensor.values)
    # NaN alone differs from itself.
    values = [None if value != value else value for value in tensor.values]
    if any(value is not None and isinf(value) for value in values):
        raise _wrong(tensor.name, "it holds an infinite number", "Send what was measured, or NaN for nothing")
    return values


def _texts(name: str, data: bytes, count: int) -> list[str]:
    values: list[str] = []
    at = 0
    while at < len(data) and len(values) < count:
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        try:
            values.append(data[at + 4 : end].decode())
        except UnicodeDecodeError:
            raise _wrong(name, f"value {len(values)} is no UTF-8", "Encode texts as UTF-8") from None
        at = end
    if at != len(data) or len(values) != count:
        raise _wrong(name, f"the bytes do not hold {count} texts", "Put its length before each text")
    return values


def _flat(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise TypeError("a tensor's data are a list")
    if not any(isinstance(value, list) for value in values):
        return values
    return [part for value in values for part in _flat(value)]


def _wrong(name: str, what: str, remedy: str) -> BadRequest:
    return BadRequest(what, field=name[:200], remedy=remedy)
