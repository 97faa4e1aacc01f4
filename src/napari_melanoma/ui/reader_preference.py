"""Which of the files that napari opens with this plugin without asking other readers open after all.

napari's own reader accepts nearly all endings of photographs and slides, too, so napari asks at each file until the
user stores one of both for the ending. It matches names only, so an ending stored for this plugin covers files that are
neither photographs nor slides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

PLUGIN = "napari-melanoma"
Reader = Callable[[str | list[str]], list[Any]]
logger = logging.getLogger(__name__)


def is_preferred(path: str) -> bool:
    """Return whether napari's settings name this plugin for a path."""
    from napari.plugins.utils import get_preferred_reader

    return get_preferred_reader(path) == PLUGIN


def find_other_reader(path: str | list[str]) -> Reader | None:
    """Return the function of the first reader of another plugin that accepts a path or stack; None if there is none."""
    from npe2 import PluginManager

    stack = isinstance(path, list)
    paths: list[Any] = [path] if isinstance(path, str) else list(path)
    readers = PluginManager.instance().iter_compatible_readers(paths[:1])
    for reader in sorted(readers, key=lambda one: (one.plugin_name == "napari", one.command)):  # napari's own last
        if reader.plugin_name != PLUGIN:
            read = reader.exec(kwargs={"path": paths, "stack": stack})
            if read is not None:
                return lambda _: list(read(paths, stack=stack))
    return None


def read_by_other(path: str | list[str], fallback: Reader) -> list[Any]:
    """Read a path with the reader of another plugin, and with ``fallback`` if there is none or it fails.

    Napari's own reader accepts the names of DICOM files, but reads few of them.
    """
    read = find_other_reader(path)
    if read is not None:
        try:
            return read(path)
        except Exception:
            logger.info("another reader has failed to open %s", path, exc_info=True)
    return fallback(path)
