"""Where artifacts are: paths as senders write them, made one for one place, and what owns which of them.

A path is relative, with ``/`` between names. It is the key of a record and never a path of this machine's disk; but
who downloads a folder writes files by these names, so what could lead out of it is refused here already.
"""

from __future__ import annotations

import mimetypes
import re
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from homeostat.domain.errors import BadRequest

LONGEST: Final = 2000  # bytes; an index entry of PostgreSQL ends at 2,700
LONGEST_NAME: Final = 255  # bytes, as on most disks
FILES: Final = "artifacts"
MODELS: Final = "models"
TRACES: Final = "traces"
SCHEME: Final = "mlflow-artifacts"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ABSOLUTE: Final = re.compile(r"\\|[A-Za-z]:[/\\]|file:")
_SERVED: Final = "/api/2.0/mlflow-artifacts/artifacts"
_DECODINGS: Final = 10
_TEXT: Final = re.compile(
    r"(?i:txt|log|err|ini|cfg|conf|cnf|cf|properties|prop|hocon|toml|ya?ml|xml|json|js|py|csv|tsv|md|rst|ipynb"
    r"|MLmodel|MLproject)"
)


class Place(msgspec.Struct, frozen=True):
    """Where a file or a folder is: the root of what owns it (empty: nothing does), and the path below that."""

    root: str
    path: str

    @property
    def full(self) -> str:
        """The whole path."""
        return f"{self.root}/{self.path}" if self.root and self.path else self.root or self.path


def clean(path: str) -> str:
    """A path in the one form that is stored: decoded, without empty names and dots; empty for the topmost folder.

    Percent signs are decoded until nothing changes, as MLflow does: its client cannot ask for a name that would
    decode to another.

    Raises:
        BadRequest: it is absolute, leads upwards, holds control characters, or is too long.
    """
    path = _decoded(path)
    if _CONTROL.search(path):
        raise _invalid(path, "it holds control characters")
    if "#" in path:
        raise _invalid(path, "it holds a #, with which a fragment would begin")
    if ".." in re.split(r"[/\\]", path):
        raise _invalid(path, "it leads upwards")
    names = [name for name in path.split("/") if name not in ("", ".")]
    whole = "/".join(names)
    if path.startswith("/") or _ABSOLUTE.match(whole):
        raise _invalid(path, "it is absolute")
    if len(whole.encode()) > LONGEST:
        raise _invalid(path, f"it is longer than {LONGEST} bytes")
    if any(len(name.encode()) > LONGEST_NAME for name in names):
        raise _invalid(path, f"a name in it is longer than {LONGEST_NAME} bytes")
    return whole


def _decoded(path: str) -> str:
    for _ in range(_DECODINGS):
        try:
            decoded = unquote(path, errors="strict") if "%" in path else path
        except UnicodeDecodeError as error:
            raise _invalid(path, "it is no UTF-8") from error
        if decoded == path:
            return path
        path = decoded
    raise _invalid(path, "it is encoded again and again")


def place_of(path: str) -> Place:
    """The place of a clean path: what owns it ends with the first folder called ``artifacts``."""
    names = path.split("/") if path else []
    end = names.index(FILES, 1) + 1 if FILES in names[1:] else 0
    return Place("/".join(names[:end]), "/".join(names[end:]))


def owner_of(root: str) -> str:
    """The reference of what owns a root, as in ``run/0f4c…``; empty when nothing does."""
    names = root.split("/")
    if len(names) < 2 or names[-1] != FILES:
        return ""
    kind = {MODELS: "logged-model", TRACES: "trace"}.get(names[-3], "run") if len(names) > 2 else "run"
    return f"{kind}/{names[-2]}"


def path_of(uri: str) -> str:
    """The path of a URI under which this server keeps files.

    Raises:
        BadRequest: it is a place elsewhere.
    """
    parts = urlsplit(uri)
    if parts.scheme == SCHEME:
        return clean(parts.path.lstrip("/"))
    _, served, path = parts.path.partition(_SERVED)
    if parts.scheme in ("http", "https") and served:
        return clean(path.lstrip("/"))
    raise BadRequest(
        f"The artifacts at {uri!r} are not kept by this server",
        remedy="Read them with a client of that place",
    )


def here(uri: str) -> str:
    """The path of a URI under which this server keeps files; empty for a place elsewhere."""
    try:
        return path_of(uri)
    except BadRequest:
        return ""


def run_root(experiment: str, run: str) -> str:
    """The URI of a run's artifacts, from that of its experiment's."""
    return _below(experiment, run, FILES)


def model_root(experiment: str, model: str) -> str:
    """The URI of a logged model's artifacts, from that of its experiment's."""
    return _below(experiment, MODELS, model, FILES)


def trace_root(experiment: str, trace: str) -> str:
    """The URI of a trace's files, from that of its experiment's."""
    return _below(experiment, TRACES, trace, FILES)


def _below(uri: str, *names: str) -> str:
    """What lies below a URI; its query, which says how to reach the place, stays at the end."""
    place, mark, query = uri.partition("?")
    return f"{place.rstrip('/')}/{'/'.join(names)}{mark}{query}"


def media_type(path: str) -> str:
    """The media type by a file's name; what is text to a reader is sent as plain text."""
    name = path.rpartition("/")[2]
    if _TEXT.fullmatch(name.rpartition(".")[2]):
        return "text/plain"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _invalid(path: str, why: str) -> BadRequest:
    shown = path if len(path) <= 100 else f"{path[:100]}…"
    return BadRequest(f"Invalid path {shown!r}: {why}", field="path")
