"""An export format for the results of slides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.files import write_text
from napari_melanoma.reports.export_formats import ExportedSlide, ExportFormat

if TYPE_CHECKING:
    from pathlib import Path


def write_areas(path: Path, exported: ExportedSlide) -> None:
    """Write a line for each lesion: its number, its class, and its area in pixels of the finest level."""
    lines = [f"{lesion.index} {lesion.label} {lesion.area_px:.0f}\n" for lesion in exported.required_lesions]
    write_text(path, "".join(lines))


AREAS = ExportFormat("Areas of lesions (text)", "areas.txt", "analysis", write_areas)
