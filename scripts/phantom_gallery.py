"""Draw docs/images/phantom-gallery.webp: a phantom of each skin type and modality, and the outlines of the masks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from pictures import save_picture
from PIL import Image

from napari_melanoma.imaging.masks import draw_overlay
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import CameraOptions, LesionPhantomConfig, PhantomModality

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "phantom-gallery.webp"
TILE = (156, 208)
GAP = 4
# Seeds that together show network, globules, veil, hairs, ruler, bubbles and ink.
SEEDS = {"dermoscopic": (24, 53, 2, 15, 28, 35), "macroscopic": (46, 13, 26, 3, 5, 45)}


def gallery(first_seed: int = 0) -> NDArray[np.uint8]:
    """Draw the gallery.

    uint8 sRGB (row, column, channel): a column for each skin type, and for each modality a row of photographs above a
    row with the outline of the mask. ``first_seed`` is added to the seeds.
    """
    rows = []
    for modality in get_args(PhantomModality):
        pairs = [_pair(modality, kind, seed + first_seed) for kind, seed in enumerate(SEEDS[modality], start=1)]
        rows += [_joined([pair[index] for pair in pairs], axis=1) for index in (0, 1)]
    return _joined(rows, axis=0)


def _pair(modality: PhantomModality, skin_type: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A photograph, and the same with the outline of its mask, at the size of a tile."""
    config = LesionPhantomConfig(seed=seed, modality=modality, skin_type=skin_type, camera=CameraOptions(noise=0))
    phantom = lesion_phantom(config)
    return _small(phantom.rgb), _small(draw_overlay(phantom.rgb, phantom.mask))


def _small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale to the size of a tile."""
    return np.asarray(Image.fromarray(rgb).resize(TILE[::-1], Image.Resampling.LANCZOS))


def _joined(tiles: list[NDArray[np.uint8]], axis: int) -> NDArray[np.uint8]:
    """Concatenate tiles horizontally (axis 1) or vertically (axis 0), with a white gap."""
    gap = np.full([GAP if index == axis else size for index, size in enumerate(tiles[0].shape)], 255, np.uint8)
    parts = [part for tile in tiles for part in (tile, gap)][:-1]
    return np.concatenate(parts, axis=axis)


def main() -> None:
    """Write the gallery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET, help="the WebP file to write")
    parser.add_argument("--first-seed", type=int, default=0, help="added to the seeds, for other phantoms")
    arguments = parser.parse_args()
    save_picture(Image.fromarray(gallery(arguments.first_seed)), arguments.out)


if __name__ == "__main__":
    main()
