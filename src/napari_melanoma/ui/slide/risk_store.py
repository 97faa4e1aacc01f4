"""Requests, results and map layers of the Risk section."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.lesion.patient_form import PatientRows, Row
from napari_melanoma.ui.shared_state import case_rows
from napari_melanoma.ui.slide.heatmap import make_transparent_colormap
from napari_melanoma.ui.slide.risk_view import DEPTH_SECTION_FIELDS
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.job import LatestJobQueue, tasks
from napari_melanoma.ui.widgets.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import Progress, RunContext
    from napari_melanoma.risk.slide_files import RiskMap, StoredRisk
    from napari_melanoma.ui.viewer.slide_layers import Role, ViewerSlide
    from napari_melanoma.ui.widgets.worker_client import WorkerRequest

DONE_MESSAGES = {
    "risk": "The risk of {} was estimated.",
    "attention": "The attention map of {} is shown.",
    "grad_cam": "The Grad-CAM map of {} is shown.",
    "biomarkers": "The most predictive features in {} are shown.",
}
PROGRESS_MESSAGES = {
    "risk": "Estimating the risk",
    "attention": "Computing the attention map",
    "grad_cam": "Computing the Grad-CAM map",
    "biomarkers": "Finding the most predictive features",
}
WORKER_COMMANDS = {"risk": "predict_slide_risk", "biomarkers": "find_slide_biomarkers"}


@dataclass(frozen=True, eq=False)
class RiskRequest:
    """A request to the worker process: ``risk``, ``attention``, ``grad_cam`` or ``biomarkers``."""

    kind: str
    slide: Path
    slide_name: str
    folder: Path
    arguments: dict[str, Any]


class RiskRequestQueue(QObject):
    """Send one request at a time to the worker, which writes the results next to the slides' other results."""

    started = Signal(str)
    progressed = Signal(object)
    finished = Signal(object, str)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._dock = parent
        self._client: WorkerClient | None = None
        self._waiting: deque[RiskRequest] = deque()
        self._current: RiskRequest | None = None
        self._worker_request: WorkerRequest | None = None
        self._message = ""

    def is_pending(self, kind: str, folder: Path) -> bool:
        """Return whether a request is running or waiting."""
        pending = (*self._waiting, *([] if self._current is None else [self._current]))
        return any(one.kind == kind and one.folder == folder for one in pending)

    def submit(self, request: RiskRequest) -> None:
        """Submit a request, unless the same one is pending."""
        if not self.is_pending(request.kind, request.folder):
            self._waiting.append(request)
            self._next()

    def cancel(self) -> None:
        """Cancel all requests; the worker is stopped if one is running."""
        waiting, running = tuple(self._waiting), self._worker_request
        self._waiting.clear()
        for one in waiting:
            self.finished.emit(one, "")
        if running is not None:
            running.cancel()

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        request = self._current = self._waiting.popleft()
        if self._client is None:
            self._client = acquire_worker()
            self._dock.destroyed.connect(release_worker)
        self._message = ""
        tasks.set_running(self, True)
        paths = {"slide": str(request.slide), "folder": str(request.folder)}
        self._worker_request = self._client.request(
            WORKER_COMMANDS.get(request.kind, "explain_slide_risk"), **paths, **request.arguments
        )
        self._worker_request.progressed.connect(self._on_progress)
        self._worker_request.succeeded.connect(self._on_succeeded)
        self._worker_request.failed.connect(self.failed)
        self._worker_request.finished.connect(self._on_finished)
        self.started.emit(f"{PROGRESS_MESSAGES[request.kind]} ...")

    def _on_progress(self, progress: Progress) -> None:
        self.progressed.emit(progress)

    def _on_succeeded(self, _: object) -> None:
        if self._current is not None:
            self._message = DONE_MESSAGES[self._current.kind].format(self._current.slide_name)

    def _on_finished(self) -> None:
        request, self._current, self._worker_request = self._current, None, None
        tasks.set_running(self, False)
        if request is not None:
            self.finished.emit(request, self._message)
        self._next()


RiskReadResult = tuple[str, Path, "StoredRisk"]


