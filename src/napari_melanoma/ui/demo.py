"""The demonstration: a sample, analyzed in napari, with its screenshot, results and report in a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError, SaveError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.ui.launch import open_and_analyze, process_events, wait_for
from napari_melanoma.ui.viewer.docking import SLIDE_DOCK, show_dock
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.case.model import Case
    from napari_melanoma.ui.case.dock import CaseDock
    from napari_melanoma.ui.lesion.dock import LesionDock
    from napari_melanoma.ui.slide.dock import SlideDock

WINDOW_PX = (1500, 1150)  # width and height
CASE_FOLDER = "case"
REPORT = "report.html"
NO_TISSUE_MODEL = (
    f"the demonstration of a slide needs the tissue model '{DEFAULT_TILE_MODEL}', which is not installed. Reinstall "
    "napari-melanoma, or add the model with `napari-melanoma models import`."
)
Subject = Literal["lesion", "slide", "case"]


def run_demo(image: Path | None, out: Path, subject: Subject = "lesion", *, headless: bool = False) -> int:
    """Show an analyzed sample in napari, and write a screenshot, the results and a report to the folder ``out``.

    ``image``: a photograph instead of a sample. ``subject``: which sample. ``headless``: whether to close the window at
    once. Returns the exit status.
    """
    import napari

    viewer = napari.Viewer()
    try:
        if subject == "lesion":
            dock = _show_lesion(viewer, image, out)
        else:
            dock = _show_slide(viewer, out) if subject == "slide" else _show_case(viewer, out)
        process_events(0.5)  # lets the last layers be drawn
        _save_picture(dock, out / "screenshot.png")
    except BaseException:
        viewer.close()
        raise
    if headless:
        viewer.close()
    else:
        napari.run()
    return 0


def _show_lesion(viewer: Viewer, image: Path | None, out: Path) -> QWidget:
    """Analyze a photograph, by default a melanoma with its published mask, and show the measurements."""
    from qtpy.QtWidgets import QScrollArea, QTableView

    from napari_melanoma.ui.sections.published import PublishedSection

    dock: Any = show_dock(viewer, "Lesion")
    dock.window().resize(*WINDOW_PX)
    open_and_analyze(dock, image)
    _write_lesion(dock, out)
    published = dock.findChild(PublishedSection)
    if published is not None:
        published.toggle_mask()
    process_events(0.5)  # lets the sections grow
    table = dock.findChild(QTableView, "measurements")
    dock.findChild(QScrollArea, "lesion_scroll").ensureWidgetVisible(table, 0, 0)
    return dock


def _write_lesion(dock: LesionDock, out: Path) -> None:
    """Write the saved results and the report of the photograph."""
    from napari_melanoma.imaging.masks import draw_overlay
    from napari_melanoma.lesion.analysis import describe_result
    from napari_melanoma.reports.lesion import write_lesion_report
    from napari_melanoma.ui.lesion.saving import result_folder, save_result

    session = dock.picker.session
    assert session is not None
    assert session.lesion is not None
    result = dock.predictions.add_prediction(session, session.lesion)
    save_result(result, result.photograph.name, result_folder(out, result.photograph.name))
    overlay = draw_overlay(result.photograph.rgb, result.mask)
    write_lesion_report(out / REPORT, result.photograph, describe_result(result), overlay, result.roi)


def _show_slide(viewer: Viewer, out: Path) -> QWidget:
    """Map the tissue of the skin slide; its results are where the Slide dock stores them."""
    from napari_melanoma.models.installed_bundles import list_bundles

    if DEFAULT_TILE_MODEL not in {bundle.name for bundle in list_bundles()}:
        raise MelanomaError(NO_TISSUE_MODEL)
    dock: SlideDock = show_dock(viewer, SLIDE_DOCK)  # type: ignore[assignment]
    dock.window().resize(*WINDOW_PX)
    errors: list[Exception] = []
    dock.opener.failed.connect(errors.append)
    dock.opener.open_sample()
    wait_for(lambda: dock.context.location is not None and tasks.is_idle(), errors, "the slide to open")
    dock.model_picker.model = DEFAULT_TILE_MODEL
    dock.model_picker.changed.emit()
    wait_for(dock.analyze_button.isEnabled, errors, "the model")
    dock.analyze_button.click()
    session = dock.context.session
    assert session is not None
    wait_for(lambda: bool(session.results.value.content) and tasks.is_idle(), errors, "the analysis")
    location = dock.context.result_location
    assert location is not None
    _write_report(location.folder, out)
    return dock


def _show_case(viewer: Viewer, out: Path) -> QWidget:
    """Classify the two lesions of a patient, in a case in the folder."""
    dock: CaseDock = show_dock(viewer, "Case")  # type: ignore[assignment]
    dock.window().resize(*WINDOW_PX)
    errors: list[Exception] = []
    for source in (dock.importer, dock.controller, dock.predictor):
        source.failed.connect(errors.append)
    folder = out / CASE_FOLDER
    dock.importer.open_sample(folder)
    wait_for(lambda: dock.controller.case is not None and tasks.is_idle(), errors, "the case to open")
    images = [image.id for _, image in _read_case(dock).iterate_images()]
    for image in reversed(images):  # the melanoma last: it stays in view
        dock.tree.opened.emit(image)
        wait_for(partial(_is_analyzed, dock, image), errors, "the analysis")
    dock.predict_button.click()
    wait_for(partial(_is_classified, dock), errors, "the predictions")
    _write_report(folder, out)
    return dock


def _read_case(dock: CaseDock) -> Case:
    case = dock.controller.case
    assert case is not None
    return case


def _is_analyzed(dock: CaseDock, image_id: str) -> bool:
    return tasks.is_idle() and any(
        image.id == image_id and image.results for _, image in _read_case(dock).iterate_images()
    )


def _is_classified(dock: CaseDock) -> bool:
    return tasks.is_idle() and dock.predictor.current_predictions.keys() == {
        lesion.id for lesion in _read_case(dock).lesions
    }


def _write_report(folder: Path, out: Path) -> None:
    from napari_melanoma.figures.page import write_report
    from napari_melanoma.reports.case_report import collect_report

    write_report(out / REPORT, collect_report((folder,), personal=True, run=RunContext()).report)


def _save_picture(dock: QWidget, path: Path) -> None:
    picture = dock.window().grab()
    with atomic_file(path) as temporary:
        if not picture.save(str(temporary)):
            raise SaveError(f"cannot write {path}. Select another folder.")
