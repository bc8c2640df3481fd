"""A public key that verifies signatures: ECDSA on the curve P-256, with SHA-256 (FIPS 186-5)."""

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from Crypto.PublicKey.ECC import EccKey

# pycryptodome is imported only where there is a key: it takes 3 MB of memory, and time at the start.


class PublicKey:
    """Get one by `parse`."""

    def __init__(self, key: "EccKey") -> None:
        self._key = key

    @classmethod
    def parse(cls, value: str | None) -> Self | None:
        """Parse what SendGrid's console shows: DER (RFC 5480, 2) in base64. None if it is empty.

        Raises:
            ValueError: it is something else.
        """
        text = (value or "").strip()
        if not text:
            return None
        from Crypto.PublicKey import ECC  # noqa: PLC0415 - see above

        try:
            key = ECC.import_key(b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            key = None
        if key is None or key.curve != "NIST P-256" or key.has_private():
            raise ValueError("must be the Verification Key that SendGrid shows for its Event Webhook")
        return cls(key)

    def is_genuine(self, signature: str, message: bytes) -> bool:
        """Return whether a signature, in DER and base64, is this key's of the message."""
        from Crypto.Hash import SHA256  # noqa: PLC0415 - see above
        from Crypto.Signature import DSS  # noqa: PLC0415

        verifier = DSS.new(self._key, "fips-186-3", encoding="der")
        try:
            verifier.verify(SHA256.new(message), b64decode(signature, validate=True))
        except (binascii.Error, ValueError):
            return False
        return True
