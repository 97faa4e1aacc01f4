"""Folders of which each file is a choice: they are listed, so that adding a file is all that a new choice takes."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import ModuleType

from napari_melanoma.core.errors import ConfigError


def listed(package: str, path: Iterable[str], *needed: str) -> Iterator[ModuleType]:
    """Import the modules of a package; those whose name begins with ``_`` hold what several share and are passed over.

    In alphabetical order.
    """
    for found in pkgutil.iter_modules(path):
        if found.name.startswith("_"):
            continue
        module = import_module(f"{package}.{found.name}")
        missing = [name for name in needed if not hasattr(module, name)]
        if missing:
            raise ConfigError(
                f"{module.__file__} is listed as one of {package}, but has no {' and no '.join(missing)}. Add what is "
                "missing, or begin the name of the file with '_' if it only holds what others share."
            )
        yield module
