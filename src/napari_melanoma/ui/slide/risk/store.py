"""Requests and results of the Risk section, and its map layers."""

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
from napari_melanoma.ui.slide.risk.view import DEPTH_SECTION_FIELDS
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import Progress, RunContext
    from napari_melanoma.risk.slide_files import RiskMap, StoredRisk
    from napari_melanoma.ui.viewer.slide_layers import Role, ViewerSlide
    from napari_melanoma.ui.widgets.worker_client import WorkerRequest

DONE_MESSAGES = {
    "risk": "The risk of {} is estimated.",
    "attention": "Where the network looks at {} is shown.",
    "grad_cam": "What speaks for metastasis in {} is shown.",
    "biomarkers": "What the network goes by in {} is found.",
}
PROGRESS_MESSAGES = {
    "risk": "Estimating the risk",
    "attention": "Finding where the network looks",
    "grad_cam": "Finding what speaks for metastasis",
    "biomarkers": "Finding what the network goes by",
}
WORKER_COMMANDS = {"risk": "slide_risk", "biomarkers": "slide_biomarkers"}


@dataclass(frozen=True, eq=False)
class RiskRequest:
    """What is asked: ``risk``, ``attention``, ``grad_cam`` or ``biomarkers``; of which slide; in the worker's words.

    ``said`` is what the slide is called before a user.
    """

    kind: str
    slide: Path
    slide_name: str
    folder: Path
    arguments: dict[str, Any]


class RiskRequestQueue(QObject):
    """Has one question answered at a time; the answers lie beside the slides, whichever of them is in view by then."""

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

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._current is not None

    def is_pending(self, kind: str, folder: Path) -> bool:
        """Say whether a question was asked and not answered yet.

        True also where it waits for its turn.
        """
        there = (*self._waiting, *([] if self._current is None else [self._current]))
        return any(one.kind == kind and one.folder == folder for one in there)

    def submit(self, request: RiskRequest) -> None:
        """Ask; the same question twice is asked once."""
        if not self.is_pending(request.kind, request.folder):
            self._waiting.append(request)
            self._next()

    def cancel(self) -> None:
        """Take back all questions; the worker is ended where it is busy with one."""
        waiting, asked = tuple(self._waiting), self._worker_request
        self._waiting.clear()
        for one in waiting:
            self.finished.emit(one, "")
        if asked is not None:
            asked.cancel()

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        question = self._current = self._waiting.popleft()
        if self._client is None:
            self._client = acquire_worker()
            self._dock.destroyed.connect(release_worker)
        self._message = ""
        place = {"slide": str(question.slide), "folder": str(question.folder)}
        self._worker_request = self._client.request(
            WORKER_COMMANDS.get(question.kind, "slide_risk_map"), **place, **question.arguments
        )
        self._worker_request.progressed.connect(self._on_progress)
        self._worker_request.succeeded.connect(self._on_succeeded)
        self._worker_request.failed.connect(self.failed)
        self._worker_request.finished.connect(self._on_finished)
        self.started.emit(f"{PROGRESS_MESSAGES[question.kind]} ...")

    def _on_progress(self, progress: Progress) -> None:
        self.progressed.emit(progress)

    def _on_succeeded(self, _: object) -> None:
        if self._current is not None:
            self._message = DONE_MESSAGES[self._current.kind].format(self._current.slide_name)

    def _on_finished(self) -> None:
        question, self._current, self._worker_request = self._current, None, None
        if question is not None:
            self.finished.emit(question, self._message)
        self._next()


RiskReadResult = tuple[str, Path, "StoredRisk"]


