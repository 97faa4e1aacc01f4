"""The way from the command line to the window: by name, so that neither the command line nor its imports know Qt."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

from napari_melanoma.core.errors import MelanomaError

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")  # the last chooses a platform that may need no display


def call_ui(module: str, function: str, *arguments: object, **named: object) -> Any:  # noqa: ANN401 - whatever it gives
    """Call a function of ``ui``, which stands beside the command line and not below it.

    Ctrl+C, or a signal to terminate, then ends the process at once, as with any window: Qt's loop would never ask
    whether to go on. What was corrected by hand is in the recovery file.
    """
    if sys.platform == "linux" and not any(os.environ.get(name) for name in DISPLAYS):
        raise MelanomaError(
            "no window can be opened: neither DISPLAY nor WAYLAND_DISPLAY is set. Log in at a desktop, or put "
            "xvfb-run in front of the command; `napari-melanoma lesion` needs no window."
        )
    for wish in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wish, signal.SIG_DFL)
    return getattr(import_module(f"napari_melanoma.ui.{module}"), function)(*arguments, **named)
