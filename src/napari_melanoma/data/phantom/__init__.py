"""Synthetic images with known truth: what the sample data, the demo without data and the tests stand on."""

from __future__ import annotations

from napari_melanoma.data.phantom.config import LesionPhantomConfig
from napari_melanoma.data.phantom.lesion import LesionPhantom, lesion_phantom, lesion_phantoms

__all__ = ["LesionPhantom", "LesionPhantomConfig", "lesion_phantom", "lesion_phantoms"]
