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
from napari_melanoma.ui.slide.heatmap import faded
from napari_melanoma.ui.slide.risk.view import ELSEWHERE
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.job import Latest
from napari_melanoma.ui.widgets.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import Progress, RunContext
    from napari_melanoma.risk.slide_files import RiskKept, RiskMap
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide, Role
    from napari_melanoma.ui.widgets.worker_client import Request

DONE = {
    "risk": "The risk of {} is estimated.",
    "attention": "Where the network looks at {} is shown.",
    "grad_cam": "What speaks for metastasis in {} is shown.",
    "biomarkers": "What the network goes by in {} is found.",
}
BEGUN = {
    "risk": "Estimating the risk",
    "attention": "Finding where the network looks",
    "grad_cam": "Finding what speaks for metastasis",
    "biomarkers": "Finding what the network goes by",
}
VERBS = {"risk": "slide_risk", "biomarkers": "slide_biomarkers"}


@dataclass(frozen=True, eq=False)
class RiskQuestion:
    """What is asked: ``risk``, ``attention``, ``grad_cam`` or ``biomarkers``; of which slide; in the worker's words.

    ``said`` is what the slide is called before a user.
    """

    kind: str
    slide: Path
    said: str
    folder: Path
    arguments: dict[str, Any]


class RiskAsking(QObject):
    """Has one question answered at a time; the answers lie beside the slides, whichever of them is in view by then."""

    began = Signal(str)
    progressed = Signal(object)
    ended = Signal(object, str)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._dock = parent
        self._client: WorkerClient | None = None
        self._waiting: deque[RiskQuestion] = deque()
        self._asked: RiskQuestion | None = None
        self._request: Request | None = None
        self._said = ""

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._asked is not None

    def awaits(self, kind: str, folder: Path) -> bool:
        """Say whether a question was asked and not answered yet.

        True also where it waits for its turn.
        """
        there = (*self._waiting, *([] if self._asked is None else [self._asked]))
        return any(one.kind == kind and one.folder == folder for one in there)

    def ask(self, question: RiskQuestion) -> None:
        """Ask; the same question twice is asked once."""
        if not self.awaits(question.kind, question.folder):
            self._waiting.append(question)
            self._next()

    def cancel(self) -> None:
        """Take back all questions; the worker is ended where it is busy with one."""
        waiting, asked = tuple(self._waiting), self._request
        self._waiting.clear()
        for one in waiting:
            self.ended.emit(one, "")
        if asked is not None:
            asked.cancel()

    def _next(self) -> None:
        if self._asked is not None or not self._waiting:
            return
        question = self._asked = self._waiting.popleft()
        if self._client is None:
            self._client = acquire_worker()
            self._dock.destroyed.connect(release_worker)
        self._said = ""
        place = {"slide": str(question.slide), "folder": str(question.folder)}
        self._request = self._client.request(VERBS.get(question.kind, "slide_risk_map"), **place, **question.arguments)
        self._request.progressed.connect(self._on_progress)
        self._request.succeeded.connect(self._on_answer)
        self._request.failed.connect(self.failed)
        self._request.finished.connect(self._on_finished)
        self.began.emit(f"{BEGUN[question.kind]} ...")

    def _on_progress(self, progress: Progress) -> None:
        self.progressed.emit(progress)

    def _on_answer(self, _: object) -> None:
        if self._asked is not None:
            self._said = DONE[self._asked.kind].format(self._asked.said)

    def _on_finished(self) -> None:
        question, self._asked, self._request = self._asked, None, None
        if question is not None:
            self.ended.emit(question, self._said)
        self._next()


Found = tuple[str, Path, "RiskKept"]


