"""MLflow's model directories: read as packages, and written from them.

A directory that was imported stays as it is, file for file. Of what its ``MLmodel`` says, only where the model is and
in which format counts here; the types that it calls trusted do not, nor the code that it brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.domain.contracts import Column, ColumnType
from homeostat.domain.errors import Unsafe
from homeostat.engine.registry.formats import graphs, lgbm, pickles, scikit, xgb

if TYPE_CHECKING:
    from collections.abc import Callable

MLMODEL: Final = "MLmodel"
OWN: Final = "homeostat/"
_SKOPS: Final = "skops"
_PICKLES: Final = frozenset({"pickle", "cloudpickle"})
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
    example: str = ""


def describe(files: Mapping[str, bytes]) -> Described:
    """Read the ``MLmodel`` file.

    Raises:
        Unsafe: it is no YAML, or says nothing of a model.
    """
    import yaml

    try:
        said = yaml.safe_load(files[MLMODEL])
        flavors = {str(name): dict(kept) for name, kept in said["flavors"].items()}
        inputs = msgspec.json.decode((said.get("signature") or {}).get("inputs") or b"[]")
        columns = tuple(_column(one) for one in inputs if "name" in one)
        example = (said.get("saved_input_example_info") or {}).get("artifact_path", "")
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unsafe(
            f"{MLMODEL} does not describe a model: {type(error).__name__}: {error}",
            remedy="Save the model again",
        ) from error
    return Described(flavors=flavors, columns=columns, example=str(example))


def restore(files: Mapping[str, bytes], trusted: Sequence[str]) -> Any:
    """The classifier in a directory.

    Raises:
        Unsafe: it has no flavor that loads without its own code, or holds what nobody allowed.
        NotInstalled: the library of its format is missing.
    """
    flavors = describe(files).flavors
    for name, read in _READERS.items():
        if name in flavors:
            return read(files, flavors[name], trusted)
    raise Unsafe(
        f"the MLflow model has the flavors {', '.join(flavors) or 'none'}, none of which loads without its own code",
        remedy=f"Save it as one of {', '.join(_READERS)}",
    )


def example(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The first row of the input example; empty where there is none."""
    path = describe(files).example
    try:
        said = msgspec.json.decode(files.get(path, b"{}"))
        return dict(zip(said["columns"], said["data"][0], strict=True))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, IndexError):
        return {}  # of another form: arrays, texts, conversations


def _file(files: Mapping[str, bytes], path: Any) -> bytes:
    if path not in files:
        raise Unsafe(f"{MLMODEL} names {path}, which is not there", remedy="The directory is not whole")
    return files[path]


def _sklearn(files: Mapping[str, bytes], said: dict[str, Any], trusted: Sequence[str]) -> Any:
    return _serialized(files, said, said.get("pickled_model"), trusted)


def _serialized(files: Mapping[str, bytes], said: dict[str, Any], path: Any, trusted: Sequence[str]) -> Any:
    data, form = _file(files, path), said.get("serialization_format", "pickle")
    if form == _SKOPS:
        return scikit.restore(data, trusted)
    if form in _PICKLES:
        return pickles.restore(data, trusted, str(path))
    raise Unsafe(f"{path} is in an unknown format: {form}", remedy="Save it as skops")


def _xgboost(files: Mapping[str, bytes], said: dict[str, Any], trusted: Sequence[str]) -> Any:
    library, _, kind = str(said.get("model_class", "xgboost.core.Booster")).rpartition(".")
    if f"{library}.{kind}" not in xgb.KINDS:
        raise Unsafe(f"{kind} of {library} is no classifier of XGBoost", remedy="Save the booster")
    return xgb.restore(_file(files, said.get("data")), kind)


def _lightgbm(files: Mapping[str, bytes], said: dict[str, Any], trusted: Sequence[str]) -> Any:
    if said.get("model_class", "lightgbm.basic.Booster") == "lightgbm.basic.Booster":
        return lgbm.restore(_file(files, said.get("data")))
    return _serialized(files, {"serialization_format": "cloudpickle"} | said, said.get("data"), trusted)


def _onnx(files: Mapping[str, bytes], said: dict[str, Any], trusted: Sequence[str]) -> Any:
    return graphs.OnnxModel(_file(files, said.get("data")))


_READERS: Final[dict[str, Callable[[Mapping[str, bytes], dict[str, Any], Sequence[str]], Any]]] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
}


def _column(said: dict[str, Any]) -> Column:
    kind = said.get("type", "")
    if kind not in _TYPES:
        raise TypeError(f"column {said['name']!r} is a {kind}")
    # A float has NaN, so a missing value is one of its own.
    return Column(
        name=str(said["name"]),
        type=_TYPES[kind],
        nullable=kind in ("float", "double") or not said.get("required", True),
    )
