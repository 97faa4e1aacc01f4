"""The page of a slide from its result folder alone: the depth that counts, the risk, and what they rest on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.analysis.depth_edits import automatic_reading
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.slide_depth import DEPTH, read_depth
from napari_melanoma.io.slide_folder import RESULT
from napari_melanoma.io.slides.opening import open_slide
from napari_melanoma.io.slides.slide import SlideInfo
from napari_melanoma.workflows.depth_readings import proposed_in
from napari_melanoma.workflows.depth_report import write_depth_report
from napari_melanoma.workflows.risks import RISK
from napari_melanoma.workflows.slide_folders import slide_noted

if TYPE_CHECKING:
    from napari_melanoma.io.slide_depth import Reading, SlideDepth


def has_something_to_report(folder: Path) -> bool:
    """Say whether a folder holds anything that a page of a slide says.

    True where there is a reading, a risk or an analysis.
    """
    return any((folder / name).is_file() for name in (DEPTH, RISK, RESULT))


def write_slide_report(path: Path, folder: Path, slide: Path | None = None, *, scale: PixelSize | None = None) -> Path:
    """Write the page of a slide."""
    depth, found = read_depth(folder), proposed_in(folder)
    latest = max((one for one in depth.readings if one.when), key=lambda one: one.when, default=None)
    info = _info(folder, slide or slide_noted(folder), _scale_of(latest) or scale)
    base = automatic_reading(found, 0, info.pixel_size)
    if latest is None and base.mm is None and not (folder / RISK).is_file():
        said = found.validity.headline(f"The analysis says: {'; '.join(found.notes)}" if found.notes else "")
        said = f" {said}." if said else ""
        raise InputError(f"{folder.name}: neither a thickness nor a risk is known.{said}")
    return write_depth_report(path, info, _named(depth), latest or base, base, folder)


def _named(depth: SlideDepth) -> SlideDepth:
    """The readings that say anything."""
    return depth.model_copy(update={"readings": tuple(one for one in depth.readings if one.when)})


def _scale_of(reading: Reading | None) -> PixelSize | None:
    """What a reading was measured with."""
    if reading is None or reading.um_per_px is None:
        return None
    x_um, y_um = reading.um_per_px
    return PixelSize(y_um, x_um)


def _info(folder: Path, slide: Path | None, given: PixelSize | None) -> SlideInfo:
    """What is known of the slide, also where its file has gone since; a scale that was given counts more than its."""
    if slide is not None:
        try:
            with open_slide(slide) as opened:
                info = opened.info
            own = info.pixel_size
            return info if given is None or (own and own.agrees(given)) else _reopened(slide, given)
        except (MelanomaError, OSError):
            pass
    return SlideInfo(slide or folder, folder.name, "", (), pixel_size=given)


def _reopened(slide: Path, given: PixelSize) -> SlideInfo:
    """The slide with a scale that its file does not say, or says otherwise."""
    with open_slide(slide, given) as opened:
        return opened.info