class RiskKeeper(QObject):
    """Reads what lies beside slides, and remembers what stands in the form of each."""

    changed = Signal()
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._slide: OpenSlide | None = None
        self._known: dict[str, tuple[Path, RiskKept]] = {}
        self._rows = PatientRows()
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_read)
        self._latest.failed.connect(self.failed)
        case_rows().changed.connect(self._on_cases)

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return self._latest.busy

    @property
    def kept(self) -> RiskKept | None:
        """What lies beside the slide that it is about; None until it was read."""
        found = None if self._slide is None else self._known.get(self._slide.identity)
        return None if found is None else found[1]

    @property
    def folder(self) -> Path | None:
        """Where that lies; None until it was read."""
        found = None if self._slide is None else self._known.get(self._slide.identity)
        return None if found is None else found[0]

    @property
    def row(self) -> Row:
        """What is known of the patient of the slide."""
        return {} if self._slide is None else self._rows.row(self._slide.identity, self._slide.layers[0])

    @property
    def case(self) -> str:
        """What the case of the slide is called; empty where it belongs to none."""
        return "" if self._slide is None else self._rows.case(self._slide.identity)

    @property
    def is_tried(self) -> bool:
        """Whether something was filled in that the case does not say."""
        return self._slide is not None and self._rows.is_tried(self._slide.layers[0])

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self._on_cases()

    def read(self, identity: str, folder: Path) -> None:
        """Read what lies beside a slide."""
        self._latest.submit(identity, lambda: partial(_read, identity, folder))

    def fill_in(self, row: Row) -> None:
        """Take what stands in the form; nobody is told."""
        if self._slide is not None:
            self._rows.fill_in(self._slide.identity, self._slide.layers[0], row)

    def restore(self) -> None:
        """Go back to what the case says."""
        if self._slide is not None:
            self._rows.forget(self._slide.identity, self._slide.layers[0])
            self.changed.emit()

    def _on_read(self, found: Found) -> None:
        identity, folder, kept = found
        self._known[identity] = folder, kept
        if self._slide is None or self._slide.identity != identity:
            return
        told = kept.answer.get("known") or {}
        if told and not self.case and not self.is_tried:  # as it stood when the answer was given
            row = {str(name): str(cell) for name, cell in told.items() if name not in ELSEWHERE}
            self._rows.fill_in(identity, self._slide.layers[0], row)
        self.changed.emit()

    def _on_cases(self) -> None:
        """Take what the open case says of the slide."""
        if self._slide is not None:
            case, row = case_rows().of(self._slide.info.path)
            self._rows.set_case(self._slide.identity, case, row)
        self.changed.emit()


def _read(identity: str, folder: Path, run: RunContext) -> Found:
    """Read in a thread."""
    from napari_melanoma.risk.slide_files import kept_risk

    return identity, folder, kept_risk(folder)


ROLES: dict[str, Role] = {"attention": "attention", "grad_cam": "Grad-CAM"}
COLOURS = {"attention": "viridis", "grad_cam": "magma"}
OPACITY = 0.6


def show_maps(viewer: Viewer, slide: OpenSlide, maps: Mapping[str, RiskMap], wanted: Mapping[str, bool]) -> None:
    """Show the maps that are wanted and known, and hide the others."""
    for name, role in ROLES.items():
        found, layer = maps.get(name), slide_layers.part(viewer, slide, role)
        if found is None or not wanted.get(name, False):
            if layer is not None:
                layer.visible = False
            continue
        known, layer = layer is not None, _layer(viewer, slide, found)
        if layer.data is not found.values:
            layer.data = found.values
        if not known:  # what the user makes of its looks stays
            layer.opacity = OPACITY
            layer.colormap = faded(COLOURS[name])
        layer.visible = slide.layers[0].visible


def _layer(viewer: Viewer, slide: OpenSlide, found: RiskMap) -> Image:
    """The layer of a map in its place; NaN, where there is no patch, is clear."""

    def make() -> Image:
        from napari.layers import Image

        return Image(found.values, contrast_limits=(0.0, 1.0))

    made: Image = slide_layers.put(viewer, slide, ROLES[found.method], make, found.place)
    return made
