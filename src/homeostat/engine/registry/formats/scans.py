"""What a pickle would call, found without calling it, and what fickling says about it."""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

import numpy as np

from homeostat.domain.errors import Unsafe
from homeostat.engine.registry.formats.base import damaged, need

ARRAYS: Final = "joblib.numpy_pickle.NumpyArrayWrapper"
"""What stands in joblib's files before the bytes of an array."""

# Findings of fickling about what is imported and called: that is judged by name, and each model imports something.
_BY_NAME: Final = frozenset({"NonStandardImports", "UnsafeImports", "UnsafeImportsML", "OvertlyBadEval"})
_BARE: Final = "copyreg._reconstructor"
_LARGEST: Final = 1 << 40
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"]\x00\x00": "lzma",
    b"x": "zlib",
    b"PK": "zip",
}
"""How files of joblib and archives begin that hold a pickle; no pickle of a model begins so."""


@dataclass(frozen=True)
class Scan:
    """A pickle as walked.

    Args:
        names: Every function and class it names.
        calls: Those that it calls with arguments of its own, rather than makes bare objects of; ``""``: an object
            that it made.
        instructions: Its instructions without joblib's arrays.
    """

    names: frozenset[str]
    calls: frozenset[str]
    instructions: tuple[bytes, ...]


def scan(data: bytes, file: str) -> Scan:
    """Walk a pickle; see ``Scan``.

    Raises:
        Unsafe: it is torn, or no pickle.
    """
    names: set[str] = set()
    calls: set[str] = set()
    parts: list[bytes] = []
    walker = _Walker(io.BytesIO(data), data, names, calls, parts)
    try:
        walker.load()
    except Exception as error:
        compressed = next((kind for mark, kind in _COMPRESSED.items() if data.startswith(mark)), "")
        if compressed:
            raise Unsafe(
                f"{file} is compressed by {compressed}, so what it holds cannot be scanned",
                remedy="Write it as it is; or, if you know where it comes from: "
                "joblib.dump(joblib.load('model.joblib'), 'plain.joblib')",
            ) from error
        raise damaged(file, f"is no whole pickle: {type(error).__name__}: {error}") from error
    if walker.file_handle.tell() != len(data):
        raise damaged(file, "goes on after the pickle has ended")
    return Scan(frozenset(names), frozenset(calls), tuple(parts))


def verdict(found: Scan, file: str) -> str:
    """What fickling finds wrong with a pickle, besides what it imports; empty: nothing.

    Raises:
        NotInstalled: fickling is missing.
    """
    fickle = need("fickling.fickle", "pickle", f"scanning {file}")
    analysis = need("fickling.analysis", "pickle", f"scanning {file}")
    told: list[str] = []
    for part in found.instructions:
        for pickled in fickle.StackedPickle.load(io.BytesIO(part), fail_on_decode_error=False):
            for result in analysis.check_safety(pickled).results:
                by_name = result.analysis_name in _BY_NAME
                least = analysis.Severity.OVERTLY_MALICIOUS if by_name else analysis.Severity.LIKELY_UNSAFE
                if result.severity >= least:
                    told.append(str(result))
    return "; ".join(dict.fromkeys(told))


class _Inert:
    """Stands for whatever a pickle names and makes: takes everything, does nothing."""

    full: ClassVar[str] = ""

    def __new__(cls, *args: Any, **options: Any) -> _Inert:
        return object.__new__(_Inert)

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __call__(self, *args: Any, **options: Any) -> _Inert:
        return _Inert()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __setstate__(*args: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class _Arrays(_Inert):
    """Stands for joblib's note of an array, whose shape and type say how many bytes follow."""

    state: dict[str, Any]

    def __new__(cls, *args: Any, **options: Any) -> _Arrays:
        return object.__new__(_Arrays)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Dtype(_Inert):
    """Stands for a NumPy dtype of a fixed size, which the text it is made from gives."""

    dtype: Any

    def __new__(cls, text: Any = "", *rest: Any, **options: Any) -> _Dtype:
        made = object.__new__(_Dtype)
        made.dtype = np.dtype(text) if isinstance(text, str) else None
        return made

    def __setstate__(self, state: Any) -> None:
        # A structured type: its fields come with the state, and its size among them.
        if self.dtype is not None and self.dtype.kind == "V" and len(state) > 5 and isinstance(state[5], int):
            self.dtype = np.dtype((np.void, state[5])) if state[5] > 0 else None


class _Walker(pickle._Unpickler):
    """The unpickler in Python, whose steps can be watched."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(
        self, handle: io.BytesIO, data: bytes, names: set[str], calls: set[str], parts: list[bytes]
    ) -> None:
        super().__init__(handle)
        self.file_handle = handle
        self._data, self._names, self._calls, self._parts = data, names, calls, parts
        self._from = handle.tell()
        self._own: list[bytes] = []

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        self._names.add(full)
        stand_in = {ARRAYS: _Arrays, "numpy.dtype": _Dtype}.get(full, _Inert)
        return type(stand_in.__name__, (stand_in,), {"full": full})

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside of it")

    def load(self) -> Any:
        found = super().load()
        self._cut(self.file_handle.tell())
        self._parts.append(_for_fickling(b"".join(self._own)))
        return found

    def load_reduce(self) -> None:
        called, arguments = self.stack[-2:]  # type: ignore[attr-defined]  # typeshed leaves out the steps
        self._call(called)
        if getattr(called, "full", "") == _BARE and len(arguments) > 1:
            self._call(arguments[1])  # whose __init__ it calls
        super().load_reduce()  # type: ignore[misc]

    dispatch[pickle.REDUCE[0]] = load_reduce

    def _instantiate(self, called: Any, arguments: Any) -> None:
        if arguments:
            self._call(called)
        super()._instantiate(called, arguments)  # type: ignore[misc]

    def _call(self, called: Any) -> None:
        self._calls.add(getattr(called, "full", ""))

    def load_build(self) -> None:
        super().load_build()  # type: ignore[misc]
        made = self.stack[-1]  # type: ignore[attr-defined]
        if isinstance(made, _Arrays):
            self.stack[-1] = _Inert()  # type: ignore[attr-defined]
            self._pass(made.state)

    dispatch[pickle.BUILD[0]] = load_build

    def _pass(self, state: dict[str, Any]) -> None:
        """Step over the bytes of an array; one of objects is a pickle of its own."""
        self._cut(self.file_handle.tell())
        dtype = state["dtype"].dtype
        if dtype is None or dtype.hasobject:
            _Walker(self.file_handle, self._data, self._names, self._calls, self._parts).load()
        else:
            if state.get("numpy_array_alignment_bytes") is not None:
                self.file_handle.seek(self.file_handle.read(1)[0], io.SEEK_CUR)
            count = 1
            for length in state["shape"]:
                count *= int(length)
            if not 0 <= count <= _LARGEST:
                raise pickle.UnpicklingError(f"an array has the shape {state['shape']}")
            self.file_handle.seek(count * dtype.itemsize, io.SEEK_CUR)
        self._from = self.file_handle.tell()

    def _cut(self, end: int) -> None:
        self._own.append(self._data[self._from : end])


def _for_fickling(part: bytes) -> bytes:
    """Instructions with byte arrays, which fickling does not know, as bytes: the two are laid out alike."""
    found = bytearray(part)
    for step, _, at in pickletools.genops(part):
        if step.code == "\x96" and at is not None:
            found[at] = pickle.BINBYTES8[0]
    return bytes(found)
