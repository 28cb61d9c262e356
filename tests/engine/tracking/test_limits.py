"""What may be logged at once, and how long names and texts may be, in MLflow's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import RunInput
from homeostat.engine.tracking import limits


def dataset(**given: Any) -> RunInput:
    fields = {"run": "r", "name": "n", "digest": "d", "source_type": "t", "source": "s"} | given
    return RunInput(**fields)


@pytest.mark.parametrize(
    "good",
    [
        lambda: limits.check_batch(1000, 0, 0),
        lambda: limits.check_batch(800, 100, 100),
        lambda: limits.check_name("val/loss-1.5: a_b", "key"),
        lambda: limits.check_name("é" * 250, "key"),
        lambda: limits.check_params({"a": "v" * 6000}),
        lambda: limits.check_tags({"a": "v" * 8000}),
        lambda: limits.check_inputs([dataset(name="n" * 500, digest="d" * 36)]),
        lambda: limits.check_experiment_name("e" * 500),
    ],
)
def test_what_fits_is_let_through(good: Callable[[], None]) -> None:
    good()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: limits.check_batch(1001, 0, 0), "can contain at most 1000 metrics. Got 1001 metrics"),
        (lambda: limits.check_batch(0, 101, 0), "can contain at most 100 params"),
        (lambda: limits.check_batch(0, 0, 101), "can contain at most 100 tags"),
        (lambda: limits.check_batch(950, 50, 50), "at most 1000 metrics, params, and tags"),
        (lambda: limits.check_name("k" * 251, "key"), "'key' exceeds the maximum length of 250"),
        (lambda: limits.check_name("a\nb", "key"), "Names may only contain"),
        (lambda: limits.check_name("a//b", "key"), "must not resolve to other names"),
        (lambda: limits.check_name("/a", "key"), "must not resolve to other names"),
        (lambda: limits.check_params({"a": "v" * 6001}), "exceeds the maximum length of 6000"),
        (lambda: limits.check_tags({"a": "v" * 8001}), "exceeds the maximum length of 8000"),
        (lambda: limits.check_inputs([dataset(digest="")]), "Dataset digest cannot be None or empty"),
        (lambda: limits.check_inputs([dataset(name="n" * 501)]), "exceeds the maximum length of 500"),
        (lambda: limits.check_inputs([dataset(tags={"k" * 256: "v"})]), "exceeds the maximum length of 255"),
        (lambda: limits.check_inputs([dataset()] * 1001), "at most 1000 inputs"),
        (lambda: limits.unique_params([("a", "1"), ("a", "1")]), "Duplicate parameter keys"),
    ],
)
def test_what_is_too_much_is_told(bad: Callable[[], None], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        bad()
