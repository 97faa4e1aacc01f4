"""A phantom slide with strokes on its known tissue, and the true class of each cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tifffile

from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide import SlidePhantomConfig, plan_slide, render_region, render_truth
from napari_melanoma.phantoms.slide.config import SectionOptions, SlideLesionOptions
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile
from napari_melanoma.slides.tissue_classifier.strokes import Stroke

CLASSES = {"glass": (230, 230, 230), "dermis": (0, 158, 115), "epidermis": (0, 90, 255), "tumor": (200, 0, 0)}
BRESLOW_MM = 0.6
MPP, CELL_PX, PARTS = 1.0, 32, 4  # parts of a cell, along each side, of which the class is known
PURE = 0.95  # share of one class in a painted cell


@dataclass(frozen=True)
class Phantom:
    """A slide; ``truth``: share of each class in each cell, float (row, column, class)."""

    path: Path
    truth: np.ndarray

    def strokes(self, count: int, seed: int = 0) -> tuple[Stroke, ...]:
        """Paint strokes of each class: three to nine cells in a square around a cell of this class."""
        random, strokes = np.random.default_rng(seed), []
        for label, name in enumerate(CLASSES):
            pure = np.argwhere(self.truth[..., label] >= PURE)
            for number, (row, column) in enumerate(random.permutation(pure)[:count].tolist()):
                near = pure[np.abs(pure - (row, column)).max(axis=1) <= 1]
                points = tuple((CELL_PX * (y + 0.5), CELL_PX * (x + 0.5)) for y, x in near.tolist())
                strokes.append(Stroke(f"{self.path.stem}-{name}-{number}", name, "cells", points, date="2026-01-01"))
        return tuple(strokes)

    def painted(self, count: int = 5, folder: Path | None = None) -> PaintedSlideFile:
        return PaintedSlideFile(self.path, self.strokes(count), folder, dict(CLASSES))


def draw_phantom(path: Path, seed: int = 3, side: int = 1536) -> Phantom:
    """Write a slide of 1 micrometer per pixel with skin and a melanoma of 0.6 mm."""
    rgb, truth = render_phantom(seed, side)
    scale = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(256, 256), metadata=None, **scale)  # type: ignore[arg-type]
    return Phantom(path, truth)


@cache
def render_phantom(seed: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels, and the share of each class in each cell."""
    lesions = SlideLesionOptions(malignant=1, benign=0, breslow_mm=BRESLOW_MM, width_mm=0.7)
    section = SectionOptions(width_mm=1.3, depth_mm=1.0, rotation_deg=0.0)
    plan = plan_slide(SlidePhantomConfig(seed=seed, size=(side, side), mpp=MPP, lesions=lesions, section=section))
    parts, cells = side * PARTS // CELL_PX, side // CELL_PX
    truth = np.eye(len(CLASSES))[render_truth(plan, CELL_PX / PARTS, Box(0, 0, parts, parts))]
    shares = truth.reshape(cells, PARTS, cells, PARTS, -1).mean(axis=(1, 3))
    return render_region(plan, 0, Box(0, 0, side, side)), shares


CHANNELS = ("DAPI", "Collagen", "Melanin")  # of the fluorescence phantom
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))  # optical densities that they replace
OFFSET, SIGNAL = 200, 1500  # of the camera, and for a unit of optical density


def draw_fluorescence(phantom: Phantom, path: Path) -> Phantom:
    """Write a phantom as fluorescence: 16-bit channels of the amounts of its stains, dark where there is no tissue."""
    density = -np.log((tifffile.imread(phantom.path).astype(float) + 1) / 245)
    stains = np.array(STAINS) / np.linalg.norm(STAINS, axis=1, keepdims=True)
    amounts = np.clip(density @ np.linalg.inv(stains), 0, None)
    counts = np.random.default_rng(0).poisson(OFFSET + SIGNAL * amounts).astype(np.uint16)
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": list(CHANNELS)},
        **{f"PhysicalSize{axis}": MPP for axis in "XY"},
        **{f"PhysicalSize{axis}Unit": "µm" for axis in "XY"},
    }
    tifffile.imwrite(path, np.moveaxis(counts, 2, 0), photometric="minisblack", tile=(256, 256), metadata=metadata)
    return Phantom(path, phantom.truth)
