"""Load in a thread what painting uses first, so that the window does not wait for it at a click."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from napari_melanoma.ui.widgets.job import BackgroundJob

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext


@cache
def warm_up() -> None:
    """Load it once in a process, as a background task."""
    BackgroundJob(_load).start()


def _load(run: RunContext) -> None:
    """Load what napari loads for the first Labels layer: for its colors 0.15 s, for its outline 0.13 s."""
    import skimage.color.colorconv  # noqa: F401

    with suppress(ImportError):  # not part of the public interface of vispy
        from vispy.visuals.line.dash_atlas import DashAtlas

        DashAtlas()  # vispy caches its patterns
