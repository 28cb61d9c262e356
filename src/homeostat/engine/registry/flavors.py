"""MLflow's model directories: read as packages, and written from them.

A directory that was imported stays as it is, file for file. Of what its ``MLmodel`` says, only where the model is and
in which format counts here; the types that it calls trusted do not, nor the code that it brings.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.domain.contracts import Column, ColumnType
from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import Unsafe
from homeostat.engine.registry import pyfunc
from homeostat.engine.registry.formats import graphs, lgbm, lgbm_skops, pickles, scikit, xgb

if TYPE_CHECKING:
    from collections.abc import Callable

MLMODEL: Final = "MLmodel"
OWN: Final = "homeostat/"
LARGEST: Final = 4 << 20
_VALUES: Final = 200_000
_DEEPEST: Final = 100
_STEPS: Final = {
    "SequenceStartEvent": 1,
    "MappingStartEvent": 1,
    "SequenceEndEvent": -1,
    "MappingEndEvent": -1,
}
_SKOPS: Final = "skops"
_BOOSTER: Final = "lightgbm.basic.Booster"
_PICKLES: Final = frozenset({"pickle", "cloudpickle"})
_KEPT: Final = {"sklearn": "pickled_model", "xgboost": "data", "lightgbm": "data", "onnx": "data"}
"""What a flavor calls the path of its model's file."""
_RUNS: Final = "loading it may run code, so it is refused unless homeostat serve --allow-pickle allows it"
_SIDES: Final = {"inputs": "features", "outputs": "answers"}
_TYPES: Final[dict[str, ColumnType]] = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "float",
    "double": "float",
    "string": "string",
    "datetime": "datetime",
}


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What an ``MLmodel`` file says that matters here."""

    flavors: dict[str, dict[str, Any]]
    columns: tuple[Column, ...] = ()
    answers: tuple[Column, ...] = ()
    shapes: dict[str, list[int]] = {}
    example: str = ""


def read(data: bytes) -> Any:
    """What an ``MLmodel`` file says, whoever wrote it.

    Raises:
        Unsafe: it is no YAML, or more than a description: too large, or unfolding to too much or to itself.
    """
    import yaml

    # The parser in C does in a moment what Python takes a minute for.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if len(data) > LARGEST or not _flat(yaml.parse(data, Loader=loader)):
            raise Unsafe(f"{MLMODEL} is no description of a model", remedy="Save the model again")
        said = yaml.load(data, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _none(error) from error
    left, seen = [said], 0
    while left:
        one = left.pop()
        seen += 1
        if seen > _VALUES:  # an anchor is one value however often it is named, until somebody writes it down
            raise Unsafe(f"{MLMODEL} unfolds to more than {_VALUES:,} values", remedy="Save the model again")
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return said


def describe(files: Mapping[str, bytes]) -> Described:
    """Read the ``MLmodel`` file.

    Raises:
        Unsafe: it is no YAML, or says nothing of a model.
    """
    said = read(files[MLMODEL])
    try:
        flavors = {str(name): dict(kept) for name, kept in said["flavors"].items()}
        sides = {side: _side(said, side) for side in _SIDES}
        example = (said.get("saved_input_example_info") or {}).get("artifact_path", "")
        return Described(
            flavors=flavors,
            columns=_columns(sides["inputs"]),
            answers=_columns(sides["outputs"]),
            shapes=dict(_shapes(sides)),
            example=str(example),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _none(error) from error


def restore(files: Mapping[str, bytes], trusted: Sequence[str], *, code: bool = False) -> Any:
    """The classifier in a directory.

    Args:
        files: Its files.
        trusted: What is allowed beyond the known-safe.
        code: Whether code that it brings may run, where it has no flavor that loads without.

    Raises:
        Unsafe: it has no flavor that loads without its own code and nobody allowed each of its files; or it holds
            what nobody allowed.
        NotInstalled: the library of its format is missing.
    """
    flavors = describe(files).flavors
    for name, read in _READERS.items():
        if name in flavors:
            return read(files, flavors[name], trusted)
    if pyfunc.FLAVOR in flavors and (code or all(digest_bytes(data) in trusted for data in files.values())):
        return pyfunc.PyfuncModel(files)
    raise Unsafe(
        f"the MLflow model has the flavors {', '.join(flavors) or 'none'}, none of which loads without its own code: "
        "whoever made it decides what runs here",
        remedy=f"Save it as one of {', '.join(_READERS)}"
        + (
            "; or, if you know where it comes from, pip install 'homeostat[mlflow]' and serve it with --allow-pickle"
            if pyfunc.FLAVOR in flavors
            else ""
        ),
    )


def kept_as(described: Described) -> str:
    """What ``restore`` would read, in words: the flavor and the form of its file, and what it takes to be allowed."""
    for name in _READERS:
        if name in described.flavors:
            form = _form(name, described.flavors[name])
            if form in _PICKLES:
                return f"{name}, a {form}: {_RUNS}"
            return f"{name}, as {form}" if form else name
    if pyfunc.FLAVOR in described.flavors:
        return f"{pyfunc.FLAVOR}, with code of its own: {_RUNS}"
    return f"{', '.join(described.flavors) or 'no flavor'}: nothing that loads here"


def example(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The first row of the input example; empty where there is none."""
    path = describe(files).example
    try:
        said = msgspec.json.decode(files.get(path, b"{}"))
        return dict(zip(said["columns"], said["data"][0], strict=True))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, IndexError, RecursionError):
        return {}  # of another form: arrays, texts, conversations