class RiskResultStore(QObject):
    """Read the stored results of slides, and hold the patient data of each."""

    changed = Signal()
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._slide: ViewerSlide | None = None
        self._results: dict[str, tuple[Path, StoredRisk]] = {}
        self._patient_data = PatientRows()
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_read)
        self._latest.failed.connect(self.failed)
        case_rows().changed.connect(self._on_cases)

    @property
    def result(self) -> StoredRisk | None:
        """Stored results of the displayed slide; None until they were read."""
        found = None if self._slide is None else self._results.get(self._slide.identity)
        return None if found is None else found[1]

    @property
    def folder(self) -> Path | None:
        """Folder of these results; None until they were read."""
        found = None if self._slide is None else self._results.get(self._slide.identity)
        return None if found is None else found[0]

    @property
    def patient_data(self) -> Row:
        """Patient data of the slide."""
        return {} if self._slide is None else self._patient_data.row(self._slide.identity, self._slide.layers[0])

    @property
    def case_name(self) -> str:
        """Name of the slide's case; empty if it is in none."""
        return "" if self._slide is None else self._patient_data.case(self._slide.identity)

    @property
    def is_edited(self) -> bool:
        """Whether the patient data were edited here."""
        return self._slide is not None and self._patient_data.has_edits(self._slide.layers[0])

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._slide = slide
        self._on_cases()

    def read(self, identity: str, folder: Path) -> None:
        """Read the stored results of a slide."""
        self._latest.submit(identity, lambda: partial(_read_result, identity, folder))

    def set_patient_data(self, patient_data: Row) -> None:
        """Set the patient data, without emitting a signal."""
        if self._slide is not None:
            self._patient_data.set_row(self._slide.identity, self._slide.layers[0], patient_data)

    def restore_case_data(self) -> None:
        """Restore the patient data of the case."""
        if self._slide is not None:
            self._patient_data.remove(self._slide.identity, self._slide.layers[0])
            self.changed.emit()

    def _on_read(self, found: RiskReadResult) -> None:
        identity, folder, stored = found
        self._results[identity] = folder, stored
        if self._slide is None or self._slide.identity != identity:
            return
        known = stored.prediction.get("known") or {}
        if known and not self.case_name and not self.is_edited:  # as used for the prediction
            row = {str(name): str(cell) for name, cell in known.items() if name not in DEPTH_SECTION_FIELDS}
            self._patient_data.set_row(identity, self._slide.layers[0], row)
        self.changed.emit()

    def _on_cases(self) -> None:
        """Use the patient data of the open case."""
        if self._slide is not None:
            case, row = case_rows().find(self._slide.info.path)
            self._patient_data.set_case(self._slide.identity, case, row)
        self.changed.emit()


def _read_result(identity: str, folder: Path, run: RunContext) -> RiskReadResult:
    """Read the stored results of a slide."""
    from napari_melanoma.risk.slide_files import read_risk

    return identity, folder, read_risk(folder)


ROLES: dict[str, Role] = {"attention": "attention", "grad_cam": "Grad-CAM"}
COLORMAPS = {"attention": "viridis", "grad_cam": "magma"}
OPACITY = 0.6


def show_maps(viewer: Viewer, slide: ViewerSlide, maps: Mapping[str, RiskMap], visible: Mapping[str, bool]) -> None:
    """Show the available maps that are checked, and hide the others."""
    for name, role in ROLES.items():
        found, layer = maps.get(name), slide_layers.find_layer(viewer, slide, role)
        if found is None or not visible.get(name, False):
            if layer is not None:
                layer.visible = False
            continue
        known, layer = layer is not None, _ensure_map_layer(viewer, slide, found)
        if layer.data is not found.values:
            layer.data = found.values
        if not known:  # later changes of the appearance stay
            layer.opacity = OPACITY
            layer.colormap = make_transparent_colormap(COLORMAPS[name])
        layer.visible = slide.is_shown


def _ensure_map_layer(viewer: Viewer, slide: ViewerSlide, risk_map: RiskMap) -> Image:
    """Return the layer of a map, created if necessary; NaN, outside the patches, is transparent."""

    def make() -> Image:
        from napari.layers import Image

        return Image(risk_map.values, contrast_limits=(0.0, 1.0))

    made: Image = slide_layers.get_or_add_layer(viewer, slide, ROLES[risk_map.method], make, risk_map.placement)
    return made
