"""Draw the training tiles of the demonstration model that classifies tiles of slides.

    python scripts/slide_demo_data.py OUT

``OUT/slide-tiles`` contains tiles with their tissue in a column. Slides of the training looks have the split ``train``,
those of unseen looks ``test``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.io.results import write_labels, write_rgb, write_table
from napari_melanoma.phantoms.slide.config import (
    CLASS_OF,
    FIRST_LESION_LABEL,
    SectionOptions,
    SlideArtifactOptions,
    SlideLesionOptions,
    SlidePhantomConfig,
)
from napari_melanoma.phantoms.slide.pixels import label_pixels
from napari_melanoma.phantoms.slide.plan import PhantomSlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import draw_region

Labels = NDArray[np.uint8]
ANSWERS = ("benign tissue", "naevus", "melanoma")
SIDE_PX = 128
TILE_MPP = 1.0
SIDE_MM = 3.0  # side of a slide
SLIDES = {"train": 96, "test": 30}
TILES = {"train": 16, "test": 10}  # tiles per slide
FINE = 0.5  # micrometers per pixel of most slides; some have twice that, as scanners differ
ENOUGH = 0.2  # share of a tile covered by a lesion from which it has its class
SPLIT = {"train": "train", "test": "test"}


@dataclass(frozen=True)
class Tile:
    """A tile of a slide: its pixels, and either the class of each pixel or its tissue."""

    rgb: NDArray[np.uint8]
    labels: Labels
    answer: str


@dataclass(frozen=True)
class DrawnSlide:
    """A slide, and its tiles, which are drawn on demand."""

    name: str
    plan: PhantomSlidePlan
    tiles: Iterable[Tile]


def main() -> int:
    """Draw the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    draw_tiles(parser.parse_args().out / "slide-tiles")
    return 0


def draw_tiles(folder: Path) -> None:
    """Draw the data set, unless it exists."""
    if not (folder / "dataset.csv").is_file():
        write_data_set(folder, _slides())


def _slides() -> Iterator[DrawnSlide]:
    """Plan the slides of both families, with their tiles."""
    for family, count in SLIDES.items():
        for number in range(count):
            plan = plan_slide(slide_config(family, number))
            yield DrawnSlide(f"{family}-{number:03}", plan, tiles_to_tell(plan, TILES[family]))


def write_data_set(folder: Path, slides: Iterable[DrawnSlide]) -> None:
    """Write the tiles of slides as a data set; its table is written last."""
    rows = []
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for slide in slides:
        for index, tile in enumerate(slide.tiles):
            name, look = f"{slide.name}-{index:02}", slide.plan.look
            write_rgb(folder / "images" / f"{name}.png", tile.rgb)
            row = {"image_id": name, "patient_id": slide.name, "split": SPLIT[look.family], "look": look.name}
            if tile.labels.size:
                write_labels(folder / "masks" / f"{name}.png", tile.labels)
            else:
                row["tissue"] = tile.answer
            rows.append(row)
    write_table(folder / "dataset.csv", rows)


def slide_config(family: str, number: int) -> SlidePhantomConfig:
    """Return the configuration of a slide: small pieces of skin with all types of lesions, some with artifacts."""
    seed = 10_000 * list(SLIDES).index(family) + 11_000 + number
    random = np.random.default_rng(seed)
    mpp = 1.0 if family == "train" and number % 3 else FINE
    side = 256 * round(SIDE_MM * 1000 / mpp / 256)
    return SlidePhantomConfig(
        seed=seed,
        family=family,
        size=(side, side),
        mpp=mpp,
        stain_strength=float(random.uniform(0.75, 1.25)),
        stain_variation=1.0 if family == "train" else 0.4,
        lesions=SlideLesionOptions(
            malignant=int(random.integers(0, 2) + (number % 4 > 0)) % 2 + (number % 5 == 0),
            benign=1 + int(random.random() < 0.3),
            breslow_mm=float(random.uniform(0.3, 1.6)),
        ),
        section=SectionOptions(oblique_deg=float(random.choice([0, 0, 25]))),
        artefacts=SlideArtifactOptions(
            pens=int(random.random() < 0.15), folds=int(random.random() < 0.3), defocus=int(random.random() < 0.3)
        ),
    )


