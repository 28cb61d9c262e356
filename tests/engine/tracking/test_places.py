"""Paths of artifacts: one form for each place, nothing that leads elsewhere, and who owns what."""

from __future__ import annotations

import posixpath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.places import (
    LONGEST,
    LONGEST_NAME,
    Place,
    clean,
    media_type,
    model_root,
    owner_of,
    path_of,
    place_of,
    run_root,
)

ANY = st.text(max_size=40)
PIECES = st.lists(st.sampled_from(["..", ".", "", "a", "%2e", "%2E%2e", "%252e", "/", "\\", "C:", "é", "%"]))


@given(ANY | PIECES.map("/".join) | PIECES.map("".join))
def test_what_is_let_in_stays_inside_whatever_the_writing(text: str) -> None:
    try:
        cleaned = clean(text)
    except BadRequest:
        return
    names = cleaned.replace("\\", "/").split("/")
    assert ".." not in names
    assert not cleaned.startswith(("/", "\\"))
    assert posixpath.normpath(posixpath.join("/root", cleaned)).startswith("/root")
    assert cleaned.isprintable() or not any(ord(letter) < 32 for letter in cleaned)


@given(ANY | PIECES.map("/".join))
def test_a_cleaned_path_is_clean(text: str) -> None:
    try:
        cleaned = clean(text)
    except BadRequest:
        return
    assert clean(cleaned) == cleaned
    assert clean(quote(cleaned)) == cleaned  # as a client would ask for it
    assert place_of(cleaned).full == cleaned


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "a/..",
        "..",
        "%2e%2e/x",
        "%252e%252e/x",
        "..\\x",
        "a\\..\\x",
        "/etc/passwd",
        "%2Fetc/passwd",
        "\\\\host\\share",
        "C:\\x",
        "c:/x",
        "file:///etc/passwd",
        "a\0b",
        "a%00b",
        "a\nb",
        "a\x7fb",
        "a\ud800b",
        "a%ffb",
        "a#b",
        "n" * (LONGEST_NAME + 1),
        "é" * (LONGEST_NAME // 2 + 1),
        "n/" * LONGEST + "n",
        "%" + "25" * 20 + "2e",
    ],
)
def test_refused(path: str) -> None:
    with pytest.raises(BadRequest, match="Invalid path"):
        clean(path)


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", ""),
        (".", ""),
        ("a//b/./c/", "a/b/c"),
        ("a b/ü/日本.txt", "a b/ü/日本.txt"),
        ("a%20b", "a b"),
        ("100%.txt", "100%.txt"),
        ("...", "..."),
        ("..a/b..", "..a/b.."),
        ("n" * LONGEST_NAME, "n" * LONGEST_NAME),
    ],
)
def test_let_in(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


@pytest.mark.parametrize(
    ("path", "root", "rest", "owner"),
    [
        ("3/ab12/artifacts/model/MLmodel", "3/ab12/artifacts", "model/MLmodel", "run/ab12"),
        ("3/ab12/artifacts", "3/ab12/artifacts", "", "run/ab12"),
        ("3/models/m-1/artifacts/MLmodel", "3/models/m-1/artifacts", "MLmodel", "logged-model/m-1"),
        ("3/traces/tr-1/artifacts/traces.json", "3/traces/tr-1/artifacts", "traces.json", "trace/tr-1"),
        ("our/place/ab12/artifacts/x/artifacts/y", "our/place/ab12/artifacts", "x/artifacts/y", "run/ab12"),
        ("ab12/artifacts/x", "ab12/artifacts", "x", "run/ab12"),
        ("artifacts/x", "", "artifacts/x", ""),
        ("3/ab12", "", "3/ab12", ""),
        ("a.txt", "", "a.txt", ""),
        ("", "", "", ""),
    ],
)
def test_what_owns_a_file(path: str, root: str, rest: str, owner: str) -> None:
    assert place_of(path) == Place(root, rest)
    assert owner_of(root) == owner


def test_roots_and_their_uris() -> None:
    assert run_root("mlflow-artifacts:/3", "ab12") == "mlflow-artifacts:/3/ab12/artifacts"
    assert run_root("mysql://u@h:1/db/?driver=d", "ab12") == "mysql://u@h:1/db/ab12/artifacts?driver=d"
    assert model_root("mlflow-artifacts:/3/", "m-1") == "mlflow-artifacts:/3/models/m-1/artifacts"
    assert path_of("mlflow-artifacts:/3/ab12/artifacts") == "3/ab12/artifacts"
    assert path_of("mlflow-artifacts://host:5000/3/ab12/artifacts") == "3/ab12/artifacts"
    assert (
        path_of("http://host/base/api/2.0/mlflow-artifacts/artifacts/3/ab12/artifacts") == "3/ab12/artifacts"
    )


@pytest.mark.parametrize("uri", ["s3://bucket/3", "file:///tmp/3", "/tmp/3", "http://host/3", ""])
def test_a_place_elsewhere_is_not_ours(uri: str) -> None:
    with pytest.raises(BadRequest, match="not kept by this server"):
        path_of(uri)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model/MLmodel", "text/plain"),
        ("a.JSON", "text/plain"),
        ("plot.png", "image/png"),
        ("page.html", "text/html"),
        ("model.skops", "application/octet-stream"),
        ("none", "application/octet-stream"),
    ],
)
def test_media_types(path: str, kind: str) -> None:
    assert media_type(path) == kind
