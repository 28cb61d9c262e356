"""What may be logged: names, lengths and how much at once, with the limits that MLflow has.

Messages begin as MLflow's do, since its clients show them.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from homeostat.domain.errors import BadRequest
from homeostat.domain.tracking import RunInput

METRICS: Final = 1000
PARAMS: Final = 100
TAGS: Final = 100
TOGETHER: Final = 1000  # metrics, params and tags of one batch
KEY: Final = 250
PARAM: Final = 6000
TAG: Final = 8000
EXPERIMENT_NAME: Final = 500
EXPERIMENT_TAG: Final = 20_000
RUN_NAME: Final = TAG  # it is also the tag mlflow.runName
INPUTS: Final = 1000
DATASET_NAME: Final = 500
DATASET_DIGEST: Final = 36
DATASET_SOURCE: Final = 65_535
DATASET_SCHEMA: Final = 1_048_575
DATASET_PROFILE: Final = 16_777_215
INPUT_TAG_KEY: Final = 255
INPUT_TAG_VALUE: Final = 500
_INT64: Final = 2**63

_NAME: Final = re.compile(r"[/\w.\- :]*")
_SIMPLE: Final = re.compile(r"\w[\w\- :]*")  # neither a dot nor a slash: it is no path


def check_name(name: str, path: str) -> None:
    """Check the key of a metric, parameter or tag.

    Args:
        name: The key.
        path: Where it stands in the request, for the message.

    Raises:
        BadRequest: it is empty or too long, has other characters, or reads as a path to somewhere else.
    """
    if len(name) <= KEY and _SIMPLE.fullmatch(name):
        return
    if not _NAME.fullmatch(name):
        raise _invalid(
            path,
            name,
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:)"
            " and slashes (/).",
        )
    if _elsewhere(name):
        raise _invalid(
            path,
            name,
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as"
            f" such. This name would resolve to {posixpath.normpath(name)!r}",
        )
    check_length(name, KEY, path)


def check_length(value: str, limit: int, path: str) -> None:
    """Check that a text is no longer than ``limit`` characters.

    Raises:
        BadRequest: it is.
    """
    if len(value) > limit:
        raise BadRequest(
            f"'{path}' exceeds the maximum length of {limit} characters",
            field=path,
            remedy=f"It has {len(value)}; log long texts as an artifact",
        )


def check_point(key: str, value: float, timestamp: int, step: int, path: str = "") -> None:
    """Check a point of a metric.

    Raises:
        BadRequest: its name is none, or a number does not fit into 64 bits or is negative where it may not be.
    """
    check_name(key, _at(path, "name"))
    if not 0 <= timestamp < _INT64:
        raise _invalid(
            _at(path, "timestamp"),
            timestamp,
            f"metric '{key}' (value={value}). Timestamp must be a nonnegative long (64-bit integer) ",
        )
    if not -_INT64 <= step < _INT64:
        raise _invalid(
            _at(path, "step"),
            step,
            f"metric '{key}' (value={value}). Step must be a valid long (64-bit integer).",
        )


def check_params(params: Mapping[str, str]) -> None:
    """Check parameters.

    Raises:
        BadRequest: a key is no name, or a value is too long.
    """
    for number, (key, value) in enumerate(params.items()):
        check_name(key, f"params[{number}].key")
        check_length(value, PARAM, "Param value")


def check_tags(tags: Mapping[str, str], *, limit: int = TAG) -> None:
    """Check tags.

    Raises:
        BadRequest: a key is no name, or a value is too long.
    """
    for number, (key, value) in enumerate(tags.items()):
        check_name(key, f"tags[{number}].key")
        check_length(value, limit, f"tags[{number}].value")


def check_batch(metrics: int, params: int, tags: int) -> None:
    """Check how much comes in one batch.

    Raises:
        BadRequest: it is more than the protocol allows.
    """
    for what, count, limit in (
        ("metrics", metrics, METRICS),
        ("params", params, PARAMS),
        ("tags", tags, TAGS),
        ("metrics, params, and tags", metrics + params + tags, TOGETHER),
    ):
        if count > limit:
            raise BadRequest(
                f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up"
                f" {what} across multiple requests and try again.",
                field=what if "," not in what else "",
            )


def unique_params(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Parameters by key.

    Raises:
        BadRequest: a key comes twice.
    """
    found: dict[str, str] = {}
    twice = []
    for key, value in pairs:
        if key in found:
            twice.append(key)
        found[key] = value
    if twice:
        raise BadRequest(
            f"Duplicate parameter keys have been submitted: {twice}. Please ensure the request contains only one"
            " param value per param key.",
            field="params",
        )
    return found


def check_experiment_name(name: str) -> None:
    """Check the name of an experiment.

    Raises:
        BadRequest: it is empty or too long.
    """
    if not name:
        raise BadRequest("Invalid experiment name: ''", field="name", remedy="Give it a name")
    check_length(name, EXPERIMENT_NAME, "name")


def _elsewhere(name: str) -> bool:
    """Whether a name, read as a path, is another path: MLflow's rule, for stores that keep metrics as files."""
    norm = posixpath.normpath(name)
    return norm != name or norm == "." or norm.startswith(("..", "/"))


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _invalid(path: str, value: Any, reason: str) -> BadRequest:
    shown = json.dumps(value, separators=(",", ":"))
    return BadRequest(f"Invalid value {shown} for parameter '{path}' supplied: {reason}", field=path)


def check_inputs(inputs: Sequence[RunInput]) -> None:
    """Check the datasets that a run is said to have read.

    Raises:
        BadRequest: there are too many, or one has no name, or a text is too long.
    """
    if len(inputs) > INPUTS:
        raise BadRequest(f"A run takes at most {INPUTS} inputs at once, not {len(inputs)}", field="datasets")
    for given in inputs:
        for what, text in (
            ("name", given.name),
            ("digest", given.digest),
            ("source_type", given.source_type),
        ):
            if not text:
                raise BadRequest(f"Dataset {what} cannot be None or empty", field=f"dataset.{what}")
        for what, text, limit in (
            ("name", given.name, DATASET_NAME),
            ("digest", given.digest, DATASET_DIGEST),
            ("source", given.source, DATASET_SOURCE),
            ("schema", given.schema, DATASET_SCHEMA),
            ("profile", given.profile, DATASET_PROFILE),
        ):
            check_length(text, limit, what)
        for key, value in given.tags.items():
            check_length(key, INPUT_TAG_KEY, "key")
            check_length(value, INPUT_TAG_VALUE, "value")
