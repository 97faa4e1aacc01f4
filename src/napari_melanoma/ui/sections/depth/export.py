"""Write the report of a depth reading, and add the reading to the open case."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError
from napari_melanoma.depth.t_category import describe_contradiction
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.session.depth import DepthState
    from napari_melanoma.ui.session.report_file import ReportFile
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.widgets.job import JobFunction


def export_report(session: SlideSession, file: ReportFile) -> None:
    """Ask for a file, and write the report of the reading."""
    info, title = session.slide.info, "Save the report of the reading"

    def prepare(path: Path) -> JobFunction:
        lesion = find_slide_lesion(session.services.window, session.slide)
        return partial(_write_report, path, info, session.depth.state, session.folder, lesion)

    file.choose("depth_report_dialog", title, f"{info.name}-depth.html", prepare)


def add_to_case(session: SlideSession) -> str:
    """Set depth, ulceration, Clark level and mitoses of the slide's lesion in the open case; return a message."""
    from napari_melanoma.reports.slide import save_readings_to_case, set_lesion_reading

    reading = session.depth.state.reading
    if contradiction := describe_contradiction(reading.mm, reading.clark):
        raise InputError(f"the reading was not added to the case. {contradiction}")
    controller, image = find_open_case(session.services.window, session.slide)
    changed = set_lesion_reading(controller.case, image.id, reading)
    save_readings_to_case(controller.store.folder, image.id, session.depth.value)
    controller.edit(changed, "what was read from the slide")
    return f"Added to the case, with {image.path.name}: depth, ulceration, Clark level, mitoses, as far as known."


def _write_report(
    path: Path, info: SlideInfo, state: DepthState, folder: Path, lesion: CaseLesion | None, run: RunContext
) -> Path:
    """Write the report, with the risk if it was estimated; ``lesion``: of the slide in the open case."""
    from napari_melanoma.reports.report_sections import SlidePart
    from napari_melanoma.reports.slide import write_depth_report

    part = SlidePart.from_folder(folder, lesion, info.path)
    return write_depth_report(path, info, state.readings, state.reading, state.automatic_reading, part)
