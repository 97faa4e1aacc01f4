"""Where a user's corrections are: a module of its own, as docks ask for it when they open, before anything is read."""

from __future__ import annotations

from pathlib import Path


def corrections_folder() -> Path:
    """Folder of the user's corrections; it need not exist."""
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / "corrections"
