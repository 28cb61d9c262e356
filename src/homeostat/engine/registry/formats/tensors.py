"""Tensors in safetensors: ``model.safetensors``, and in ``estimator.json`` the class that they are the state of.

For models whose state is a dictionary of arrays, as PyTorch's are: an object with ``state_dict()``,
``load_state_dict(…)`` and ``predict_proba(X)``. The class comes from the project, which names it in ``trusted``; the
package only says which of those it was. It is made with what its ``get_params()`` gave, or with nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from homeostat.domain.digests import canonical
from homeostat.domain.errors import Unsafe
from homeostat.engine.registry.formats.base import DETAILS, Files, allow, damaged, details, need, type_name

FILE: Final = "model.safetensors"
_STATE: Final = ("state_dict", "load_state_dict", "predict_proba")


class Details(msgspec.Struct, frozen=True, tag="tensors", tag_field="format"):
    """The class of a model, what it is made with, and whose tensors it has."""

    kind: str
    parameters: dict[str, Any] = {}
    library: Literal["numpy", "torch"] = "numpy"


def takes(model: Any) -> bool:
    """Whatever gives and takes a dictionary of tensors."""
    return all(callable(getattr(model, name, None)) for name in _STATE)


def classifier(model: Any) -> Any:
    """Itself."""
    return model


def dump(model: Any, trusted: Sequence[str]) -> Files:
    """The tensors and the class.

    Raises:
        Unsafe: nobody allowed the class, or its state is not of tensors alone.
    """
    kind = type_name(model)
    _allowed(kind, trusted)
    state = dict(model.state_dict())
    library: Literal["numpy", "torch"] = (
        "torch" if any(type_name(one).startswith("torch.") for one in state.values()) else "numpy"
    )
    codec = need(f"safetensors.{library}", "safetensors", FILE)
    if library == "numpy":
        state = {name: np.ascontiguousarray(one) for name, one in state.items()}
    fits = "detach" if library == "torch" else "dtype"
    wrong = sorted(n for n, one in state.items() if not hasattr(one, fits) or one.dtype == object)
    if wrong:
        raise Unsafe(f"the state of {kind} has what is no tensor: {', '.join(wrong)}", remedy="Leave it out")
    if library == "torch":
        # Each tensor by itself, where PyTorch has them share memory or walk it in strides.
        state = {name: one.detach().cpu().contiguous().clone() for name, one in state.items()}
    kept = Details(kind, dict(model.get_params()) if hasattr(model, "get_params") else {}, library)
    try:
        said = canonical(kept)
    except TypeError as error:
        raise Unsafe(
            f"{kind}.get_params() gives what JSON cannot hold: {error}",
            remedy="Give numbers, texts, lists and mappings",
        ) from error
    return {FILE: codec.save(state), DETAILS: said}


def load(files: Mapping[str, bytes], trusted: Sequence[str]) -> Any:
    """An object of the class, with the tensors as its state.

    Raises:
        Unsafe: nobody allowed the class, it does not take the state, or a file is damaged.
    """
    kept = details(files, Details)
    _allowed(kept.kind, trusted)
    made = _class(kept.kind)  # first: its module may say where its library is
    codec = need(f"safetensors.{kept.library}", "safetensors", FILE)
    try:
        state = codec.load(files[FILE])
    except Exception as error:
        raise damaged(FILE, f"holds no tensors: {error}") from error
    try:
        model = made(**kept.parameters)
        model.load_state_dict(state)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise Unsafe(
            f"{kept.kind} does not take the state of {FILE}: {error}",
            remedy="Give it get_params(), which says what it is made with",
        ) from error
    if callable(getattr(model, "eval", None)):  # PyTorch: not as in training
        model.eval()
    return model


def _allowed(kind: str, trusted: Sequence[str]) -> None:
    if kind not in trusted:
        raise Unsafe(
            f"{FILE} is the state of {kind}, which nobody allowed",
            remedy=allow([kind], trusted),
            names=[kind],
        )


def _class(kind: str) -> Any:
    module, _, name = kind.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise Unsafe(
            f"{kind} cannot be imported: {error}", remedy="Keep the module in the project"
        ) from error
    if not isinstance(found, type):
        raise Unsafe(f"{kind} is no class at the top of its module", remedy="Define it there")
    return found
