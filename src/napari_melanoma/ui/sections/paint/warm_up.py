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
    from napari_melanoma.slides.tissue_classifier.fitting import load_heads

    _import_colors()
    run.check()
    _make_dash_patterns()
    run.check()
    load_heads()


def _import_colors() -> None:
    """Import what napari imports for the colors of the first Labels layer, which takes 0.15 s."""
    import skimage.color.colorconv  # noqa: F401


def _make_dash_patterns() -> None:
    """Make the patterns that vispy caches for the outline of the first Labels layer, which takes 0.13 s."""
    with suppress(ImportError):  # not part of the public interface of vispy
        from vispy.visuals.line.dash_atlas import DashAtlas

        DashAtlas()
