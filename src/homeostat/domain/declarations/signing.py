"""Signatures: whose keys must have signed a version's package before it may serve."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from homeostat.domain.errors import DeclarationError

_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}")


class SignaturePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Keys sign a version before it serves, and each process that loads it verifies what they signed.

    Args:
        keys: Fingerprints by name: of a public key, the SHA-256 of its PEM file; of a certificate that stands at the
            root of a chain, the SHA-256 of its DER form.
        by: How many of them.
    """

    keys: dict[str, str]
    by: int = 1

    def __post_init__(self) -> None:
        for name, fingerprint in self.keys.items():
            if not _FINGERPRINT.fullmatch(str(fingerprint)):
                raise DeclarationError(
                    f"the key {name!r} has the fingerprint {fingerprint!r}",
                    remedy="Write it as homeostat models sign prints it: sha256: and 64 digits",
                )
        if not 1 <= self.by <= len(set(self.keys.values())):
            raise DeclarationError(
                f"signed by {self.by} of {len(set(self.keys.values()))} keys",
                remedy='Name keys, as in hs.signed_by({"release": "sha256:…"}), and ask for at most as many',
            )
