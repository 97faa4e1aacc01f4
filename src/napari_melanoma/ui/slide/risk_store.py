"""Background work of the Risk section: requests to the worker process, stored results, and map layers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.shared_state import Row, case_rows
from napari_melanoma.ui.slide.risk_view import DEPTH_SECTION_FIELDS
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.channel_layers import make_transparent_colormap
from napari_melanoma.ui.viewer.patient_data import PatientData
from napari_melanoma.ui.widgets.job import LatestJobQueue, tasks
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import Progress, RunContext
    from napari_melanoma.risk.slide_files import RiskMap, StoredRisk
    from napari_melanoma.ui.viewer.slide_layers import Role, ViewerSlide
    from napari_melanoma.ui.worker_client import WorkerRequest

DONE_MESSAGES = {
    "risk": "The risk of {} was estimated.",
    "attention": "The attention map of {} is shown.",
    "cam": "The CAM map of {} is shown.",
    "biomarkers": "The most predictive features in {} are shown.",
}
PROGRESS_MESSAGES = {
    "risk": "Estimating the risk",
    "attention": "Computing the attention map",
    "cam": "Computing the CAM map",
    "biomarkers": "Finding the most predictive features",
}
WORKER_COMMANDS = {"risk": "predict_slide_risk", "biomarkers": "find_slide_biomarkers"}


@dataclass(frozen=True, eq=False)
class RiskRequest:
    """A request to the worker process.

    ``kind``: ``risk``, ``attention``, ``cam`` or ``biomarkers``. ``folder``: of the slide's results.
    ``arguments``: other arguments of the worker's command.
    """

    kind: str
    slide: Path
    slide_name: str
    folder: Path
    arguments: dict[str, Any]


class RiskRequestQueue(QObject):
    """Send one request at a time to the worker, which writes its results to the folder of the slide."""

    started = Signal(str)  # a message
    progressed = Signal(object)  # Progress
    finished = Signal(object, str)  # RiskRequest; a message, empty after an error or when canceled
    failed = Signal(object)  # the exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._dock = parent
        self._client: WorkerClient | None = None
        self._waiting: deque[RiskRequest] = deque()
        self._current: RiskRequest | None = None
        self._worker_request: WorkerRequest | None = None
        self._message = ""  # of success; empty until the current request has succeeded

    def is_pending(self, kind: str, folder: Path) -> bool:
        """Return whether a request is running or waiting."""
        pending = (*self._waiting, *([] if self._current is None else [self._current]))
        return any(one.kind == kind and one.folder == folder for one in pending)

    def submit(self, request: RiskRequest) -> None:
        """Submit a request, unless one of this kind is pending for the folder."""
        if not self.is_pending(request.kind, request.folder):
            self._waiting.append(request)
            self._send_next()

    def cancel(self) -> None:
        """Cancel all requests, including the running one, whose worker is stopped."""
        waiting, running = tuple(self._waiting), self._worker_request
        self._waiting.clear()
        for request in waiting:
            self.finished.emit(request, "")
        if running is not None:
            running.cancel()

    def _send_next(self) -> None:
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
        self._send_next()


RiskReadResult = tuple[str, Path, "StoredRisk"]  # identity of the slide, folder, results


class RiskResultStore(QObject):
    """The stored risk results and the patient data of slides."""

    changed = Signal()
    failed = Signal(object)  # the exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._slide: ViewerSlide | None = None
        self._results: dict[str, tuple[Path, StoredRisk]] = {}  # folder and results by slide
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_read)
        self._latest.failed.connect(self.failed)
        case_rows().changed.connect(self.changed)

    @property
    def result(self) -> StoredRisk | None:
        """Stored results of the displayed slide; None until they have been read."""
        entry = None if self._slide is None else self._results.get(self._slide.identity)
        return None if entry is None else entry[1]

    @property
    def folder(self) -> Path | None:
        """Folder of the results of the displayed slide; None until they have been read."""
        entry = None if self._slide is None else self._results.get(self._slide.identity)
        return None if entry is None else entry[0]

    @property
    def patient_data(self) -> Row:
        """Patient data of the displayed slide, by field."""
        return {} if self._slide is None else _patient_data(self._slide).row

    @property
    def case_name(self) -> str:
        """Name of the case that contains the slide; empty if the open case does not contain it."""
        return "" if self._slide is None else _patient_data(self._slide).case

    @property
    def is_edited(self) -> bool:
        """Whether the patient data were edited in the dock."""
        return self._slide is not None and _patient_data(self._slide).has_edits

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._slide = slide
        self.changed.emit()

    def read(self, identity: str, folder: Path) -> None:
        """Read the stored results of a slide."""
        self._latest.submit(identity, lambda: partial(_read_result, identity, folder))

    def set_patient_data(self, patient_data: Row) -> None:
        """Set the patient data, without emitting a signal."""
        if self._slide is not None:
            _patient_data(self._slide).set_row(patient_data)

    def restore_case_data(self) -> None:
        """Discard the edits of the patient data, so that those of the case are used."""
        if self._slide is not None:
            _patient_data(self._slide).reset()
            self.changed.emit()

    def _on_read(self, result: RiskReadResult) -> None:
        identity, folder, stored = result
        self._results[identity] = folder, stored
        if self._slide is None or self._slide.identity != identity:
            return
        predicted_from = stored.prediction.get("known") or {}
        if predicted_from and not self.case_name and not self.is_edited:  # show the data that the prediction used
            row = {str(name): str(cell) for name, cell in predicted_from.items() if name not in DEPTH_SECTION_FIELDS}
            _patient_data(self._slide).set_row(row)
        self.changed.emit()


def _patient_data(slide: ViewerSlide) -> PatientData:
    return PatientData(slide.layers[0], slide.info.path)


def _read_result(identity: str, folder: Path, run: RunContext) -> RiskReadResult:
    from napari_melanoma.risk.slide_files import read_risk

    return identity, folder, read_risk(folder)


ROLES: dict[str, Role] = {"attention": "attention", "cam": "CAM"}
COLORMAPS = {"attention": "viridis", "cam": "magma"}
OPACITY = 0.6


def show_maps(viewer: Viewer, slide: ViewerSlide, maps: Mapping[str, RiskMap], visible: Mapping[str, bool]) -> None:
    """Show the available maps that are to be visible, and hide the others; both arguments are keyed by method."""
    for name, role in ROLES.items():
        risk_map, layer = maps.get(name), slide_layers.find_layer(viewer, slide, role)
        if risk_map is None or not visible.get(name, False):
            if layer is not None:
                layer.visible = False
            continue
        is_new, layer = layer is None, _ensure_map_layer(viewer, slide, risk_map)
        if layer.data is not risk_map.values:
            layer.data = risk_map.values
        if is_new:  # do not discard the appearance that the user chose for an existing layer
            layer.opacity = OPACITY
            layer.colormap = make_transparent_colormap(COLORMAPS[name])
        layer.visible = slide.is_shown


def _ensure_map_layer(viewer: Viewer, slide: ViewerSlide, risk_map: RiskMap) -> Image:
    """Return the layer of a map; create it if necessary."""

    def create_layer() -> Image:
        from napari.layers import Image

        return Image(risk_map.values, contrast_limits=(0.0, 1.0))

    role, placement = ROLES[risk_map.method], risk_map.placement
    layer: Image = slide_layers.get_or_add_layer(viewer, slide, role, create_layer, placement)
    return layer
