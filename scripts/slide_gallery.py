"""Draw docs/images/slide-phantom.webp: a phantom slide with its truth, details in full resolution, and all looks."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pictures import save_picture
from PIL import Image

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.appearance import LOOKS
from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import describe_slide_truth, render_region, render_truth

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "slide-phantom.webp"
WIDTH, GAP = 1236, 6
COLORS = np.array([[255, 255, 255], [247, 190, 205], [128, 70, 200], [205, 30, 30]], np.uint8)
Rgb = NDArray[np.uint8]


def gallery(seed: int) -> Rgb:
    """Draw the gallery.

    uint8 sRGB (row, column, channel): the slide and its truth; the melanoma, its deepest position and the nevus at half
    of the full resolution; the same position in each look.
    """
    plan = slide(seed, LOOKS[1].name)
    level = 3
    whole = Box(0, 0, *plan.level_size(level))
    overview = [render_region(plan, level, whole), COLORS[render_truth(plan, 2**level, whole)]]
    (section,) = describe_slide_truth(plan)["sections"]
    melanoma, naevus = section["lesions"]
    top, bottom = melanoma["breslow_line"]
    border = (top[0] + 130, top[1])
    parts = [part(plan, 1, center, 408) for center in (border, bottom, middle(naevus["box"]))]
    looks = [part(slide(seed, look.name), 0, border, 300) for look in LOOKS]
    return joined([fitted(joined(row, axis=1)) for row in (overview, parts, looks)], axis=0)


def slide(seed: int, look: str) -> PhantomSlidePlan:
    """Plan the slide in a look."""
    return plan_slide(
        SlidePhantomConfig.parse(
            {"seed": seed, "size": (4096, 4096), "look": look, "lesions": {"breslow_mm": 0.8, "pigment": 0.35}},
            "the gallery",
        )
    )


def middle(box: list[float]) -> tuple[float, float]:
    """Center of top, left, bottom, right."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def part(plan: PhantomSlidePlan, level: int, center: tuple[float, float], side: int) -> Rgb:
    """Draw a square around a position (row, column) of level 0."""
    row, column = (int(at / 2**level) - side // 2 for at in center)
    return render_region(plan, level, Box(row, column, side, side))


def fitted(row: Rgb) -> Rgb:
    """Scale to the width of the gallery."""
    height = round(row.shape[0] * WIDTH / row.shape[1])
    return np.asarray(Image.fromarray(row).resize((WIDTH, height), Image.Resampling.LANCZOS))


def joined(tiles: list[Rgb], axis: int) -> Rgb:
    """Concatenate tiles horizontally (axis 1) or vertically (axis 0), with a white gap."""
    gap = np.full([GAP if index == axis else size for index, size in enumerate(tiles[0].shape)], 255, np.uint8)
    return np.concatenate([piece for tile in tiles for piece in (tile, gap)][:-1], axis=axis)


def main() -> None:
    """Write the gallery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET, help="the WebP file to write")
    parser.add_argument("--seed", type=int, default=8, help="random seed of the slide")
    arguments = parser.parse_args()
    save_picture(Image.fromarray(gallery(arguments.seed)), arguments.out)


if __name__ == "__main__":
    main()