class RiskResultStore(QObject):
    """Reads what lies beside slides, and remembers what stands in the form of each."""

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
    def busy(self) -> bool:
        """Whether something is being read."""
        return self._latest.busy

    @property
    def result(self) -> StoredRisk | None:
        """What lies beside the slide that it is about; None until it was read."""
        found = None if self._slide is None else self._results.get(self._slide.identity)
        return None if found is None else found[1]

    @property
    def folder(self) -> Path | None:
        """Where that lies; None until it was read."""
        found = None if self._slide is None else self._results.get(self._slide.identity)
        return None if found is None else found[0]

    @property
    def patient_data(self) -> Row:
        """What is known of the patient of the slide."""
        return {} if self._slide is None else self._patient_data.row(self._slide.identity, self._slide.layers[0])

    @property
    def case_name(self) -> str:
        """What the case of the slide is called; empty where it belongs to none."""
        return "" if self._slide is None else self._patient_data.case(self._slide.identity)

    @property
    def is_edited(self) -> bool:
        """Whether something was filled in that the case does not say."""
        return self._slide is not None and self._patient_data.has_edits(self._slide.layers[0])

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self._on_cases()

    def read(self, identity: str, folder: Path) -> None:
        """Read what lies beside a slide."""
        self._latest.submit(identity, lambda: partial(_read_result, identity, folder))

    def set_patient_data(self, patient_data: Row) -> None:
        """Take what stands in the form; nobody is told."""
        if self._slide is not None:
            self._patient_data.set_row(self._slide.identity, self._slide.layers[0], patient_data)

    def restore_case_data(self) -> None:
        """Go back to what the case says."""
        if self._slide is not None:
            self._patient_data.remove(self._slide.identity, self._slide.layers[0])
            self.changed.emit()

    def _on_read(self, found: RiskReadResult) -> None:
        identity, folder, kept = found
        self._results[identity] = folder, kept
        if self._slide is None or self._slide.identity != identity:
            return
        told = kept.prediction.get("known") or {}
        if told and not self.case_name and not self.is_edited:  # as it stood when the answer was given
            row = {str(name): str(cell) for name, cell in told.items() if name not in DEPTH_SECTION_FIELDS}
            self._patient_data.set_row(identity, self._slide.layers[0], row)
        self.changed.emit()

    def _on_cases(self) -> None:
        """Take what the open case says of the slide."""
        if self._slide is not None:
            case, row = case_rows().find(self._slide.info.path)
            self._patient_data.set_case(self._slide.identity, case, row)
        self.changed.emit()


def _read_result(identity: str, folder: Path, run: RunContext) -> RiskReadResult:
    """Read in a thread."""
    from napari_melanoma.risk.slide_files import read_risk

    return identity, folder, read_risk(folder)


ROLES: dict[str, Role] = {"attention": "attention", "grad_cam": "Grad-CAM"}
COLORMAPS = {"attention": "viridis", "grad_cam": "magma"}
OPACITY = 0.6


def show_maps(viewer: Viewer, slide: ViewerSlide, maps: Mapping[str, RiskMap], visible: Mapping[str, bool]) -> None:
    """Show the maps that are wanted and known, and hide the others."""
    for name, role in ROLES.items():
        found, layer = maps.get(name), slide_layers.find_layer(viewer, slide, role)
        if found is None or not visible.get(name, False):
            if layer is not None:
                layer.visible = False
            continue
        known, layer = layer is not None, _ensure_map_layer(viewer, slide, found)
        if layer.data is not found.values:
            layer.data = found.values
        if not known:  # what the user makes of its looks stays
            layer.opacity = OPACITY
            layer.colormap = make_transparent_colormap(COLORMAPS[name])
        layer.visible = slide.layers[0].visible


def _ensure_map_layer(viewer: Viewer, slide: ViewerSlide, risk_map: RiskMap) -> Image:
    """The layer of a map in its place; NaN, where there is no patch, is clear."""

    def make() -> Image:
        from napari.layers import Image

        return Image(risk_map.values, contrast_limits=(0.0, 1.0))

    made: Image = slide_layers.get_or_add_layer(viewer, slide, ROLES[risk_map.method], make, risk_map.placement)
    return made
