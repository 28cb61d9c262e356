"""Signatures hold for exactly the files that were signed, under exactly the key or root that is trusted."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from model_signing import hashing, signing, verifying

from homeostat.domain.errors import BadRequest, Unsafe
from homeostat.engine.registry.signing import Signed, fingerprint, sign, signer, verify
from tests.engine.registry.keys import Key

FILES = {"MLmodel": b"flavors: {}", "sub/model.skops": bytes(range(256)), ".gitignore": b"x", "empty/": b""}


def written(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        if not name.endswith("/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_a_signature_holds_and_the_library_s_own_verifier_agrees(
    tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    key = Key(tmp_path, "release", curve)
    signed = sign(FILES, key.private)
    assert signed.public == key.public.read_text()
    trusted = fingerprint(key.public.read_text())
    assert signer(signed).key == trusted
    verify(FILES, signed, trusted)
    bundle = tmp_path / "bundle"
    bundle.write_text(signed.bundle)
    config = verifying.Config().use_elliptic_key_verifier(public_key=key.public)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False))
    config.verify(written(FILES, tmp_path / "model"), bundle)


def test_what_the_library_signed_by_itself_is_taken_when_it_left_nothing_out(tmp_path: Path) -> None:
    key, folder = Key(tmp_path, "release"), written(FILES, tmp_path / "model")
    for left_out, taken in (([], True), ([Path("sub")], False)):
        config = signing.Config().use_elliptic_key_signer(private_key=key.private)
        config.set_hashing_config(hashing.Config().set_ignored_paths(paths=left_out, ignore_git_paths=False))
        config.sign(folder, tmp_path / "bundle")
        signed = Signed(bundle=(tmp_path / "bundle").read_text(), public=key.public.read_text())
        if taken:
            verify(FILES, signed, fingerprint(signed.public))
        else:
            with pytest.raises(Unsafe, match=r"sub/model.skops is not signed"):
                verify(FILES, signed, fingerprint(signed.public))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"MLmodel": b"flavors: {x: {}}"}, "MLmodel was altered"),
        ({"new.py": b""}, "new.py is not signed"),
        ({".gitignore": b"y"}, ".gitignore was altered"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, bytes], told: str) -> None:
    key = Key(tmp_path, "release")
    signed = sign(FILES, key.private)
    with pytest.raises(Unsafe, match=told):
        verify(FILES | change, signed, fingerprint(signed.public))
    with pytest.raises(Unsafe, match="is not there"):
        verify({"MLmodel": FILES["MLmodel"]}, signed, fingerprint(signed.public))


def test_other_keys_are_refused(tmp_path: Path) -> None:
    key, other = Key(tmp_path, "release"), Key(tmp_path, "other")
    signed = sign(FILES, key.private)
    with pytest.raises(Unsafe, match=r"leads to sha256:.*, not to"):
        verify(FILES, signed, fingerprint(other.public.read_text()))
    with pytest.raises(Unsafe, match="another key than the one beside it"):
        signer(Signed(bundle=signed.bundle, public=other.public.read_text()))


def test_a_forged_bundle_is_refused(tmp_path: Path) -> None:
    key, other = Key(tmp_path, "release"), Key(tmp_path, "other")
    good, evil = (json.loads(sign(FILES, one.private).bundle) for one in (key, other))
    public = key.public.read_text()
    longer = json.loads(base64.b64decode(good["dsseEnvelope"]["payload"]))
    longer["predicate"]["resources"].append({"name": "x", "digest": "00", "algorithm": "sha256"})
    forged = [
        good | {"dsseEnvelope": evil["dsseEnvelope"]},
        good
        | {
            "dsseEnvelope": good["dsseEnvelope"]
            | {"payload": base64.b64encode(json.dumps(longer).encode()).decode()}
        },
        good | {"dsseEnvelope": good["dsseEnvelope"] | {"signatures": []}},
        good | {"dsseEnvelope": {}},
        good | {"verificationMaterial": {}},
        good | {"mediaType": "text/plain"},
        [],
    ]
    for one in forged:
        with pytest.raises(Unsafe):
            verify(FILES, Signed(bundle=json.dumps(one), public=public), fingerprint(public))
    with pytest.raises(Unsafe):
        signer(Signed(bundle="{", public=public))


def test_a_chain_of_certificates_holds_under_its_root_alone(tmp_path: Path) -> None:
    root, middle, leaf = (Key(tmp_path, name) for name in ("authority-1", "authority-2", "leaf"))
    above = [middle.certified(root), root.certified()]
    signed = sign(FILES, leaf.private, certificate=leaf.certified(middle), chain=above)
    by = signer(signed)
    assert by.key == fingerprint(leaf.public.read_text())
    assert by.certificates[-1] == fingerprint(above[-1].read_text())
    verify(FILES, signed, by.certificates[-1])
    with pytest.raises(Unsafe, match="was altered"):
        verify(FILES | {"MLmodel": b""}, signed, by.certificates[-1])
    for trusted in by.certificates[:-1]:
        with pytest.raises(Unsafe, match="do not lead to"):
            verify(FILES, signed, trusted)
    with pytest.raises(Unsafe, match="leads to"):
        verify(FILES, signed, by.key)
    stranger = Key(tmp_path, "authority-3")
    strange = sign(FILES, leaf.private, certificate=leaf.certified(middle), chain=[stranger.certified()])
    with pytest.raises(Unsafe, match="do not lead to"):
        verify(FILES, strange, signer(strange).certificates[-1])
    wrong = sign(FILES, leaf.private, certificate=leaf.certified(middle, signs=False), chain=above)
    with pytest.raises(Unsafe, match="cannot be used for signing"):
        verify(FILES, wrong, by.certificates[-1])


def test_what_cannot_sign(tmp_path: Path) -> None:
    key, other = Key(tmp_path, "release"), Key(tmp_path, "authority")
    locked = Key(tmp_path, "locked", password="secret")
    verify(FILES, sign(FILES, locked.private, password="secret"), fingerprint(locked.public.read_text()))
    for file in (key.public, tmp_path / "nothing", locked.private):
        with pytest.raises(BadRequest, match="cannot sign"):
            sign(FILES, file)
    for file, password, remedy in (
        (locked.private, None, "--password asks"),
        (key.private, "one", "Leave out"),
    ):
        with pytest.raises(BadRequest, match="cannot sign: Password was") as refused:
            sign(FILES, file, password=password)
        assert remedy in str(refused.value.remedy)
    for sort, made in (
        ("RSA", rsa.generate_private_key(65537, 2048)),
        ("Ed25519", ed25519.Ed25519PrivateKey.generate()),
    ):
        other_sort = tmp_path / f"{sort}.key"
        other_sort.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with pytest.raises(BadRequest, match=rf"cannot sign: it is a key of another sort \({sort}\)"):
            sign(FILES, other_sort)
    with pytest.raises(BadRequest, match="does not match"):
        sign(FILES, key.private, certificate=other.certified())
    with pytest.raises(BadRequest, match="neither a public key nor a certificate"):
        fingerprint("PEM")
