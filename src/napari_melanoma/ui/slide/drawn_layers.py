"""What all layers that are drawn on a slide have in common: napari's half pixel, keys, whether the slide is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.layers import OpenSlide

HALF = 0.5  # napari counts from the centre of the first pixel

Keys = Mapping[str, Callable[[], None]]


def bind(layer: Layer, keys: Keys) -> None:
    """Say what keys do while a layer is the active one."""
    for key, act in keys.items():
        layer.bind_key(key, lambda _, act=act: act(), overwrite=True)


def is_open(viewer: Viewer, slide: OpenSlide) -> bool:
    """Say whether a slide is still in a viewer.

    False where it was closed.
    """
    return any(own in viewer.layers for own in slide.layers)
