"""A version that a project wants signed serves once it is, and is never loaded when what was signed was altered."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from homeostat.app import signatures
from homeostat.app.container import Container
from homeostat.app.reactors import react_all
from homeostat.app.registry import directories, versions
from homeostat.app.registry.reading import resolve
from homeostat.app.rollouts import begin, promote
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.standalone import Asked, registered
from homeostat.app.triggers import coming
from homeostat.cli.program import app
from homeostat.domain import records
from homeostat.domain.declarations import SignaturePolicy
from homeostat.domain.errors import BadRequest, Conflict, DeclarationError, NotFound, Unsafe
from homeostat.engine.registry import package
from homeostat.engine.registry.signing import Signed, fingerprint, sign
from homeostat.server.api import Api
from tests.app.churning import declare, trained
from tests.engine.registry.keys import Key


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


def policy(*keys: Key, by: int = 1) -> str:
    named = {key.name: fingerprint(key.public.read_text()) for key in keys}
    return f"signed=hs.signed_by({named}, at_least={by}),"


def by(container: Container, key: Key, version: int = 1) -> Signed:
    return sign(directories.export_files(container, "churn", str(version), "package"), key.private)


def stage(container: Container, version: int = 1) -> str:
    found = container.store.get(records.ModelVersion, "churn", version)
    assert found is not None
    return found.stage


def test_an_accepted_version_waits_for_its_signatures(container: Container, tmp_path: Path) -> None:
    release, second, stranger = (Key(tmp_path, name) for name in ("release", "second", "stranger"))
    declare(container, tmp_path / "project", policy(release, second, by=2))
    made = trained(container)
    assert stage(container) == "accepted"
    assert begin(container, "churn", 1) is False
    (alert,) = container.store.find(records.Alert, ("state", "=", "open"))
    assert "waits for a signature by 2 of release, second" in alert.summary
    assert coming(container) == []  # it may take days: no rule waits for it
    with pytest.raises(Conflict, match="waits for a signature"):
        promote(container, "churn", 1, actor="bob", reason="now")
    with pytest.raises(Unsafe, match="homeostat models sign churn@1"):
        load_version(container, "churn", 1)
    directories.import_directory(container, "churn", directories.export_files(container, "churn", "1"))
    with pytest.raises(Unsafe, match="homeostat models sign churn@2"):  # nor by itself
        registered(container, resolve(container.store, "churn", "2").record, Asked(model="", name="churn"))

    for key, missing in ((stranger, 2), (release, 1), (release, 1), (second, 0)):
        found = signatures.add(container, "churn", "1", by(container, key), digest=made.digest, actor="ann")
        assert (found.missing, found.digest) == (missing, made.digest)
    assert [one.names for one in found.signatures] == [[], ["release"], ["second"]]
    react_all(container)
    assert stage(container) == "champion"
    assert load_version(container, "churn", 1).version == 1
    assert not container.store.find(records.Alert, ("state", "=", "open"))
    event = container.ledger.find(subject="model/churn@1", kinds=["model.signed"])[0]
    assert (event.actor, event.body["digest"]) == ("ann", made.digest)

    again = trained(container, C=2.0)
    assert stage(container, again.version) == "accepted"  # each package needs its own
    versions.delete(container, "churn", _rejected(container, again))
    assert not signatures.given(container, again)


def _rejected(container: Container, of: records.ModelVersion) -> int:
    signatures.add(container, "churn", str(of.version), _signed(container, of))
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(of, stage="rejected"))
    return of.version


def _signed(container: Container, of: records.ModelVersion) -> Signed:
    folder = container.settings.home
    return by(container, Key(folder, "other"), of.version)


def test_a_package_that_was_altered_is_not_loaded(container: Container, tmp_path: Path) -> None:
    key = Key(tmp_path, "release")
    declare(container, tmp_path / "project", policy(key))
    made = trained(container)
    signatures.add(container, "churn", "1", by(container, key))
    react_all(container)
    assert load_version(container, "churn", 1).version == 1
    # Whoever owns the store can replace a file and correct every digest that speaks of it, but cannot sign.
    files = made.manifest["files"] | {package.EXAMPLE: container.blobs.put(b'{"id": 2}')}
    with container.store.begin() as tx:
        record = tx.get(records.ModelVersion, "churn", 1)
        assert record is not None
        manifest = {"files": files}
        tx.put(msgspec.structs.replace(record, manifest=manifest, digest=package.digest(manifest)))
    with pytest.raises(Unsafe, match=r"other files: example\.json was altered"):
        load_version(container, "churn", 1)
    assert signatures.standing(container, "churn", "1").missing == 1
    with container.store.begin() as tx:  # nor does somebody else's signature help, under the key's name
        kept = tx.get(records.Signature, "churn", 1, fingerprint(key.public.read_text()))
        assert kept is not None
        evil = by(container, Key(tmp_path, "evil"))
        tx.put(msgspec.structs.replace(kept, bundle=evil.bundle, public=evil.public))
    with pytest.raises(Unsafe, match="waits for a signature by release"):
        load_version(container, "churn", 1)


def test_what_serves_unsigned_is_told_of_once_signatures_are_asked_for(
    container: Container, tmp_path: Path
) -> None:
    key, project = Key(tmp_path, "release"), tmp_path / "project"
    declare(container, project)
    trained(container)
    assert stage(container) == "champion"
    declare(container, project, policy(key))
    react_all(container)
    (alert,) = container.store.find(records.Alert, ("state", "=", "open"))
    assert "model/churn@1 serves and could not be loaded again: it waits for" in alert.summary
    signatures.add(container, "churn", "1", by(container, key))
    assert not container.store.find(records.Alert, ("state", "=", "open"))
    declare(container, project, policy(Key(tmp_path, "other")))
    react_all(container)
    assert container.store.count(records.Alert, ("state", "=", "open")) == 1
    declare(container, project)
    react_all(container)
    assert not container.store.find(records.Alert, ("state", "=", "open"))


def test_what_is_no_signature_of_a_version_is_not_kept(container: Container, tmp_path: Path) -> None:
    key, other = Key(tmp_path, "release"), Key(tmp_path, "other")
    declare(container, tmp_path / "project")
    trained(container)
    good = by(container, key)
    with pytest.raises(Unsafe, match="over other files"):
        signatures.add(container, "churn", "1", sign({"x": b""}, key.private))
    with pytest.raises(Unsafe, match="another key"):
        signatures.add(container, "churn", "1", Signed(bundle=good.bundle, public=other.public.read_text()))
    with pytest.raises(Conflict, match="has the digest"):
        signatures.add(container, "churn", "1", good, digest="sha256:1")
    with pytest.raises(BadRequest, match="no name"):
        signatures.add(container, "churn", "1", good, actor=" ")
    with pytest.raises(NotFound):
        signatures.add(container, "churn", "2", good)
    assert container.store.count(records.Signature) == 0
    root = Key(tmp_path, "authority")
    files = directories.export_files(container, "churn", "1", "package")
    certified = sign(files, key.private, certificate=key.certified(root), chain=[root.certified()])
    found = signatures.add(container, "churn", "1", certified)
    assert found.signatures[0].certificates[-1] == fingerprint((tmp_path / "authority.crt").read_text())


@pytest.mark.parametrize("keys", [{}, {"release": "sha256:1"}, {"release": "MD5"}])
def test_a_policy_names_keys_by_their_fingerprints(keys: dict[str, str]) -> None:
    with pytest.raises(DeclarationError):
        SignaturePolicy(keys=keys)
    with pytest.raises(DeclarationError, match="by 2 of 1 keys"):
        SignaturePolicy(keys=dict.fromkeys("ab", f"sha256:{'0' * 64}"), by=2)


def test_the_api_and_the_commands(container: Container, tmp_path: Path) -> None:
    key = Key(tmp_path, "release")
    declare(container, tmp_path / "project", policy(key))
    made = trained(container)
    home = ["--home", str(container.settings.home)]
    runner = CliRunner()
    shown = runner.invoke(app, ["models", "verify", "churn@1", *home])
    assert (shown.exit_code, "waits for 1 more of 1: release" in shown.output) == (1, True)
    bundle = tmp_path / "signature"
    command = ["models", "sign", "churn@1", "--key", str(key.private), "--out", str(bundle)]
    done = runner.invoke(app, [*command, "--as", "dee", *home], catch_exceptions=False)
    assert made.digest in done.output
    assert "is signed as its project asks" in done.output
    assert stage(container) == "champion"
    shown = runner.invoke(app, ["models", "verify", "churn", "--public", str(key.public), "--json", *home])
    assert shown.exit_code == 0
    assert json.loads(shown.output)["signatures"][0]["actor"] == "dee"

    # The library's own command line agrees, with nothing of Homeostat's.
    out = tmp_path / "out"
    runner.invoke(app, ["models", "export", "churn@1", str(out), "--layout", "package", *home])
    theirs = [sys.executable, "-m", "model_signing", "verify", "key", str(out)]
    theirs += ["--signature", str(bundle), "--public_key", str(key.public)]
    assert subprocess.run(theirs, capture_output=True, check=False).returncode == 0
    (out / "environment.txt").write_text("another")
    assert subprocess.run(theirs, capture_output=True, check=False).returncode != 0

    with ThreadPoolExecutor(1) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        path = "/models/churn/versions/champion"
        (kept,) = client.get(f"{path}/bundles").json()
        assert kept["bundle"] == bundle.read_text()
        assert client.post(f"{path}/signatures", json=kept | {"actor": "eve"}).json()["missing"] == 0
        for body, status in (
            ({}, 400),
            (kept | {"bundle": "{}"}, 422),
            (kept | {"public": "x"}, 400),
            (kept | {"digest": "sha256:2"}, 409),
        ):
            assert client.post(f"{path}/signatures", json=body).status_code == status
        assert client.get(f"{path}/signatures").json()["signatures"][0]["actor"] == "eve"
        assert client.get("/models/churn/versions/7/signatures").status_code == 404
