"""A plain Python class as a model: ``predict(self, X)``, and what it takes from its ``signature`` or its hints.

``X`` is a Polars frame of the columns that the class names, or a pandas one where its hint says so; of a class that
names none it is an array of shape ``(rows, n_features_in_)``. Perhaps it has ``predict_proba`` and ``classes_`` too,
and an ``example`` request for where zeros and empty texts are none.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from homeostat.domain.contracts import Column, Contract, attribute, columns_of
from homeostat.domain.errors import DeclarationError, NotFound
from homeostat.engine.registry.pyfunc import framed

_NAMED: Final = re.compile(r"(?P<place>[^:]+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")
_PANDAS: Final = ("pd.", "pandas.")


class ClassModel:
    """An object of such a class.

    Args:
        text: Where the class is: ``module:Class`` or ``file.py:Class``.
        folder: From where modules and files are found.

    Raises:
        NotFound: there is no such module, file or class.
        DeclarationError: it cannot be imported or made, or is no model.
    """

    def __init__(self, text: str, folder: Path) -> None:
        kind = _class(text, folder)
        try:
            made = kind()
        except Exception as error:
            raise DeclarationError(
                f"{kind.__name__}() raised {type(error).__name__}: {error}",
                remedy="It is made without arguments",
                declaration=text,
            ) from error
        if not callable(getattr(made, "predict", None)):
            raise DeclarationError("it has no predict", remedy="Define predict(self, X)", declaration=text)
        hint = _hint(kind, text)
        self.columns = _columns(getattr(made, "signature", None), hint, text)
        pandas = str(getattr(hint, "__module__", "")).startswith("pandas")
        pandas = pandas or (isinstance(hint, str) and hint.startswith(_PANDAS))
        self.example = dict(getattr(made, "example", {}))
        self.predict = _asked(made.predict, pandas)
        if callable(getattr(made, "predict_proba", None)):
            self.predict_proba = _asked(made.predict_proba, pandas)
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(made, name):
                setattr(self, name, getattr(made, name))
        if self.columns:
            self.feature_names_in_ = [column.name for column in self.columns]


def is_class(text: str) -> bool:
    """Whether a text names a class: ``module:Class`` or ``file.py:Class``."""
    return _NAMED.fullmatch(text) is not None


def name_of(text: str) -> str:
    """The name of the class that a text names."""
    return text.rpartition(":")[2]


def _asked(method: Callable[[Any], Any], pandas: bool) -> Callable[[Any], Any]:
    return (lambda X: method(framed(X))) if pandas else method


def _class(text: str, folder: Path) -> type:
    found = _NAMED.fullmatch(text)
    assert found is not None
    place, name = found["place"], found["name"]
    path = folder / place
    if place.endswith(".py") and not path.is_file():
        raise NotFound(f"there is no file {path}", remedy="Name a file, as in churn.py:Churn")
    own = str(path.parent.resolve() if place.endswith(".py") else folder.resolve())
    if own not in sys.path:
        sys.path.insert(0, own)
    try:
        module = _of_file(path) if place.endswith(".py") else importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place.partition(".")[0]:
            raise DeclarationError(f"{error}", remedy="Install it", declaration=text) from error
        raise NotFound(f"there is no module {place} in {folder}", remedy="Run this beside it") from error
    except Exception as error:
        raise DeclarationError(
            f"it cannot be imported: {type(error).__name__}: {error}", declaration=text
        ) from error
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        raise NotFound(f"{place} has no class {name}", remedy="Name one at the top of it")
    return kind


def _of_file(path: Path) -> Any:
    name = f"homeostat_served_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def _hint(kind: type, text: str) -> Any:
    """What ``predict`` says that it takes: a type, the text of one that is not there at run time, or nothing."""
    taken = list(inspect.signature(kind.predict).parameters.values())[1:]  # type: ignore[attr-defined]  # it has one
    if not taken:
        raise DeclarationError(
            "its predict takes nothing", remedy="Define predict(self, X)", declaration=text
        )
    hint = taken[0].annotation
    if isinstance(hint, str):
        known = vars(sys.modules[kind.__module__])
        return known.get(hint, hint)
    return None if hint is inspect.Parameter.empty else hint


def _columns(signature: Any, hint: Any, text: str) -> tuple[Column, ...]:
    for said in (signature, hint):
        if isinstance(said, type) and issubclass(said, Contract):
            return columns_of(said)
    if signature is None:
        return ()
    if not isinstance(signature, Mapping) or not signature:
        raise DeclarationError(
            f"its signature is {signature!r}",
            remedy='Give a class of hs.Contract, or the types by name, as {"age": float, "plan": str}',
            declaration=text,
        )
    try:
        fields = [(attribute(name), kind) for name, kind in signature.items()]
        names = {attribute(name): name for name in signature}
        made: Any = msgspec.defstruct("signature", fields, bases=(Contract,), rename=names)
        return columns_of(made)
    except (TypeError, AttributeError) as error:
        raise DeclarationError(f"its signature does not hold: {error}", declaration=text) from error
