"""What every format offers, and what they share."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.declarations.base import PROJECT_MODULE
from homeostat.domain.errors import NotInstalled, Unsafe

Array = npt.NDArray[Any]
Files = dict[str, bytes]
T = TypeVar("T")

DETAILS: Final = "estimator.json"
"""What the file of a model does not say and predicting needs: JSON, of a shape that each format declares."""

DAMAGED: Final = "The file is damaged or made to harm: train the model again"


class Format(Protocol):
    """A way to keep models. ``trusted`` is what the project allows beyond the known-safe."""

    @property
    def FILE(self) -> str:
        """The name of the model's file in a package."""

    def takes(self, model: Any) -> bool:
        """Whether this format keeps ``model``, by its type alone."""

    def classifier(self, model: Any) -> Any:
        """``model`` as something with ``predict_proba`` of a Polars frame."""

    def dump(self, model: Any, trusted: Sequence[str]) -> Files:
        """The files that hold ``model``; they can be loaded again.

        Raises:
            Unsafe: it holds what loading would refuse.
        """

    def load(self, files: Mapping[str, bytes], trusted: Sequence[str]) -> Any:
        """The classifier that ``files`` hold.

        Raises:
            Unsafe: they are damaged, or hold what nobody allowed.
        """


def need(module: str, extra: str, what: str) -> Any:
    """Import a library of an optional extra.

    Raises:
        NotInstalled: it is not there.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotInstalled(
            f"{what} needs {module.partition('.')[0]}, which cannot be imported: {error}",
            remedy=f"Run: pip install 'homeostat[{extra}]'",
        ) from error


def allow(names: Sequence[str], trusted: Sequence[str]) -> str:
    """How to allow what a model file holds beside ``trusted``: by name; a class of the project's own file after a move.

    That file is loaded under a name that changes with its content, so its classes have none that lasts.
    """
    own = [name for name in names if name.startswith(PROJECT_MODULE)]
    if own:
        moved = own[0].rpartition(".")[2]
        return (
            f"Define {moved} in a module beside the project's file, as in parts.py, and import it from there; "
            f"then allow it: hs.Model(…, trusted={[*trusted, f'parts.{moved}']!r})"
        )
    return f"If you know the code, allow it: hs.Model(…, trusted={[*trusted, *names]!r})"


def type_name(value: Any) -> str:
    """The full name of a value's type."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def details(files: Mapping[str, bytes], kind: type[T]) -> T:
    """What ``estimator.json`` says.

    Raises:
        Unsafe: it does not fit; or it is missing.
    """
    if DETAILS not in files:
        raise Unsafe(
            f"there is no {DETAILS} beside the model, which says what kind of model it is",
            remedy="Give all files of its package, or a class of your own that reads it",
        )
    try:
        return msgspec.json.decode(files[DETAILS], type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unsafe(f"{DETAILS} does not fit its model: {error}", remedy=DAMAGED) from error


def damaged(file: str, what: object) -> Unsafe:
    """The error for a model file that holds what no training writes."""
    return Unsafe(f"{file} {what}", remedy=DAMAGED)


def numbers(X: Any) -> Any:
    """A frame whose columns are all numbers as an array, missing ones as NaN; any other as it is."""
    if not isinstance(X, pl.DataFrame):
        return X
    if not all(dtype.is_numeric() or dtype in (pl.Boolean, pl.Null) for dtype in X.dtypes):
        return X
    return X.select(pl.all().cast(pl.Float64)).to_numpy() if X.width else np.empty((X.height, 0))
