"""The automatic measurement of the depth of a slide, which runs in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtGui import QHideEvent, QShowEvent

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.depth.readings import parse_proposals
from napari_melanoma.io.geojson import Annotation, write_geojson
from napari_melanoma.slides.marked_tumor import select_tumor
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.session.run_status import SlideRunPanel, SlideRunReader, SlideRunUpdate
from napari_melanoma.ui.viewer.slide_layers import describe_set_scale
from napari_melanoma.ui.widgets.job import is_job_running, run_job
from napari_melanoma.ui.widgets.signals import follow
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

STARTING = "Starting ..."
TUMOR_FILE = "tumor.geojson"  # outlines that a depth was measured to, beside the folder of its analysis
BACKGROUND_MESSAGE = "Measuring the depth. This continues if you close napari."


class DepthAnalysis(SlideRunPanel):
    """Start the depth analysis of a slide, and follow it while its section is visible.

    ``finished``: whether there are proposals, and whether the result is valid. ``changed``: the models or the state of
    the analysis. ``models``: names of the models that detect tumor and epidermis; None until they are listed.
    ``surface_models``: those that detect the epidermis only, and measure a tumor that the reader has outlined.
    """

    finished = Signal(bool, bool)
    changed = Signal()

    def __init__(self, session: SlideSession) -> None:
        super().__init__()
        self.setObjectName("depth_run")
        self._session, self._status_line = session, session.services.status
        self._is_unfinished = False  # it was seen running, or was started here
        self.models: tuple[str, ...] | None = None
        self.surface_models: tuple[str, ...] = ()
        self._fail = partial(show_failure, self._status_line)
        self.updated.connect(self._on_run_update)
        self.failed.connect(self._fail)
        self.resume_requested.connect(self.start)
        self.detached.connect(partial(self.set_folder, None))
        follow(self, session.displayed.changed, self._on_displayed)
        follow(self, session.regions.changed, lambda _: self.changed.emit())
        self._find_run()

    @property
    def is_running(self) -> bool:
        return is_job_running(self, STARTING) or self.active

    @property
    def tumor(self) -> tuple[Annotation, ...]:
        """The regions that the reader has outlined as tumor; empty if no model can measure them."""
        return select_tumor(self._session.regions.value) if self.surface_models else ()

    @property
    def model(self) -> str:
        """Name of the model to measure with: for an outlined tumor, one that detects the epidermis only."""
        return next(iter(self.surface_models if self.tumor else self.models or ()), "")

    def start(self) -> None:
        """Start or resume the analysis, unless it is already being started."""
        if not is_job_running(self, STARTING):
            session = self._session
            work = partial(_launch_analysis, session.slide.info, session.folder, self.model, self.tumor)
            self._status_line.run(self, STARTING, work, self._on_launched).finished.connect(self.changed)
            self.changed.emit()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the analysis while the panel is visible."""
        super().showEvent(event)
        self.watch.set_active(self.watch.path is not None)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop following the analysis, which continues."""
        super().hideEvent(event)
        if not self.isHidden():  # a parent was hidden
            self.watch.set_active(False)

    def _create_reader(self, path: Path) -> SlideRunReader:
        return SlideRunReader(path)  # its heatmap is not displayed

    def _find_run(self) -> None:
        """List the models, of which some may have been installed, and find an analysis that was started."""
        work = partial(_find_models_and_run, self._session.location, self._session.slide.info.path)
        run_job(self, "run", work, self._on_run_found, self._fail)

    def _on_displayed(self, displayed: bool) -> None:
        self.watch.set_active(displayed and self.watch.path is not None)
        if displayed:
            self._find_run()

    def _on_run_found(self, result: tuple[tuple[str, ...], tuple[str, ...], Path | None]) -> None:
        self.models, self.surface_models, folder = result
        if folder is not None and self.watch.path is None:
            self.set_folder(folder)
        self.changed.emit()

    def _on_launched(self, folder: Path) -> None:
        self._is_unfinished = True
        self.set_folder(folder)
        self.watch.set_active(self._session.displayed.value)
        if self._session.displayed.value:
            self._status_line.show_message(BACKGROUND_MESSAGE)

    def _on_run_update(self, update: SlideRunUpdate) -> None:
        state = update.status.state
        if state.active:
            self._is_unfinished = True
        else:
            self._status_line.end_message(BACKGROUND_MESSAGE)
        if str(state) == "finished":
            self._session.findings.reload_predictions()
            if self._is_unfinished:
                self._is_unfinished = False
                proposed = parse_proposals(update.content)
                self.finished.emit(bool(proposed.proposals), proposed.validity.valid)
        self.changed.emit()


def _find_models_and_run(
    location: SlideResultLocation, slide: Path, run: RunContext
) -> tuple[tuple[str, ...], tuple[str, ...], Path | None]:
    """Return ``models`` and ``surface_models``, and the folder of an analysis that was started, if any."""
    from napari_melanoma.slides.depth_readings import depth_analysis_folder, list_depth_models, list_surface_models

    folder = depth_analysis_folder(location.folder, slide)
    models = list_depth_models(demonstrations=location.is_phantom)
    return models, list_surface_models(), folder if (folder / "events.jsonl").is_file() else None


def _launch_analysis(
    info: SlideInfo, slide_folder: Path, model: str, tumor: tuple[Annotation, ...], run: RunContext
) -> Path:
    """Launch the analysis, and return its folder.

    ``tumor``: the regions that the reader has outlined, for a model that does not detect it; they are saved with it.
    Results with other options are replaced without a question, because they cannot have been edited.
    """
    from napari_melanoma.core.processes import is_run_alive
    from napari_melanoma.slides.background_runs import launch_slide, read_slide_run_status
    from napari_melanoma.slides.depth_readings import depth_analysis_folder
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.result_folder import record_new_slide
    from napari_melanoma.slides.results import describe_difference

    if not model:
        raise InputError(
            "no model that segments epidermis and tumor is installed: measure manually, or paint both in the section "
            "Paint and save the classifier."
        )
    folder = depth_analysis_folder(slide_folder, info.path)
    if is_run_alive(folder) and read_slide_run_status(folder).state.active:
        return folder
    record_new_slide(slide_folder, info.path)
    size = info.pixel_size
    outlines = folder.parent / f"{folder.name}-{TUMOR_FILE}"
    if tumor:
        write_geojson(outlines, tumor, origin=info.origin)
    options = SlideOptions(model=model, tumor_outlines=outlines if tumor else None, **describe_set_scale(size))
    return launch_slide(info.path, folder.parent, options, force=bool(describe_difference(folder, options)))
