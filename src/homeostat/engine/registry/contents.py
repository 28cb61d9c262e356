"""What a version is made of, as its package and its training tell it. Light to import, as a client does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from homeostat.domain.contracts import Column


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset version that the training read; of one that a client logged, what it said."""

    ref: str
    rows: int | None = None
    digest: str = ""
    created_at: datetime | None = None


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a version; what nobody recorded is empty.

    Args:
        kept_as: The format of the model, as in ``model.skops``, or the flavor of MLflow that is read; and what it takes
            to load it, where that may run code.
        features: The columns that the estimator was fitted on, in order.
        request: The columns of a request, with their units where the contract says them.
        answers: The columns of an answer.
        shapes: The shape of ``features``, ``request`` and ``answers``, or of MLflow's tensors by name; -1 is any
            number of rows.
        key: Which columns of a request identify it.
        time: Which one is its event time.
        example: One request, or the first row of MLflow's input example.
        environment: Versions by package, and those of ``python`` and ``platform``.
        lock: The digest of the environment lock that says so.
        code: The digest of the project's files; of a run of MLflow's, the commit that it logged.
        data: The dataset versions that were read.
        views: The feature views, as ``feature-view/name@version``.
        params: The parameters of the training, or those that a client logged.
        metrics: What was measured, by name.
        run: The run that made it, as ``run/…``.
        conversion: Of a model that was converted to ONNX, whether the graph serves in its place (``kept``), why
            (``reason``), and the largest difference of two scores over so many ``rows``.
    """

    kept_as: str = ""
    features: list[Column] = []
    request: list[Column] = []
    answers: list[Column] = []
    shapes: dict[str, list[int]] = {}
    key: list[str] = []
    time: str | None = None
    example: dict[str, Any] = {}
    environment: dict[str, str] = {}
    lock: str = ""
    code: str = ""
    data: list[Data] = []
    views: list[str] = []
    params: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    run: str = ""
    conversion: dict[str, Any] = {}


def environment(lock: str) -> dict[str, str]:
    """An environment lock as versions by name; ``python`` and ``platform`` among them."""
    found: dict[str, str] = {}
    for line in lock.splitlines():
        if line.startswith("# "):
            name, _, value = line[2:].partition(" ")
            found[name] = value
        elif "==" in line:
            name, _, value = line.partition("==")
            found[name.strip()] = value.partition(" ")[0].partition(";")[0].strip()
    return found
