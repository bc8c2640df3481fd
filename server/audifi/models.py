"""Every table, for Alembic alone: importing this imports each `models.py` of the package."""

from importlib import import_module
from pkgutil import walk_packages

import audifi
from audifi.core.db.base import Base

__all__ = ["Base"]

for module in walk_packages(audifi.__path__, "audifi."):
    if module.name.endswith(".models") and module.name != __name__:
        import_module(module.name)
