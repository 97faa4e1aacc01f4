"""Breslow thickness that a painted tissue classifier suggests, on phantoms of known thickness.

A classifier is fitted on ten strokes of each class of one phantom, and applied to others in the same look, and in looks
that were not painted. Reported for each look are the errors of the thickness in mm, without those suggestions that are
marked as a lower bound or as not connected to the surface; and how many slides are marked as out of distribution.

Example: ``python benchmarks/tissue_depth.py --slides 10``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.depth.breslow_candidates import DETACHED
from napari_melanoma.phantoms.slide import SlidePhantomConfig, plan_slide, render_region, render_truth
from napari_melanoma.phantoms.slide.config import SectionOptions, SlideLesionOptions
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
from napari_melanoma.slides.tissue_classifier.cells import CELL_UM
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, fit_tissue_classifier
from napari_melanoma.slides.tissue_classifier.strokes import Stroke

CLASSES = ("background", "dermis", "epidermis", "tumor")  # in the order of the truth
SIDE, STROKES = 3072, 10  # pixels of 1 um; strokes of each class
THINNEST_MM, THICKEST_MM, PAINTED_MM = 0.3, 1.0, 0.8
PARTS, PURE = 4, 0.95  # parts of the side of a cell with a known class; share of one class in a painted cell


def plan_phantom(seed: int, mm: float, look: dict[str, Any]) -> Any:  # noqa: ANN401 - a plan of a phantom slide
    """Plan a section of skin with one melanoma, at any angle."""
    lesions = SlideLesionOptions(malignant=1, benign=0, breslow_mm=mm, width_mm=0.7 + mm / 2)
    section = SectionOptions(width_mm=2.0, depth_mm=0.6 + 1.2 * mm, rotation_deg=(37 * seed) % 180)
    return plan_slide(SlidePhantomConfig(seed=seed, size=(SIDE, SIDE), mpp=1, lesions=lesions, section=section, **look))


def write_phantom(plan: Any, path: Path) -> Path:  # noqa: ANN401 - a plan of a phantom slide
    """Write a phantom with its pixel size."""
    rgb = render_region(plan, 0, Box(0, 0, SIDE, SIDE))
    tifffile.imwrite(
        path, rgb, photometric="rgb", tile=(256, 256), metadata=None, resolution=(1e4, 1e4), resolutionunit="CENTIMETER"
    )
    return path


def paint(plan: Any) -> tuple[Stroke, ...]:  # noqa: ANN401 - a plan of a phantom slide
    """Paint strokes: up to nine cells of one class around a random cell of this class."""
    random, strokes, parts = np.random.default_rng(0), [], SIDE * PARTS // CELL_UM
    truth = render_truth(plan, CELL_UM / PARTS, Box(0, 0, parts, parts)).reshape(-1, PARTS, parts // PARTS, PARTS)
    for label, name in enumerate(CLASSES):
        pure = np.argwhere((truth == label).mean(axis=(1, 3)) >= PURE)
        for number, cell in enumerate(random.permutation(pure)[:STROKES]):
            near = pure[np.abs(pure - cell).max(axis=1) <= 1]
            points = tuple((CELL_UM * (y + 0.5), CELL_UM * (x + 0.5)) for y, x in near.tolist())
            strokes.append(Stroke(f"{name}-{number}", name, "cells", points))
    return tuple(strokes)


def measure(plan: Any, mm: float, model: Path, folder: Path) -> tuple[float, bool]:  # noqa: ANN401 - a phantom slide
    """Return the error of the suggested thickness in mm, NaN without one; and whether it is out of distribution."""
    slide = write_phantom(plan, folder / "slide.tif")
    content = analyze_slide(slide, folder / "result", SlideOptions(model=str(model)), RunContext(), force=True).content
    depth, found = content["depth"] or {}, content["breslow_mm"]
    is_marked = found is None or depth["at_least"] or DETACHED in depth["notes"]
    print(f"{mm:.2f} mm: {found}, {'; '.join(depth.get('notes', ()))}", flush=True)
    outside = any(reason["code"] == "out_of_distribution" for reason in content["validity"]["reasons"])
    return (np.nan if is_marked else found - mm), outside


def main() -> None:
    """Print the errors for the painted look, and for looks that were not painted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=10, help="phantoms of each look")
    slides = parser.parse_args().slides
    painted: dict[str, Any] = {"look": "meadow", "stain_variation": 0.0}
    with TemporaryDirectory() as name:
        folder = Path(name)
        plan = plan_phantom(1000, PAINTED_MM, painted)
        slide = PaintedSlideFile(write_phantom(plan, folder / "painted.tif"), paint(plan))
        classifier = fit_tissue_classifier([slide])
        model = write_tissue_bundle(folder / "model", classifier).path
        print(f"{classifier.source}, {classifier.cell_classifier.kind}: {classifier.validation.accuracy}", flush=True)
        for title, look in (("the painted look", painted), ("other looks", {"family": "test"})):
            sizes = np.linspace(THINNEST_MM, THICKEST_MM, slides).round(2).tolist()
            found = [measure(plan_phantom(seed, mm, look), mm, model, folder) for seed, mm in enumerate(sizes)]
            errors = np.array([error for error, _ in found])
            known = errors[np.isfinite(errors)]
            print(
                f"{title}: {len(known)} of {slides} measured, error {known.mean():+.3f} mm, mean absolute "
                f"{np.abs(known).mean():.3f}, 90 % below {np.quantile(np.abs(known), 0.9):.3f}, largest "
                f"{np.abs(known).max():.3f}; {sum(outside for _, outside in found)} out of distribution",
                flush=True,
            )


if __name__ == "__main__":
    main()
