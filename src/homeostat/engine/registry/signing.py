"""Signatures over the files of a version, made and verified by OpenSSF's model signing (model_signing 1.1).

A signature is a Sigstore bundle: an in-toto statement that names each file with its SHA-256, signed with an elliptic
curve key, alone or under a chain of certificates. Nothing is fetched and nothing is sent: no transparency log.

The library is told to leave no file out, and what a bundle says was left out is not believed: the statement must name
exactly the files that there are. A certificate's chain is checked as of when the certificate began, so the end of one
takes nothing back; to take a key back, take it out of the project.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import BadRequest, Unsafe
from homeostat.engine.registry.formats.base import need

EXTRA: Final = "signing"
_WHAT: Final = "signing models"
_REMEDY: Final = "Do not use it; ask who signed it to sign this package"
# What the library raises where something does not hold, or is not of the form that it expects.
_WRONG: Final = (ValueError, KeyError, TypeError, AttributeError, LookupError)


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A signature as it is made and sent: the bundle, and the PEM of the key that it verifies with."""

    bundle: str
    public: str


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """Who a bundle says has signed: the key's fingerprint, and those of the certificates that vouch for it."""

    key: str
    certificates: list[str] = []


def sign(
    files: Mapping[str, bytes],
    key: Path,
    *,
    password: str | None = None,
    certificate: Path | None = None,
    chain: Sequence[Path] = (),
) -> Signed:
    """Sign files.

    Args:
        files: By path; a path that ends with ``/`` is an empty folder, which no signature covers.
        key: The private key: PEM, of the curve P-256, P-384 or P-521.
        password: What the key is encrypted with; None: nothing. Not for keys with certificates.
        certificate: The certificate of the key, as PEM; None: the key stands for itself.
        chain: The certificates above it up to the root, as PEM.

    Raises:
        BadRequest: a key or certificate cannot be read or used.
        NotInstalled: the extra ``signing`` is missing.
    """
    signing = need("model_signing.signing", EXTRA, _WHAT)
    config = signing.Config().set_hashing_config(_hashing())
    try:
        public = _public_of(key, password)
        if certificate is None:
            config.use_elliptic_key_signer(private_key=key, password=password.encode() if password else None)
        else:
            config.use_certificate_signer(
                private_key=key, signing_certificate=certificate, certificate_chain=chain
            )
    except (*_WRONG, OSError) as error:
        raise BadRequest(
            f"{key} cannot sign: {error}", field="key", remedy="Give the PEM of an elliptic curve key"
        ) from error
    with _folder(files) as folder:
        bundle = folder / "signature"
        config.sign(folder / "model", bundle)
        return Signed(bundle=bundle.read_text("utf-8"), public=public)


def signer(signed: Signed) -> Signer:
    """Who a signature says has signed; ``verify`` says whether they did.

    Raises:
        Unsafe: it is no bundle with a key or certificates.
    """
    certificates: list[Any] = []
    try:
        material = json.loads(signed.bundle)["verificationMaterial"]
        chain = material.get("x509CertificateChain")
        if chain:
            certificates = [_certificate(one["rawBytes"]) for one in chain["certificates"]]
            key = fingerprint(_pem(certificates[0].public_key()))
        else:
            key = f"sha256:{material['publicKey']['hint']}"
    except _WRONG as error:
        raise _bad(error) from error
    if key != fingerprint(signed.public):
        raise Unsafe("the signature was made with another key than the one beside it", remedy=_REMEDY)
    return Signer(key=key, certificates=[_fingerprint(one) for one in certificates])


def verify(files: Mapping[str, bytes], signed: Signed, trusted: str) -> None:
    """Check that a signature is over exactly these files, by a key that is trusted.

    Args:
        files: By path.
        signed: The signature.
        trusted: The fingerprint of the key; or of the certificate at the root of its chain.

    Raises:
        Unsafe: it is not.
        NotInstalled: the extra ``signing`` is missing.
    """
    verifying = need("model_signing.verifying", EXTRA, _WHAT)
    invalid = need("cryptography.exceptions", EXTRA, _WHAT).InvalidSignature
    untrusted = need("OpenSSL.crypto", EXTRA, _WHAT).X509StoreContextError
    by = signer(signed)
    known = by.certificates or [by.key]
    if trusted not in known:
        raise Unsafe(f"the signature leads to {', '.join(known)}, not to {trusted}", remedy=_REMEDY)
    try:
        if (named := _named(signed.bundle)) != (found := _digests(files)):
            raise Unsafe(f"the signature is over other files: {_difference(named, found)}", remedy=_REMEDY)
        with _folder(files) as folder:
            bundle, root = folder / "signature", folder / "trusted.pem"
            bundle.write_text(signed.bundle, "utf-8")
            config = verifying.Config().set_hashing_config(_hashing())
            if by.certificates:
                root.write_text(_root(signed.bundle, by.certificates.index(trusted)))
                config.use_certificate_verifier(certificate_chain=[root])
            else:
                root.write_text(signed.public)
                config.use_elliptic_key_verifier(public_key=root)
            config.verify(folder / "model", bundle)
    except untrusted as error:
        raise Unsafe(
            f"the signature's certificates do not lead to {trusted}: {error}",
            remedy="Name the root of the chain, which has signed itself",
        ) from error
    except (*_WRONG, invalid) as error:
        raise _bad(error) from error


