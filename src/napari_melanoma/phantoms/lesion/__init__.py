"""Synthetic photographs of lesions."""

from __future__ import annotations

from napari_melanoma.phantoms.lesion.phantom import LesionPhantom, lesion_phantom, lesion_phantoms
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

__all__ = ["LesionPhantom", "LesionPhantomConfig", "lesion_phantom", "lesion_phantoms"]
