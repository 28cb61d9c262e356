"""Pickled models: ``model.pkl``. Refused unless the project allows it, since to read a pickle is to run it.

The project allows them by name, in ``trusted``: the word ``pickle`` together with every function and class that the
file names beyond the known-safe, or calls with arguments of its own (a class of SciPy that is made with the name of a
file opens it); or the digest of one file that somebody has looked at. What a file names is found by
walking it with everything that it would call replaced by inert objects (``scans.py``), and fickling judges it as well;
then it is read by an unpickler that knows no other names. joblib's files, in which arrays stand between the pickle's
instructions, are walked and read in the same way.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import Unsafe
from homeostat.engine.registry.formats.base import Files, allow, damaged
from homeostat.engine.registry.formats.scans import ARRAYS, Scan, scan, verdict
from homeostat.engine.registry.safety import check_trees, is_known, makes_nothing_else

FILE: Final = "model.pkl"
ALLOWED: Final = "pickle"
_MADE: Final = "the result of a call"

_RANDOM: Final = "numpy.random"
# What makes arrays, numbers, containers and generators and can do nothing else, whatever it is called with.
_MAKERS: Final = frozenset(
    {
        *(
            f"builtins.{name}"
            for name in ("bytearray", "bytes", "complex", "dict", "float", "frozenset", "int")
        ),
        *(f"builtins.{name}" for name in ("bool", "list", "object", "range", "set", "slice", "str", "tuple")),
        *(f"collections.{name}" for name in ("OrderedDict", "defaultdict", "deque")),
        "_codecs.encode",
        "copyreg._reconstructor",
        *(
            f"numpy.{core}.multiarray.{name}"
            for core in ("core", "_core")
            for name in ("_reconstruct", "scalar")
        ),
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
        "numpy.ndarray",
        *(f"numpy.{kind}{size}" for kind in ("int", "uint", "float") for size in (16, 32, 64)),
        "numpy.bool",
        *(f"{_RANDOM}._pickle.__{name}_ctor" for name in ("randomstate", "bit_generator", "generator")),
        f"{_RANDOM}._mt19937.MT19937",
        f"{_RANDOM}._pcg64.PCG64",
        f"{_RANDOM}.bit_generator.SeedSequence",
        f"{_RANDOM}.bit_generator.__pyx_unpickle_SeedSequence",
        ARRAYS,
    }
)


def takes(model: Any) -> bool:
    """Nothing by itself: a pickle is for what no other format holds, where the project allows it."""
    return False


def classifier(model: Any) -> Any:
    """Itself."""
    return model


def dump(model: Any, trusted: Sequence[str]) -> Files:
    """The model as a pickle of the standard library.

    Raises:
        Unsafe: it cannot be pickled, or names what nobody allowed.
    """
    try:
        data = pickle.dumps(model, protocol=4)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise Unsafe(f"the fitted {type(model).__name__} cannot be pickled: {error}") from error
    check(data, trusted)
    return {FILE: data}


def load(files: Mapping[str, bytes], trusted: Sequence[str]) -> Any:
    """The model.

    Raises:
        Unsafe: nobody allowed it, or the scan found what no training writes.
        NotInstalled: fickling is missing.
    """
    return restore(files[FILE], trusted)


def restore(data: bytes, trusted: Sequence[str], file: str = FILE) -> Any:
    """The model in a pickle; see ``load``."""
    found = check(data, trusted, file)
    known = None if digest_bytes(data) in trusted else _allowing(trusted)
    try:
        model = _read(data, known, joblib=ARRAYS in found.names)
    except Unsafe:
        raise
    except Exception as error:
        raise damaged(file, f"cannot be read: {type(error).__name__}: {error}") from error
    check_trees(model)
    return model


def check(data: bytes, trusted: Sequence[str], file: str = FILE) -> Scan:
    """What a pickle names, if the project allows all of it. Nothing of it runs.

    Raises:
        Unsafe: it does not, or the file is torn or made to harm.
        NotInstalled: the project allows pickles, and fickling is missing.
    """
    digest = digest_bytes(data)
    found = scan(data, file)
    allowed, callable_ = _allowing(trusted), _calling(trusted)
    wrong = sorted(
        {name for name in found.names if not allowed(name)}
        | {name or _MADE for name in found.calls if not callable_(name)}
    )
    # What it makes and then calls has no name to allow: such a file is allowed as a whole.
    names = [digest] if _MADE in wrong else [ALLOWED, *wrong]
    if digest not in trusted and ALLOWED not in trusted:
        raise Unsafe(
            f"{file} is a pickle, which runs code when it is read, and nobody allowed it; {_told(found.names)}",
            remedy="Keep the model in another format; or, if you know where it comes from, allow it: "
            f"hs.Model(…, trusted={[*trusted, *names]!r})"
            + ("" if names == [digest] else f", or this one file: trusted={[digest]!r}"),
            names=names,
        )
    if digest not in trusted and wrong:
        raise Unsafe(
            f"{file} is a pickle that names or calls {', '.join(wrong)}, which nobody allowed",
            remedy=allow([name for name in names if name != ALLOWED], trusted),
            names=names,
        )
    told = verdict(found, file)
    if told and digest not in trusted:
        raise Unsafe(
            f"{file} was made to harm, or altered: {told}", remedy="Do not use it; ask where it comes from"
        )
    return found


def _told(names: frozenset[str]) -> str:
    return f"it names {', '.join(sorted(names))}" if names else "it names nothing"


def _allowing(trusted: Sequence[str]) -> Callable[[str], bool]:
    return lambda name: name in trusted or name in _MAKERS or is_known(name)


def _calling(trusted: Sequence[str]) -> Callable[[str], bool]:
    """What may be called with arguments out of the file: of a known class only bare objects may be made."""
    return lambda name: name in trusted or name in _MAKERS or makes_nothing_else(name)


def _read(data: bytes, known: Callable[[str], bool] | None, *, joblib: bool) -> Any:
    """Unpickle, calling nothing whose name is not known (None: somebody allowed the whole file)."""
    if known is None:
        if not joblib:
            return pickle.loads(data)
        import joblib as library

        return library.load(io.BytesIO(data))
    unpickler: type[Any] = _joblib_unpickler() if joblib else _Unpickler
    return unpickler(io.BytesIO(data), known).load()


def _find(known: Callable[[str], bool], module: str, name: str, found: Callable[[str, str], Any]) -> Any:
    if not known(f"{module}.{name}"):
        raise Unsafe(f"{FILE} names {module}.{name}, which nobody allowed")
    return found(module, name)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, known: Callable[[str], bool]) -> None:
        super().__init__(file)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        return _find(self._known, module, name, super().find_class)


def _joblib_unpickler() -> type[Any]:
    from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

    class Arrays(NumpyArrayWrapper):  # type: ignore[misc]  # joblib has no types
        """An array of objects is a pickle within the pickle: it is read as the outer one is."""

        def read_array(self, unpickler: Any, *rest: Any) -> Any:
            if self.dtype.hasobject:
                return _Unpickler(unpickler.file_handle, unpickler.known).load()
            return super().read_array(unpickler, *rest)

    class Unpickler(NumpyUnpickler):  # type: ignore[misc]  # joblib has no types
        def __init__(self, file: Any, known: Callable[[str], bool]) -> None:
            super().__init__("", file, True)
            self.known = known

        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" == ARRAYS:
                return Arrays
            return _find(self.known, module, name, super().find_class)

    return Unpickler