def fingerprint(pem: str) -> str:
    """The fingerprint of a public key or a certificate in PEM, as projects name it.

    Raises:
        BadRequest: it is neither.
        NotInstalled: the extra ``signing`` is missing.
    """
    serialization = need("cryptography.hazmat.primitives.serialization", EXTRA, _WHAT)
    x509 = need("cryptography.x509", EXTRA, _WHAT)
    try:
        if "CERTIFICATE" in pem:
            return _fingerprint(x509.load_pem_x509_certificate(pem.encode()))
        return digest_bytes(_pem(serialization.load_pem_public_key(pem.encode())).encode())
    except _WRONG as error:
        raise BadRequest(
            f"neither a public key nor a certificate: {error}", field="public", remedy="Give its PEM file"
        ) from error


def _fingerprint(certificate: Any) -> str:
    hashes = need("cryptography.hazmat.primitives.hashes", EXTRA, _WHAT)
    return f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"


def _public_of(key: Path, password: str | None) -> str:
    serialization = need("cryptography.hazmat.primitives.serialization", EXTRA, _WHAT)
    curves = need("cryptography.hazmat.primitives.asymmetric.ec", EXTRA, _WHAT)
    try:
        private = serialization.load_pem_private_key(
            key.read_bytes(), password.encode() if password else None
        )
    except TypeError as error:  # a password is missing, or there is one too many
        remedy = "Leave out --password" if password else "Give its password: --password asks for it"
        raise BadRequest(f"{key} cannot sign: {error}", field="password", remedy=remedy) from error
    if not isinstance(private, curves.EllipticCurvePrivateKey):
        kind = type(private).__name__.removesuffix("PrivateKey")
        raise ValueError(f"it is a key of another sort ({kind})")
    return _pem(private.public_key())


def _pem(public: Any) -> str:
    serialization = need("cryptography.hazmat.primitives.serialization", EXTRA, _WHAT)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = public.public_bytes(serialization.Encoding.PEM, form)
    return pem.decode()


def _certificate(raw: str) -> Any:
    x509 = need("cryptography.x509", EXTRA, _WHAT)
    return x509.load_der_x509_certificate(base64.b64decode(raw))


def _root(bundle: str, number: int) -> str:
    chain = json.loads(bundle)["verificationMaterial"]["x509CertificateChain"]["certificates"]
    serialization = need("cryptography.hazmat.primitives.serialization", EXTRA, _WHAT)
    pem: bytes = _certificate(chain[number]["rawBytes"]).public_bytes(serialization.Encoding.PEM)
    return pem.decode()


def _hashing() -> Any:
    """Every file counts, those of Git too."""
    hashing = need("model_signing.hashing", EXTRA, _WHAT)
    return hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)


def _named(bundle: str) -> dict[str, str]:
    """The digests of the files that a bundle's statement names."""
    statement = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
    resources = statement["predicate"]["resources"]
    return {one["name"]: f"{one['algorithm']}:{one['digest']}" for one in resources}


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: digest_bytes(data) for name, data in files.items() if not name.endswith("/")}


def _difference(named: Mapping[str, str], found: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} {'is not signed' if name not in named else 'is not there' if name not in found else 'was altered'}"
        for name in sorted({*named, *found})
        if named.get(name) != found.get(name)
    )


@contextmanager
def _folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder with the files below ``model``: the library reads from disk."""
    with tempfile.TemporaryDirectory(prefix="homeostat-") as made:
        root = Path(made)
        (root / "model").mkdir()
        for name, data in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or name.endswith("/"):
                continue  # an empty folder; what leads out of the package is missed by the library
            target = root / "model" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        yield root


def _bad(error: Exception) -> Unsafe:
    return Unsafe(
        f"the signature does not hold: {type(error).__name__}{f': {error}' if str(error) else ''}",
        remedy=_REMEDY,
    )
