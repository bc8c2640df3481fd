"""What people paste with a code or an address: white space, invisible characters, digits of other scripts."""

import unicodedata

INVISIBLE = {"Zs", "Cc", "Cf"}
"""Unicode's categories of spaces, controls (tab, line break) and format characters (zero-width space)."""
DASHES = "Pd"


def strip_invisible(text: str) -> str:
    """Remove white space and invisible characters around the text, as `str.strip` does white space."""
    return text.strip("".join(filter(_is_invisible, set(text))))


def normalize_code(text: str) -> str:
    """Remove white space, invisible characters and hyphens; make decimal digits of any script ASCII."""
    return "".join(
        str(unicodedata.decimal(character, character))
        for character in text
        if not _is_invisible(character) and unicodedata.category(character) != DASHES
    )


def _is_invisible(character: str) -> bool:
    """NUL isn't: nobody pastes it, and programs disagree about where a text with it ends."""
    return unicodedata.category(character) in INVISIBLE and character != "\0"
