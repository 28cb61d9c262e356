"""Keys and certificates for the tests of signatures, made anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
_SIGNING, _SERVING = x509.ExtendedKeyUsageOID.CODE_SIGNING, x509.ExtendedKeyUsageOID.SERVER_AUTH


class Key:
    """A key in files below a folder: ``private`` and ``public``, as PEM."""

    def __init__(
        self, folder: Path, name: str, curve: ec.EllipticCurve | None = None, password: str = ""
    ) -> None:
        self.name = name
        self.folder = folder
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        locked = serialization.BestAvailableEncryption(password.encode()) if password else None
        self.private.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                locked or serialization.NoEncryption(),
            )
        )
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(self.key.public_key().public_bytes(serialization.Encoding.PEM, form))

    def certified(self, by: Key | None = None, *, signs: bool = True) -> Path:
        """A certificate of this key by another one, or by itself; ended long ago."""
        issuer = by or self
        authority = by is None or self.name.startswith("authority")
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer.name)]))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGAN)
            .not_valid_after(BEGAN + timedelta(days=365))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    signs and not authority,
                    False,
                    False,
                    not signs,
                    False,
                    authority,
                    authority,
                    False,
                    False,
                ),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage([_SIGNING if signs else _SERVING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
            )
            .sign(issuer.key, hashes.SHA256())
        )
        path = self.folder / f"{self.name}.crt"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return path
