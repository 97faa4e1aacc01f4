"""Draw the training tiles of the skin model, which segments melanoma, nevus and the surrounding tissues.

    python scripts/skin_demo_data.py OUT

``OUT/slide-skin`` contains tiles with label images. Slides of the training looks have the split ``train``, those of
unseen looks ``test``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from depth_slides import Spread, depth_config
from numpy.typing import NDArray
from slide_demo_data import DrawnSlide, Labels, Tile, coarse_labels, near_tissue, shrunk, tile_box, write_data_set

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.config import CLASS_OF, FIRST_LESION_LABEL, TissueKind
from napari_melanoma.phantoms.slide.pixels import label_pixels
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import draw_region

SKIN = ("background", "dermis", "epidermis", "naevus", "melanoma")
NAEVUS, MELANOMA = SKIN.index("naevus"), SKIN.index("melanoma")
SKIN_MPP, SKIN_PX = 4.0, 128
SLIDES = {"train": 160, "test": 30}
TILES = {"train": 10, "test": 8}  # tiles per slide
FIRST_SEED = {"train": 30_000, "test": 40_000}
FINE_EVERY = 8  # one of so many slides has half the usual pixel size, as scanners differ
SPREAD = {
    "train": Spread((0.5, 1.4), (0.2, 1.0), naevus=0.75, ulcer=0.35, without_melanoma=0.12),
    "test": Spread(naevus=0.75, without_melanoma=0.1),
}
HARD = (
    TissueKind.STROMA,
    TissueKind.SHEATH,
    TissueKind.SEBACEOUS,
    TissueKind.ECCRINE,
    TissueKind.INFILTRATE,
    TissueKind.MUSCLE,
    TissueKind.NERVE,
)
Places = NDArray[np.floating | np.integer]


def main() -> int:
    """Draw the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    draw_skin(parser.parse_args().out / "slide-skin")
    return 0


def draw_skin(folder: Path) -> None:
    """Draw the data set, unless it exists."""
    if not (folder / "dataset.csv").is_file():
        write_data_set(folder, _slides())


def _slides() -> Iterator[DrawnSlide]:
    """Plan the slides of both families, with their tiles."""
    for family, count in SLIDES.items():
        for number in range(count):
            plan = skin_plan(family, number)
            yield DrawnSlide(f"{family}-{number:03}", plan, tiles_of_skin(plan, TILES[family]))


def skin_plan(family: str, number: int) -> PhantomSlidePlan:
    """Plan a training slide, in a random stain, or a test slide, in the stain of its look."""
    config = depth_config("train" if family == "train" else "test", FIRST_SEED[family] + number, SPREAD[family])
    if number % FINE_EVERY == 0:
        height, width = config.size
        config = config.model_copy(update={"mpp": config.mpp / 2, "size": (2 * height, 2 * width)})
    plan = plan_slide(config)
    return _with_random_stain(plan) if family == "train" else plan


def _with_random_stain(plan: PhantomSlidePlan) -> PhantomSlidePlan:
    """Replace the stain by a random one: with four looks only, the model must not depend on their colors."""
    random = np.random.default_rng(plan.config.seed + 2)
    strength = np.linalg.norm(plan.stains, axis=1, keepdims=True)
    vectors = np.clip(plan.stains / strength + 0.07 * random.standard_normal((4, 3)), 0.01, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(plan, stains=(vectors * strength * np.exp(0.1 * random.standard_normal((4, 1)))).astype(np.float32))


def tiles_of_skin(plan: PhantomSlidePlan, count: int) -> Iterator[Tile]:
    """Draw tiles of a slide with their label images: positions that determine the thickness, and mimics of melanoma."""
    random = np.random.default_rng(plan.config.seed + 1)
    coarse, step = coarse_labels(plan)
    positions = [found for found in _places(plan, coarse, step) if len(found)]
    side = round(SKIN_PX * SKIN_MPP / plan.config.mpp)
    scale = side / SKIN_PX
    for number in range(count):
        candidates = positions[number % len(positions)]
        box = tile_box(candidates[random.integers(len(candidates))], step, (side, SKIN_PX), random, plan)
        labels = skin_truth(plan, scale, Box(round(box.top / scale), round(box.left / scale), SKIN_PX, SKIN_PX))
        yield Tile(shrunk(draw_region(plan, box), SKIN_PX), labels, "")


def skin_truth(plan: PhantomSlidePlan, downsample: float, box: Box) -> Labels:
    """Return the true labels of a part of the slide, with melanoma and nevus.

    ``downsample``: side of a pixel in pixels of level 0; ``box`` is in such pixels. Returns the class at the center of
    each pixel, uint8 (row, column), an index of ``SKIN``.
    """
    classes = np.zeros((box.height, box.width), np.uint8)
    for section in plan.sections:
        class_of = CLASS_OF.copy()
        class_of[TissueKind.NECROSIS] = MELANOMA  # nevi have none
        for lesion in section.lesions:
            class_of[FIRST_LESION_LABEL + lesion.request.index] = (
                MELANOMA if lesion.request.kind == "malignant" else NAEVUS
            )
        classes = np.maximum(classes, class_of[label_pixels(section, box, downsample)])
    return classes


def _places(plan: PhantomSlidePlan, coarse: Labels, step: float) -> list[Places]:
    """Return the positions of each type on the coarse map, in the order of the tiles; the decisive ones occur twice."""
    um = step * plan.config.mpp
    lesions: dict[str, list[int]] = {"malignant": [], "benign": []}
    ends, ulcers, folds = [], [], []
    for section in plan.sections:
        folds += list(section.folds)
        for lesion in section.lesions:
            lesions[lesion.request.kind].append(FIRST_LESION_LABEL + lesion.request.index)
            ends += [section.frame.to_slide(*np.array(lesion.depth_line).T)] if lesion.depth_line else []
            if lesion.ulcer:
                along = np.linspace(*lesion.ulcer, 9)
                ulcers.append(section.frame.to_slide(along, section.layers.depth_at(section.layers.granular, along)))
    melanoma, naevus = (np.argwhere(np.isin(coarse, labels)) for labels in lesions.values())
    surface, deepest = (_on_map([line[[end]] for line in ends], um) for end in (0, 1))
    epidermis, hard = np.argwhere(coarse == TissueKind.EPIDERMIS), np.argwhere(np.isin(coarse, HARD))
    glass = np.argwhere(near_tissue(CLASS_OF[coarse]))
    ulcer, fold = _on_map(ulcers, um), _on_map(folds, um)
    return [deepest, naevus, hard, surface, ulcer, melanoma, epidermis, fold, deepest, naevus, hard, glass]


def _on_map(points_um: list[NDArray[np.floating]], step_um: float) -> Places:
    """Convert points (x, y) on the slide to rows and columns of the coarse map."""
    if not points_um:
        return np.zeros((0, 2))
    return np.concatenate(points_um)[:, ::-1] / step_um - 0.5


if __name__ == "__main__":
    sys.exit(main())