def tiles_to_tell(plan: PhantomSlidePlan, count: int) -> Iterator[Tile]:
    """Draw tiles of a slide with their tissue: each lesion, dermis and epidermis in turn, including borders."""
    random = np.random.default_rng(plan.config.seed + 1)
    coarse, step = coarse_labels(plan)
    names = _answers(plan)
    side = round(SIDE_PX * TILE_MPP / plan.config.mpp)
    classes = CLASS_OF[coarse]
    kinds = [np.isin(coarse, [label for label, own in names.items() if own == name]) for name in ANSWERS[1:]]
    where = [
        positions for positions in map(np.argwhere, (classes == 1, *kinds, classes == 2, *kinds)) if len(positions)
    ]
    for number in range(count):
        positions = where[number % len(where)]
        box = tile_box(positions[random.integers(len(positions))], step, (side, SIDE_PX), random, plan)
        yield Tile(shrunk(draw_region(plan, box), SIDE_PX), np.zeros((0, 0), np.uint8), _answer(plan, box, names))


def coarse_labels(plan: PhantomSlidePlan) -> tuple[Labels, float]:
    """Return the labels of the whole slide at 16 micrometers per pixel, and the size of such a pixel in level 0.

    uint8 (row, column), labels as ``label_pixels`` gives them.
    """
    step = 16 / plan.config.mpp
    rows, columns = (int(side / step) for side in plan.config.size)
    labels = np.zeros((rows, columns), np.uint8)
    for section in plan.sections:
        labels = np.maximum(labels, label_pixels(section, Box(0, 0, rows, columns), step))
    return labels, step


def _answers(plan: PhantomSlidePlan) -> dict[int, str]:
    """Return the class of each lesion label."""
    words = {"malignant": "melanoma", "benign": "naevus"}
    return {
        FIRST_LESION_LABEL + lesion.request.index: words[lesion.request.kind]
        for part in plan.sections
        for lesion in part.lesions
    }


def _answer(plan: PhantomSlidePlan, box: Box, names: dict[int, str]) -> str:
    """Return the class of a tile: the lesion that covers most of it, if it is enough."""
    scale = box.height / 32
    small = Box(round(box.top / scale), round(box.left / scale), 32, 32)
    labels = np.zeros((32, 32), np.uint8)
    for section in plan.sections:
        labels = np.maximum(labels, label_pixels(section, small, scale))
    shares = dict.fromkeys(ANSWERS[1:], 0.0)
    for label, name in names.items():
        shares[name] += float((labels == label).mean())
    most = max(shares, key=lambda name: shares[name])
    return most if shares[most] >= ENOUGH else ANSWERS[0]


def tile_box(
    position: NDArray[np.int64],
    step: float,
    sides: tuple[int, int],
    random: np.random.Generator,
    plan: PhantomSlidePlan,
) -> Box:
    """Place a tile at random over a position of the coarse map, aligned with its own pixels.

    ``position``: row and column of the coarse map, whose pixels have the side ``step`` in level 0. ``sides``: of the
    tile in pixels of level 0, and in its own. Returns pixels of level 0.
    """
    side, scale = sides[0], max(1, sides[0] // sides[1])
    edges = []
    for at, limit in zip(position, plan.config.size, strict=True):
        first = (at + 0.5) * step - random.uniform(0.05, 0.95) * side
        edges.append(int(np.clip(first, 0, limit - side)) // scale * scale)
    return Box(edges[0], edges[1], side, side)


def near_tissue(classes: Labels) -> NDArray[np.bool_]:
    """Mark glass within 200 micrometers of the section.

    ``classes``: uint8 (row, column), 0 is glass, 16 micrometers per pixel. Returns bool (row, column).
    """
    from scipy.ndimage import binary_dilation

    tissue = classes > 0
    return binary_dilation(tissue, iterations=12) & ~tissue


def shrunk(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Average blocks of pixels, as in the levels of a slide.

    ``rgb``: uint8 (row, column, channel), square, a multiple of ``side``.
    """
    factor = rgb.shape[0] // side
    parts = rgb.reshape(side, factor, side, factor, 3).astype(np.float32)
    return parts.mean((1, 3)).round().astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
