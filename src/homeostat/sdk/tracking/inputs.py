"""What a run reads: a dataset version of Homeostat's, a file or folder, a frame, an array."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.domain.refs import parse_ref
from homeostat.engine.tracking import entries
from homeostat.sdk.tracking.told import array_of
from homeostat.sdk.tracking.values import Table, value_of

_DIGITS: Final = 32  # of the digest; MLflow keeps up to 36
_PART: Final = 1 << 20
_CONTEXT: Final = "mlflow.data.context"
# The names that MLflow gives to types of columns.
_TYPES: Final = {
    "Int8": "integer",
    "Int16": "integer",
    "Int32": "integer",
    "Int64": "long",
    "UInt8": "integer",
    "UInt16": "integer",
    "UInt32": "long",
    "UInt64": "long",
    "Float32": "float",
    "Float64": "double",
    "Boolean": "boolean",
    "String": "string",
    "Binary": "binary",
    "Date": "datetime",
}


def input_of(data: Any, *, name: str, context: str, tags: Mapping[str, str]) -> entries.Input:
    """The entry for what a run reads; it is read to its end for its digest.

    Args:
        data: A reference such as ``dataset/flights@12``; the path of a file or folder; a frame of Polars, pandas or
            Arrow; an array.
        name: What to call it; by default what it is called, or ``data``.
        context: What it is read for, such as ``training``.
        tags: Marks on it.

    Raises:
        BadRequest: it is none of these.
        BadReference: it begins as a reference does and is none.
    """
    found = _input(data, name)
    marks = {**tags, **({_CONTEXT: context} if context else {})}
    return msgspec.structs.replace(found, tags=marks) if marks else found


def _input(data: Any, name: str) -> entries.Input:
    if isinstance(data, str) and data.startswith("dataset/"):
        ref = parse_ref(data)
        if not ref.version:
            raise BadRequest(
                f"{data} names no version", remedy=f"Write {data}@ and the number of the version"
            )
        return entries.Input(
            name=name or ref.name, digest=f"version {ref.version}", source_type="homeostat", source=data
        )
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        if not path.exists():
            raise BadRequest(f"there is no file {path}", remedy="Give a path, a reference or a frame")
        source = str(path.resolve())
        return entries.Input(
            name=name or path.name, digest=_of_path(path), source_type="local", source=source
        )
    if isinstance(value_of(data), Table):
        return _of_frame(data, name)
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        array = array_of(data)
        digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
        profile = msgspec.json.encode({"shape": list(array.shape), "type": str(array.dtype)}).decode()
        return entries.Input(name=name or "data", digest=_short(digest), source_type="code", profile=profile)
    raise BadRequest(
        f"a {type(data).__name__} is nothing that a run reads",
        remedy="Give a reference such as dataset/flights@12, a path, a frame or an array",
    )


def _of_frame(data: Any, name: str) -> entries.Input:
    import polars as pl

    frame = data.collect() if isinstance(data, pl.LazyFrame) else data
    frame = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer)
    columns = [{"type": _type(kind), "name": column} for column, kind in frame.schema.items()]
    return entries.Input(
        name=name or "data",
        digest=_short(hashlib.sha256(buffer.getbuffer())),
        source_type="code",
        schema=msgspec.json.encode({"mlflow_colspec": columns}).decode(),
        profile=msgspec.json.encode(
            {"num_rows": frame.height, "num_elements": frame.height * frame.width}
        ).decode(),
    )


def _type(kind: Any) -> str:
    return _TYPES.get(str(kind), "datetime" if kind.is_temporal() else "string")


def _of_path(path: Path) -> str:
    """The digest of a file's bytes, or of a folder's files with their names."""
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as read:
            while part := read.read(_PART):
                digest.update(part)
    return _short(digest)


def _short(digest: Any) -> str:
    return str(digest.hexdigest()[:_DIGITS])
