"""Which files napari opens with this plugin without asking, and which of them other readers open after all.

napari's own reader accepts nearly all endings of photographs and slides, too, so napari asks at each file until one of
both is stored for the ending in its settings. It matches names only, so an ending stored for this plugin covers files
that are neither photographs nor slides.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLUGIN = "napari-melanoma"
Reader = Callable[[str | list[str]], list[Any]]
logger = logging.getLogger(__name__)
REMEMBERED = (
    "Melanoma now opens {ending} files without asking; images that are neither color photographs nor slides are still "
    "opened by other readers. To change this: Preferences > Plugins."
)


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


def remember(path: str) -> None:
    """Store this plugin as the reader for the ending of a file that the user has opened with it in a window."""
    from napari.settings import get_settings
    from napari.utils.notifications import show_info

    ending = Path(path).suffix  # not in lower case: napari compares the names as they are
    if not ending or not _is_user_action() or not _may_remember() or not _has_choice(path):
        return
    pattern = f"*{ending}{os.sep if Path(path).is_dir() else ''}"
    plugins = get_settings().plugins
    plugins.extension2reader = {**plugins.extension2reader, pattern: PLUGIN}
    show_info(REMEMBERED.format(ending=ending))


def _is_user_action() -> bool:
    """Whether an event of the window is being processed: a script that opens a file does so for itself only."""
    if "qtpy" not in sys.modules:
        return False
    from qtpy.QtCore import QThread

    return bool(QThread.currentThread().loopLevel())


def _may_remember() -> bool:
    """Whether the setting of this plugin allows it; napari before 0.9 has no settings of plugins."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return True
    settings: Any = get_plugin_settings(PLUGIN)
    return bool(settings.files.remember)


def _has_choice(path: str) -> bool:
    """Whether several readers accept a path, and none is stored for it, so that napari asks."""
    from napari.plugins.utils import get_preferred_reader
    from npe2 import PluginManager

    readers = {reader.plugin_name for reader in PluginManager.instance().iter_compatible_readers([path])}
    return len(readers) > 1 and get_preferred_reader(path) is None
