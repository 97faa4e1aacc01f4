"""Outlines on slides refined by clicks: Jaccard before and after 1 to 3 clicks of a simulated user, and their time.

Each case is a melanoma on a phantom slide, displayed at 4 micrometers per pixel, whose outline is wrong in one place:
cut off, or bulging, by 20 % of its area. The user clicks in the middle of the largest error. The time is that from the
click to the new outline, with reading the displayed pixels from the file, without drawing it.

    python benchmarks/outline_clicks.py --cases 12
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.imaging.prompts import simulate_click
from napari_melanoma.phantoms.slide import PhantomSlidePlan, SlidePhantomConfig, plan_slide, render_truth
from napari_melanoma.phantoms.slide.config import SectionOptions, SlideLesionOptions
from napari_melanoma.phantoms.slide.render import write_pyramid
from napari_melanoma.slides.map_polygons import rasterize_polygons, simplified_cell_polygons
from napari_melanoma.slides.outline_clicks import OutlineClick, refine_polygons
from napari_melanoma.slides.reading.opening import open_slide

SIDE, LEVEL, WINDOW = 3072, 2, 512
WRONG_SHARE = 0.2
CLICKS = 3
KINDS = ("cut off", "bulging")
Mask = np.ndarray


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12, help="number of slides; half of them of each look family")
    cases = parser.parse_args().cases
    jaccard, seconds = np.zeros((len(KINDS), cases, CLICKS + 1)), []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(cases):
            plan = make_plan(seed)
            path = Path(folder) / f"{seed}.tif"
            write_pyramid(plan, path, RunContext())
            for number, kind in enumerate(KINDS):
                jaccard[number, seed], times = refine(plan, path, kind)
                seconds += times
            path.unlink()
    for kind, found in zip(KINDS, jaccard, strict=True):
        steps = ", ".join(f"{value:.3f}" for value in found.mean(axis=0))
        print(
            f"{kind}: Jaccard before and after 1 to {CLICKS} clicks {steps} (lowest after one {found[:, 1].min():.3f})"
        )
    worse = int((np.diff(jaccard, axis=2) < 0).sum())
    print(f"{worse} of {jaccard[..., 1:].size} clicks made it worse")
    print(f"seconds per click: median {np.median(seconds):.3f}, highest {max(seconds):.3f}")


def make_plan(seed: int) -> PhantomSlidePlan:
    """Plan a slide with one melanoma."""
    lesion = SlideLesionOptions(malignant=1, benign=0, breslow_mm=0.8 + 0.05 * seed, width_mm=1.4, position=0.5)
    section = SectionOptions(width_mm=2.8, depth_mm=2.4)
    family = "train" if seed % 2 else "test"
    return plan_slide(
        SlidePhantomConfig(
            seed=seed, size=(SIDE, SIDE), mpp=1.0, family=family, lesions=lesion, section=section, levels=LEVEL + 1
        )
    )


def refine(plan: PhantomSlidePlan, path: Path, kind: str) -> tuple[list[float], list[float]]:
    """Return the Jaccard index before and after each click, and the seconds of each."""
    step, side = 2.0**LEVEL, SIDE >> LEVEL
    whole = MapPlacement(0.0, 0.0, step, step)
    truth = find_body(render_truth(plan, step, Box(0, 0, side, side)) == 3)
    outline = simplified_cell_polygons(make_wrong(truth, kind, plan.config.seed), whole)
    draw = partial(rasterize_polygons, place=whole, window=Box(0, 0, side, side))
    found = draw(outline)
    jaccard, seconds = [overlap(found, truth)], []
    with open_slide(path) as slide:
        for _ in range(CLICKS):
            at = simulate_click(truth, found)
            if at is not None:
                start = time.perf_counter()
                try:
                    outline = refine_polygons(outline, make_click(slide, at, side))
                except InputError as error:
                    print(f"seed {plan.config.seed}: {error}")
                seconds.append(time.perf_counter() - start)
            found = draw(outline)
            jaccard.append(overlap(found, truth))
    return jaccard, seconds


def find_body(tumor: Mask) -> Mask:
    """Return the main mass of a melanoma, without single nests around it."""
    labels, _ = ndimage.label(ndimage.binary_opening(tumor, iterations=2))
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def make_wrong(truth: Mask, kind: str, seed: int) -> Mask:
    """Cut off a part around a random point of the border, or add one."""
    border = np.argwhere(truth & ~ndimage.binary_erosion(truth))
    row, column = border[np.random.default_rng(seed).integers(len(border))]
    rows, columns = np.ogrid[: truth.shape[0], : truth.shape[1]]
    distance = np.hypot(rows - row, columns - column)
    changeable = truth if kind == "cut off" else ~truth
    radius = np.sort(distance[changeable])[int(WRONG_SHARE * truth.sum())]
    return truth & (distance > radius) if kind == "cut off" else truth | (distance <= radius)


def make_click(slide, at, side: int) -> OutlineClick:  # noqa: ANN001 - a slide and a click
    """Make the click with the window that the Slide dock reads around it."""
    step = 2.0**LEVEL
    top, left = (max(0, value - WINDOW // 2) for value in (at.row, at.column))
    box = Box(top, left, min(side, at.row + WINDOW // 2 + 1) - top, min(side, at.column + WINDOW // 2 + 1) - left)
    placement = MapPlacement(top * step, left * step, step, step)
    point = (at.row + 0.5) * step, (at.column + 0.5) * step
    read = partial(slide.read_region, LEVEL, box)
    return OutlineClick(point, at.include, np.inf, (1.0, 1.0), (SIDE, SIDE), placement, read)


def overlap(found: Mask, truth: Mask) -> float:
    """Jaccard index."""
    return float((found & truth).sum() / (found | truth).sum())


if __name__ == "__main__":
    main()
