"""The way from the command line to the window: by name, so that neither the command line nor its imports know Qt."""

from __future__ import annotations

import signal
from importlib import import_module
from typing import Any


def call_ui(module: str, function: str, *arguments: object, **named: object) -> Any:  # noqa: ANN401 - whatever it gives
    """Call a function of ``ui``, which stands beside the command line and not below it.

    Ctrl+C then ends the process at once, as with any window: Qt's loop would never ask whether to go on. What was
    corrected by hand is in the recovery file.

    Parameters
    ----------
    module, function : str
        Names within ``napari_melanoma.ui``.
    *arguments, **named : object
        What it takes.

    Returns
    -------
    object
        What it returns.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return getattr(import_module(f"napari_melanoma.ui.{module}"), function)(*arguments, **named)
