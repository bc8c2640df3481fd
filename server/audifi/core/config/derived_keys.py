"""Keys for one purpose each, derived from a secret of the settings (NIST SP 800-108)."""

import hashlib
import hmac

from pydantic import SecretStr


def derive_key(secret: SecretStr, purpose: str) -> bytes:
    """Return 32 bytes that tell nothing of the secret or of another purpose's key."""
    return hmac.digest(secret.get_secret_value().encode(), f"audifi/v1/{purpose}".encode(), hashlib.sha256)
