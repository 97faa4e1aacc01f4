"""Draw docs/images/cohort-phantom.webp: patches of patients of a phantom cohort, plain and with the true outlines."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pictures import save_picture
from PIL import Image

from napari_melanoma.phantoms.cohort.dataset import CohortPatch, draw_patch
from napari_melanoma.phantoms.cohort.risk_law import CohortConfig, Patient, draw_patients

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "cohort-phantom.webp"
GAP, WIDTH = 6, 1236
TUMOR, NECROSIS = (0, 150, 60), (255, 210, 0)
# Thickness in mm, necrosis, test set: one patient of each.
SELECTION = ((0.8, True, False), (1.6, False, False), (1.6, True, False), (1.6, True, True), (4.0, True, True))
Rgb = NDArray[np.uint8]


def gallery(seed: int) -> Rgb:
    """Draw the gallery.

    uint8 sRGB (row, column, channel): patches above, below them with outlines of tumor and necrosis.
    """
    config = CohortConfig(seed=seed)
    patches = [draw_patch(patient, config) for patient in chosen(draw_patients(config))]
    rows = [
        join_horizontally([patch.rgb for patch in patches]),
        join_horizontally([outlined(patch) for patch in patches]),
    ]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    whole = Image.fromarray(np.concatenate([rows[0], gap, rows[1]]))
    return np.asarray(whole.resize((WIDTH, round(whole.height * WIDTH / whole.width)), Image.Resampling.LANCZOS))


def chosen(patients: tuple[Patient, ...]) -> list[Patient]:
    """For each entry of the selection, the patient with the closest thickness."""
    found = []
    for depth_mm, dead, is_test in SELECTION:
        fit = [one for one in patients if (one.necrosis > 0, one.split == "test") == (dead, is_test)]
        found.append(min(set(fit) - set(found), key=lambda one: (abs(one.depth_mm - depth_mm), one.name)))
    return found


def outlined(patch: CohortPatch) -> Rgb:
    """A patch with the outlines of tumor and necrosis, two pixels wide."""
    from scipy.ndimage import binary_dilation, binary_erosion

    rgb = patch.rgb.copy()
    for mask, color in ((patch.tumor, TUMOR), (patch.necrosis, NECROSIS)):
        rgb[binary_dilation(mask) & ~binary_erosion(mask)] = color
    return rgb


def join_horizontally(tiles: list[Rgb]) -> Rgb:
    """Concatenate tiles horizontally with a white gap."""
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([piece for tile in tiles for piece in (tile, gap)][:-1], axis=1)


def main() -> None:
    """Write the gallery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET, help="the WebP file to write")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the cohort")
    arguments = parser.parse_args()
    save_picture(Image.fromarray(gallery(arguments.seed)), arguments.out)


if __name__ == "__main__":
    main()
