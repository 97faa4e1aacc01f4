"""Numbered areas of a slide as a tiled OME-TIFF pyramid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlace

TILE, SMALLEST = 512, 512


def write_label_tiff(path: Path, labels: NDArray[np.uint16], place: MapPlace, name: str) -> None:
    """Write a picture of numbers.

    ``labels``: uint16 (row, column).
    """
    import tifffile

    metadata: dict[str, Any] = {"axes": "YX", "Name": name, "Channel": {"Name": [name]}}
    if place.cell_um is not None:
        metadata |= {"PhysicalSizeY": place.cell_um[0], "PhysicalSizeX": place.cell_um[1]}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    levels = [labels]
    while max(levels[-1].shape) > SMALLEST:
        levels.append(levels[-1][::2, ::2])
    how: dict[str, Any] = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "minisblack"}
    with atomic_file(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as tiff:
        tiff.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **how)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, metadata=None, **how)
