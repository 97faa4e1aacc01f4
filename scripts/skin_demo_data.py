"""Draw the tiles that the model of skin learns from, which tells melanoma from naevus and from all that is around.

    python scripts/skin_demo_data.py OUT

``OUT/slide-skin`` has tiles with label images. Slides of the looks for training are split ``train``, those of looks
that no training slide has are ``val``.
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
from napari_melanoma.phantoms.slide.ground import label_pixels
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import draw_region

SKIN = ("background", "dermis", "epidermis", "naevus", "melanoma")
NAEVUS, MELANOMA = SKIN.index("naevus"), SKIN.index("melanoma")
SKIN_MPP, SKIN_PX = 4.0, 128
SLIDES = {"train": 160, "test": 30}
TILES = {"train": 10, "test": 8}  # of each slide
FIRST_SEED = {"train": 30_000, "test": 40_000}
FINE_EVERY = 8  # so many slides are drawn at half the usual size of a pixel, as scanners differ
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
    """Draw the data set, where it is not there.

    Parameters
    ----------
    folder : pathlib.Path
        Its own.
    """
    if not (folder / "dataset.csv").is_file():
        write_data_set(folder, _slides())


def _slides() -> Iterator[DrawnSlide]:
    """Plan the slides of both families, with the tiles that are cut from each."""
    for family, count in SLIDES.items():
        for number in range(count):
            plan = skin_plan(family, number)
            yield DrawnSlide(f"{family}-{number:03}", plan, tiles_of_skin(plan, TILES[family]))


def skin_plan(family: str, number: int) -> PhantomSlidePlan:
    """Plan a slide to learn from, in a stain of its own; or one to judge by, in the stain of its look.

    Parameters
    ----------
    family : {"train", "test"}
        Of the looks.
    number : int
        Of the slide.

    Returns
    -------
    SlidePlan
        The same for the same arguments.
    """
    config = depth_config("train" if family == "train" else "test", FIRST_SEED[family] + number, SPREAD[family])
    if number % FINE_EVERY == 0:
        height, width = config.size
        config = config.model_copy(update={"mpp": config.mpp / 2, "size": (2 * height, 2 * width)})
    plan = plan_slide(config)
    return _stained_anew(plan) if family == "train" else plan


def _stained_anew(plan: PhantomSlidePlan) -> PhantomSlidePlan:
    """Stain a slide as no look does: four looks are few, and what is learnt shall not hang on their colours."""
    random = np.random.default_rng(plan.config.seed + 2)
    strength = np.linalg.norm(plan.stains, axis=1, keepdims=True)
    vectors = np.clip(plan.stains / strength + 0.07 * random.standard_normal((4, 3)), 0.01, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(plan, stains=(vectors * strength * np.exp(0.1 * random.standard_normal((4, 1)))).astype(np.float32))


def tiles_of_skin(plan: PhantomSlidePlan, count: int) -> Iterator[Tile]:
    """Draw tiles of a slide with their label images: what decides a thickness, and what is taken for a melanoma.

    Parameters
    ----------
    plan : SlidePlan
        What is on the slide.
    count : int
        How many.

    Yields
    ------
    Tile
        Its answer is empty.
    """
    random = np.random.default_rng(plan.config.seed + 1)
    coarse, step = coarse_labels(plan)
    places = [found for found in _places(plan, coarse, step) if len(found)]
    side = round(SKIN_PX * SKIN_MPP / plan.config.mpp)
    scale = side / SKIN_PX
    for number in range(count):
        wanted = places[number % len(places)]
        box = tile_box(wanted[random.integers(len(wanted))], step, (side, SKIN_PX), random, plan)
        labels = skin_truth(plan, scale, Box(round(box.top / scale), round(box.left / scale), SKIN_PX, SKIN_PX))
        yield Tile(shrunk(draw_region(plan, box), SKIN_PX), labels, "")


def skin_truth(plan: PhantomSlidePlan, downsample: float, box: Box) -> Labels:
    """Say what is true of a part of the slide, lesions told apart.

    Parameters
    ----------
    plan : SlidePlan
        What is on the slide.
    downsample : float
        Side of a pixel in pixels of level 0.
    box : Box
        In such pixels.

    Returns
    -------
    numpy.ndarray
        Class at the centre of each pixel, uint8 (row, column), a number of ``SKIN``.
    """
    classes = np.zeros((box.height, box.width), np.uint8)
    for section in plan.sections:
        told = CLASS_OF.copy()
        told[TissueKind.NECROSIS] = MELANOMA  # naevi have none
        for lesion in section.lesions:
            told[FIRST_LESION_LABEL + lesion.request.index] = MELANOMA if lesion.request.kind == "malignant" else NAEVUS
        classes = np.maximum(classes, told[label_pixels(section, box, downsample)])
    return classes


def _places(plan: PhantomSlidePlan, coarse: Labels, step: float) -> list[Places]:
    """Give the places of each kind on the coarse map, in the order in which tiles are cut: those that decide twice."""
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
    """Turn points (x, y) on the slide into rows and columns of the coarse map."""
    if not points_um:
        return np.zeros((0, 2))
    return np.concatenate(points_um)[:, ::-1] / step_um - 0.5


if __name__ == "__main__":
    sys.exit(main())