def plain(data: bytes) -> dict[str, Any]:
    """An example that is one JSON object; empty where it is something else."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _flat(events: Iterable[Any]) -> bool:
    """Whether the parser's events are without merge keys, which unfold as the file is read, and not too deep."""
    depth = 0
    for event in events:
        depth += _STEPS.get(type(event).__name__, 0)
        if depth > _DEEPEST or getattr(event, "value", None) == "<<":
            return False
    return True


def _none(error: Exception) -> Unsafe:
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"  # the parser's own have several lines
    return Unsafe(f"{MLMODEL} does not describe a model: {what}", remedy="Save the model again")


def check_whole(described: Described, files: Container[str]) -> None:
    """Raise unless the file that each flavor known here keeps its model in is there.

    Raises:
        Unsafe: one is not.
    """
    for flavor, key in _KEPT.items():
        if flavor in described.flavors:
            _there(files, described.flavors[flavor].get(key))


def _there(files: Container[str], path: Any) -> None:
    if not isinstance(path, str) or path not in files:
        raise Unsafe(
            f"{MLMODEL} names {path}, which is not in its directory",
            remedy="Save or fetch the model again, whole",
        )


def _file(files: Mapping[str, bytes], path: Any) -> bytes:
    _there(files, path)
    return files[path]


def _form(flavor: str, said: Mapping[str, Any]) -> str:
    """In which form a flavor's file is, where there are several; as MLflow takes it where nothing is said."""
    if flavor == "sklearn":
        return str(said.get("serialization_format", "pickle"))
    if flavor == "lightgbm" and said.get("model_class", _BOOSTER) != _BOOSTER:
        return str(said.get("serialization_format", "cloudpickle"))
    return ""


def _serialized(files: Mapping[str, bytes], form: str, path: Any, trusted: Sequence[str]) -> Any:
    data = _file(files, path)
    if form == _SKOPS:
        return scikit.restore(data, trusted)
    if form in _PICKLES:
        return pickles.restore(data, trusted, str(path))
    raise Unsafe(f"{path} is in an unknown format: {form}", remedy="Save it as skops")


def _sklearn(files: Mapping[str, bytes], said: dict[str, Any], trusted: Sequence[str]) -> Any:
    return _serialized(files, _form("sklearn", said), said.get(_KEPT["sklearn"]), trusted)


def _xgboost(files: Mapping[str, bytes], said: dict[str, Any], trusted: Sequence[str]) -> Any:
    library, _, kind = str(said.get("model_class", "xgboost.core.Booster")).rpartition(".")
    if f"{library}.{kind}" not in xgb.KINDS:
        raise Unsafe(
            f"{kind} of {library} is no model of XGBoost that is known here", remedy="Save the booster"
        )
    return xgb.restore(_file(files, said.get(_KEPT["xgboost"])), kind)


def _lightgbm(files: Mapping[str, bytes], said: dict[str, Any], trusted: Sequence[str]) -> Any:
    path, form = said.get(_KEPT["lightgbm"]), _form("lightgbm", said)
    if not form:
        return lgbm.restore(_file(files, path))
    if form == _SKOPS and said["model_class"] in lgbm_skops.ESTIMATORS:
        return lgbm_skops.restore(_file(files, path), str(path))
    return _serialized(files, form, path, trusted)


def _onnx(files: Mapping[str, bytes], said: dict[str, Any], trusted: Sequence[str]) -> Any:
    path = str(said.get(_KEPT["onnx"]))
    data = _file(files, path)
    folder = path[: path.rfind("/") + 1]
    beside = {name.removeprefix(folder): files[name] for name in files if name.startswith(folder)}
    return graphs.OnnxModel(graphs.gathered(data, beside))


_READERS: Final[dict[str, Callable[[Mapping[str, bytes], dict[str, Any], Sequence[str]], Any]]] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
}


def _side(said: dict[str, Any], side: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode((said.get("signature") or {}).get(side) or b"[]")
    return found


def _columns(given: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    """The columns of a kind that there is here too; arrays, objects and tensors are none."""
    return tuple(_column(one) for one in given if "name" in one and one.get("type") in _TYPES)


def _shapes(sides: Mapping[str, Sequence[dict[str, Any]]]) -> Iterator[tuple[str, list[int]]]:
    """The shape of each tensor by its name; of columns, and of a tensor without a name, by what they are."""
    for side, name in _SIDES.items():
        tensors = [one for one in sides[side] if one.get("type") == "tensor"]
        for one in tensors:
            yield one.get("name") or name, [int(size) for size in one["tensor-spec"]["shape"]]
        if sides[side] and not tensors:
            yield name, [-1, len(sides[side])]


def _column(said: dict[str, Any]) -> Column:
    kind = said["type"]
    # A float has NaN, so a missing value is one of its own.
    return Column(
        name=str(said["name"]),
        type=_TYPES[kind],
        nullable=kind in ("float", "double") or not said.get("required", True),
    )
