"""The patch of a patient: 3 mm x 3 mm of the slide at the thickest place, drawn from the plan and made coarser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.data.phantom.cohort.config import CohortConfig
from napari_melanoma.data.phantom.cohort.patients import Patient
from napari_melanoma.data.phantom.slide.config import SlidePhantomConfig
from napari_melanoma.data.phantom.slide.files import told
from napari_melanoma.data.phantom.slide.kinds import CLASS_OF, Kind
from napari_melanoma.data.phantom.slide.layout import DEEPEST
from napari_melanoma.data.phantom.slide.plan import SlidePlan, plan_slide
from napari_melanoma.data.phantom.slide.render import draw, is_glass
from napari_melanoma.data.phantom.slide.view import label_pixels

UM = 1000.0
# Glass and keratin above the surface, and tissue below the deepest point, that are in view too.
ABOVE_MM, BELOW_MM = 0.2, 0.05
_BLOCK = 512
_TUMOUR = 3


@dataclass(frozen=True)
class Patch:
    """A patch: ``rgb`` uint8 (row, column, channel), ``necrosis`` and ``tumour`` bool (row, column), and its truth."""

    rgb: NDArray[np.uint8]
    necrosis: NDArray[np.bool_]
    tumour: NDArray[np.bool_]
    truth: dict[str, Any]


def slide_config(patient: Patient, config: CohortConfig) -> SlidePhantomConfig:
    """Say which slide a patient has.

    ``config``: says how fine the patches are; the slide's pixels are a whole part of theirs. One section with one
    melanoma; of those who are kept back in a look that is never trained on.
    """
    mpp = config.patch_mm * UM / config.patch_px / coarsening(config)
    depth_mm = max(4.0, patient.depth_mm / DEEPEST + 0.1)
    size = tuple(int(np.ceil(side * UM / mpp)) for side in (1.15 * depth_mm + 1.8, 6.4))
    values = {
        "seed": patient.seed,
        "family": "test" if patient.split == "test" else "train",
        "mpp": mpp,
        "size": size,
        "lesions": {
            "benign": 0,
            "breslow_mm": patient.depth_mm,
            "ulceration": patient.ulcerated,
            "mitoses_per_mm2": patient.mitoses_per_mm2,
            "necrosis": patient.necrosis,
        },
        "section": {"depth_mm": depth_mm},
    }
    return SlidePhantomConfig.parse(values, patient.name)


def coarsening(config: CohortConfig) -> int:
    """Side of a pixel of the patch in pixels of the slide, which are at most a micrometre wide.

    1 or more.
    """
    return int(np.ceil(config.patch_mm * UM / config.patch_px))


def draw_patch(patient: Patient, config: CohortConfig) -> Patch:
    """Draw the patch of a patient.

    With the truth of the slide, as JSON takes it.
    """
    plan = plan_slide(slide_config(patient, config))
    known = told(plan)
    box, fits = patch_box(plan, config)
    step = coarsening(config)
    rgb = _mean(_drawn(plan, Box(box.top * step, box.left * step, box.height * step, box.width * step)), step)
    labels = label_pixels(plan.sections[0], box, step)
    necrosis = labels == Kind.NECROSIS
    truth = {
        "slide": known,
        "patch": {"top": box.top, "left": box.left, "side_px": config.patch_px, "mpp": step * plan.config.mpp},
        "depth_in_view": fits,
        "necrosis_in_view_mm2": round(float(necrosis.sum()) * (step * plan.config.mpp / UM) ** 2, 5),
        "clark": known["sections"][0]["lesions"][0]["clark_level"],
    }
    return Patch(rgb, necrosis, CLASS_OF[labels] == _TUMOUR, truth)


def patch_box(plan: SlidePlan, config: CohortConfig) -> tuple[Box, bool]:
    """Choose what a patch shows.

    Its upper edge lies 0.2 mm above the upper end of the line along which the thickness is measured, and the middle of
    that line, as far down as it fits, lies in the middle of its columns. Of a melanoma thicker than fits (about 2.7 mm)
    the surface and all below it that fits are in view, and the deepest point is not.

    Returns the box in pixels of the patch, counted from the slide's corner, and whether the deepest point is in view.
    """
    (section,) = plan.sections
    (lesion,) = section.lesions
    assert lesion.measure is not None  # a melanoma
    ends = section.frame.to_slide(*np.array(lesion.measure).T) / (config.patch_mm * UM / config.patch_px)
    (left, top), (right, bottom) = ends
    per_mm = config.patch_px / config.patch_mm
    room = config.patch_px - (ABOVE_MM + BELOW_MM) * per_mm
    seen = min(1.0, room / (bottom - top))
    column = left + seen * (right - left) / 2 - config.patch_px / 2
    return Box(int(top - ABOVE_MM * per_mm), int(column), config.patch_px, config.patch_px), bool(seen == 1.0)


def _drawn(plan: SlidePlan, box: Box) -> NDArray[np.uint8]:
    """Pixels of the slide, in blocks: larger ones than those of a pyramid, for each is drawn once."""
    rgb = np.empty((box.height, box.width, 3), np.uint8)
    rgb[:] = plan.look.stain.glass
    for top in range(0, box.height, _BLOCK):
        for left in range(0, box.width, _BLOCK):
            height, width = min(_BLOCK, box.height - top), min(_BLOCK, box.width - left)
            part = Box(box.top + top, box.left + left, height, width)
            if not is_glass(plan, 0, part):
                rgb[top : top + height, left : left + width] = draw(plan, part)
    return rgb


def _mean(rgb: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Mean of squares of ``step`` by ``step`` pixels."""
    rows, columns = rgb.shape[0] // step, rgb.shape[1] // step
    total = rgb.reshape(rows, step, columns, step, 3).sum(axis=(1, 3), dtype=np.uint32)
    return ((total + step * step // 2) // (step * step)).astype(np.uint8)
