"""Content digests, written ``sha256:…`` as in OCI."""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import textwrap
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import msgspec

_PIECE: Final = 1 << 20


def digest_bytes(data: bytes | memoryview) -> str:
    """The digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(file: BinaryIO) -> str:
    """The digest of all that a file holds; it stands at its beginning afterwards."""
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
    file.seek(0)
    return "sha256:" + digest.hexdigest()


class Digesting(io.RawIOBase):
    """A file that keeps of what is written to it only the digest."""

    def __init__(self) -> None:
        super().__init__()
        self._sha = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        """Go on with ``data``."""
        self._sha.update(data)
        return memoryview(data).nbytes

    @property
    def digest(self) -> str:
        """Of all so far."""
        return "sha256:" + self._sha.hexdigest()


def canonical(value: Any) -> bytes:
    """One JSON text for equal values: sorted keys, no spaces."""
    return msgspec.json.encode(value, order="deterministic")


def digest_of(value: Any) -> str:
    """The digest of a value that JSON can hold, independent of the order of its keys."""
    return digest_bytes(canonical(value))


def source_of(function: Callable[..., Any]) -> str:
    """The source of ``function`` without comments and layout, so that a reformat is no change."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return ast.unparse(tree)


def source_digest(function: Callable[..., Any]) -> str:
    """The digest of what ``function`` says; comments and layout do not count, names it calls are not followed."""
    return digest_bytes(source_of(function).encode())
