"""Where the files of a registered version may be: what its ``source`` says, and what it must not say.

A source names files of this server's runs or logged models, another registered version, or a store elsewhere. It may
not step out of what it names, nor name a host that the server would then connect to. The rules are MLflow's, in whose
words a refusal begins.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.domain.refs import number_of

PROMPTS: Final = frozenset({"dummy-source", "prompt-template"})
"""What clients give as the source of a prompt, which has none."""

_HOSTED: Final = frozenset({"ftp", "sftp", "hdfs", "viewfs", "http", "https", "r2", "b2", "abfss"})
_HERE: Final = ("localhost", "127.0.0.1")


class Registered(msgspec.Struct, frozen=True):
    """What ``models:/…`` names: a logged model, or a registered one at a version, an alias, a label or its newest."""

    name: str = ""
    version: int = 0
    alias: str = ""
    label: str = ""
    logged: str = ""


def check_host(source: str) -> None:
    """Check that a source names no host to which the server would connect.

    Raises:
        BadRequest: it does.
    """
    parsed = _split(source)
    if parsed.scheme in _HOSTED or (parsed.scheme == "mlflow-artifacts" and parsed.netloc):
        raise BadRequest(
            f"'source' cannot use the '{parsed.scheme}' scheme: it addresses a host other than this server's artifact"
            " storage, so the server would connect to the host named in the URI",
            field="source",
        )


def is_local(source: str) -> bool:
    """Whether a source is a path on the server's own disk.

    Raises:
        BadRequest: it is a ``file:`` URI of another host.
    """
    parsed = _split(source)
    if parsed.scheme != "file":
        return len(parsed.scheme) < 2  # one letter is a drive of Windows
    host = parsed.hostname or ""
    if host and not host.startswith(_HERE):
        raise BadRequest(f"{source} is not a valid remote uri", field="source")
    return True


def is_local_within(source: str, root: str) -> bool:
    """Whether a local source lies at or below ``root``, a local one as well."""
    if not is_local(root):
        return False
    inner, outer = (PurePosixPath(posixpath.normpath(_local_path(uri))) for uri in (source, root))
    return inner.is_relative_to(outer)


def is_artifact(source: str) -> bool:
    """Whether a source is below this server's own artifacts."""
    return _split(source).scheme == "mlflow-artifacts"


def check_path(source: str) -> None:
    """Check that a source steps nowhere: no ``..``, no NUL, however often it is quoted.

    Raises:
        BadRequest: it does.
    """
    plain = source
    while (unquoted := unquote_plus(plain)) != plain:
        plain = unquoted
    # No path at all is a relative one as well.
    steps = (re.sub(r"/+", "/", _split(plain).path).rstrip("/") or ".").split("/")
    if "\0" in plain or ".." in plain.split("/") or not {"..", "."}.isdisjoint(steps) or steps[0]:
        raise BadRequest(
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp,"
            " objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path"
            " references present. Please provide an absolute path.",
            field="source",
        )


def is_within(source: str, root: str) -> bool:
    """Whether a source lies at or below ``root``, a URI as well."""
    inner, outer = _split(source), _split(root)
    parts, above = _parts(inner.path), _parts(outer.path)
    return (
        (inner.scheme, inner.netloc.lower()) == (outer.scheme, outer.netloc.lower())
        and bool(above)
        and parts[: len(above)] == above
    )


def run_of(source: str) -> str | None:
    """The id in ``runs:/<id>/…``; None where the source is none of that form.

    Raises:
        BadRequest: it begins like that, and names no run.
    """
    parsed = _split(source)
    if parsed.scheme != "runs":
        return None
    run = parsed.path.lstrip("/").partition("/")[0]
    if parsed.netloc or not run:
        raise elsewhere(source, "run_id")
    return run


def registered_of(source: str) -> Registered | None:
    """What ``models:/…`` names; None where the source is none of that form.

    Raises:
        BadRequest: it begins like that, and names no model.
    """
    if not source.lower().startswith("models:"):
        return None
    if _split(source).netloc:
        raise BadRequest(
            f"Invalid model version source: '{source}'. Registered model sources must use the active model registry.",
            field="source",
        )
    path = _split(source).path
    name, *rest = path.lstrip("/").split("/")
    if not path.startswith("/") or len(rest) > 1 or not name.strip():
        raise elsewhere(source, "model_id")
    if not rest:
        name, at, alias = name.rpartition("@")
        if at and not (name and alias.strip()):
            raise elsewhere(source, "model_id")
        return Registered(name=name, alias=alias) if at else Registered(logged=alias)
    suffix = rest[0]
    if not suffix.strip():
        raise elsewhere(source, "model_id")
    if (number := number_of(suffix)) is not None:
        return Registered(name=name, version=number)
    return Registered(name=name, label="" if suffix.lower() == "latest" else suffix)


def elsewhere(source: str, parameter: str) -> BadRequest:
    """The error for a source that is not part of what ``parameter`` names."""
    return BadRequest(
        f"Invalid model version source: '{source}'. The {parameter} request parameter must identify the resource that"
        " contains the source.",
        field="source",
    )


def _local_path(source: str) -> str:
    parsed = _split(source)
    return unquote(parsed.path) if parsed.scheme == "file" else source


def _split(uri: str) -> SplitResult:
    try:
        return urlsplit(uri, allow_fragments=False)
    except ValueError as error:  # brackets that hold no address
        raise BadRequest(
            f"Invalid model version source: '{uri}'. It is no URI: {error}", field="source"
        ) from error


def _parts(path: str) -> list[str]:
    found = []
    for part in path.split("/"):
        while (unquoted := unquote(part)) != part:
            part = unquoted
        if part:
            found.append(part)
    return found
