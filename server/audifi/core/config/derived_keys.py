"""Derivation of keys from a secret of the settings, one per purpose (NIST SP 800-108)."""

import hashlib
import hmac

from pydantic import SecretStr


def derive_key(secret: SecretStr, purpose: str) -> bytes:
    """Return a key of 32 bytes that reveals neither the secret nor the keys of other purposes."""
    return hmac.digest(secret.get_secret_value().encode(), f"audifi/v1/{purpose}".encode(), hashlib.sha256)
