"""MLflow's Python functions (``pyfunc``): whatever a model directory brings, loaded and asked by MLflow itself.

To load one is to run its code, so this module does so only for its caller's word; ``flavors`` asks for it. The files
are written to a folder of the model's own, which lasts as long as it, since such a model may read them at any time.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import polars as pl

from homeostat.domain.errors import BadScores, Unsafe
from homeostat.engine.registry.formats.base import Array, need

FLAVOR: Final = "python_function"
_PARAMETERS: Final[Mapping[str, Any]] = {
    "boolean": bool,
    "integer": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "long": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "float": float,
    "double": float,
    "string": str,
}
_NARROW: Final[Mapping[str, Any]] = {"float": np.float32, "integer": np.int32}


class PyfuncModel:
    """A model directory's Python function.

    It is asked with what its signature says: a pandas frame of its columns, or one tensor.

    Args:
        files: The directory's files by path.

    Raises:
        NotInstalled: MLflow is not there.
        Unsafe: MLflow cannot load it.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        os.environ.setdefault(
            "MLFLOW_DISABLE_TELEMETRY", "true"
        )  # a model server tells nobody that it serves
        library = need("mlflow.pyfunc", "mlflow", "an MLflow model of the flavor python_function")
        self._folder = TemporaryDirectory(prefix="homeostat-pyfunc-")
        _written(files, Path(self._folder.name))
        try:
            self.model = library.load_model(self._folder.name)
        except Exception as error:
            raise Unsafe(
                f"MLflow cannot load the model: {type(error).__name__}: {error}",
                remedy="Install what its requirements.txt names into this environment",
            ) from error
        schema = self.model.metadata.get_input_schema()
        tensors = schema is not None and schema.is_tensor_spec()
        self._tensor = schema.inputs[0] if tensors and len(schema.inputs) == 1 else None
        self._types: dict[str, str] = {}
        if self._tensor is not None:
            sizes = self._tensor.shape[1:]
            self.n_features_in_ = prod(sizes) if sizes and all(size > 0 for size in sizes) else 0
        elif schema is not None and schema.has_input_names() and not tensors:
            self._types = {one.name: one.type.name for one in schema.inputs}
            self.feature_names_in_ = list(self._types)
        elif schema is not None and not tensors:
            self.n_features_in_ = len(schema.inputs)
        parameters = self.model.metadata.get_params_schema()
        self.parameters: dict[str, Any] = {
            one.name: list[kind] if one.shape else kind  # type: ignore[valid-type]  # a type found at run time
            for one in (parameters.params if parameters is not None else ())
            if (kind := _PARAMETERS.get(getattr(one.dtype, "name", ""))) is not None
        }
        """What may be given beside the rows, and of which type."""
        self._given: dict[str, Any] | None = None

    def given(self, values: Mapping[str, Any]) -> PyfuncModel:
        """The same asked with parameters; those that are not given are as the model's signature says."""
        other = copy.copy(self)
        other._given = dict(values)
        return other

    def predict(self, X: Any) -> Any:
        """What the function gives for a table: an array, a list, a pandas frame or a mapping of arrays.

        Raises:
            BadScores: MLflow refuses the table.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.model.predict(self._fitting(X), params=self._given)
        except MlflowException as error:
            raise BadScores(f"MLflow refuses the request: {error.message}") from error

    def _fitting(self, X: Any) -> Any:
        if self._tensor is not None:
            tensor = np.asarray(X).astype(self._tensor.type).reshape(len(X), *self._tensor.shape[1:])
            return {self._tensor.name: tensor} if self._tensor.name else tensor
        return framed(X, self._types)


def framed(X: Any, types: Mapping[str, str] | None = None) -> Any:
    """A table as a pandas frame; ``float`` and ``integer`` in ``types`` are MLflow's 32 bits."""
    import pandas as pd

    if not isinstance(X, pl.DataFrame):
        return pd.DataFrame(X)
    return pd.DataFrame({name: _values(X[name], (types or {}).get(name, "")) for name in X.columns})


def _values(column: pl.Series, kind: str) -> Array | list[Any]:
    if column.dtype == pl.String:
        return column.to_list()
    if isinstance(column.dtype, pl.Datetime):
        column = column.dt.replace_time_zone(None)
    values = column.to_numpy()
    return values.astype(_NARROW[kind]) if kind in _NARROW and not column.has_nulls() else values


def _written(files: Mapping[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise Unsafe(f"{name!r} lies outside the model's folder", remedy="Do not serve it")
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
