"""A phantom as files: the image, its mask, and its truth as JSON."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.files import write_json
from napari_melanoma.data.phantom.lesion import LesionPhantom


def save_lesion_phantom(phantom: LesionPhantom, folder: Path, name: str) -> Path:
    """Write ``NAME.png``, ``NAME_mask.png`` (0 and 255) and ``NAME.truth.json``."""
    from napari_melanoma.io.results import write_mask, write_rgb

    image = folder / f"{name}.png"
    write_rgb(image, phantom.rgb)
    write_mask(folder / f"{name}_mask.png", phantom.mask)
    write_json(folder / f"{name}.truth.json", phantom.parameters)
    return image
