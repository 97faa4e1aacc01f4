"""Propose the scale of the photograph in view from a ruler in it: the search, and the notice with its buttons."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFrame, QPushButton, QVBoxLayout

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.session.photograph_scale import PhotographScale
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource, format_pixel_size
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.style import WrappedLabel, named, row, set_shown

if TYPE_CHECKING:
    from napari_melanoma.imaging.ruler import Ruler
    from napari_melanoma.ui.session.photograph import PhotographSession

SEARCH_DELAY_MS = 500  # without another photograph in view
ACCEPT_TIP = "Set this scale: sizes are measured in mm from then on ({})"
CORRECT_TIP = "Move the ends of the line, or enter another length, before the scale is set"
DISMISS_TIP = "Remove the proposal; the scale stays unknown"


class ScaleProposals(QObject):
    """Searches a ruler in the photograph in view if it has no scale, one photograph at a time.

    ``find_shown``: returns the photograph in view; None if there is none, or it is hidden, or its saved result, which
    may have a scale, is still being read.
    """

    failed = Signal(object)  # Exception

    def __init__(self, find_shown: Callable[[], PhotographSession | None], parent: QObject) -> None:
        super().__init__(parent)
        self._find_shown = find_shown
        self._searched: PhotographSession | None = None
        self._queue = LatestJobQueue(self, SEARCH_DELAY_MS)
        self._queue.failed.connect(self.failed)

    def update(self) -> None:
        """Search the photograph in view if necessary; a search in another one is ignored from now on."""
        shown = self._find_shown()
        if self._searched is not None and self._searched is not shown:
            self._queue.cancel()
            self._searched = None
        if shown is not None and shown.part(PhotographScale).needs_search:
            self._queue.submit("ruler", self._prepare, self._on_found)

    def _prepare(self) -> JobFunction | None:
        shown = self._searched = self._find_shown()
        needs_search = shown is not None and shown.part(PhotographScale).needs_search
        return partial(search_ruler, shown.source) if shown is not None and needs_search else None

    def _on_found(self, found: tuple[Ruler | None, str | None]) -> None:
        session = self._searched
        if session is not None and session.is_open:
            session.part(PhotographScale).propose(*found)


def search_ruler(source: LayerPhotographSource, run: RunContext) -> tuple[Ruler | None, str | None]:
    """Return the ruler in a photograph, None if none is evident, and the stated type of the photograph."""
    from napari_melanoma.imaging.ruler import find_ruler

    try:
        rgb = source.read().rgb
    except MelanomaError:  # the user is told by what they request, such as an analysis
        return None, source.modality
    run.check()
    return find_ruler(rgb, source.modality), source.modality


class ScaleNotice(QFrame):
    """Shows the proposed scale of a photograph, which is accepted, corrected or dismissed.

    ``accepted``: the scale was set; emits its ``Ruler``. ``correction_requested``: the ruler became a line of the ruler
    tool. ``dismissed``: the proposal was removed.
    """

    accepted = Signal(object)
    correction_requested = Signal()
    dismissed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("proposal")
        self._scale: PhotographScale | None = None
        self._label = named(WrappedLabel(), "proposed_scale", "Proposed scale")
        accept_tip = ACCEPT_TIP.format(format_key("lesion.accept_scale"))
        accept = named(QPushButton("Accept"), "scale_accept", "Accept the proposed scale", accept_tip)
        correct = named(QPushButton("Correct"), "scale_correct", "Correct the proposed scale", CORRECT_TIP)
        dismiss = named(QPushButton("Dismiss"), "scale_dismiss", "Dismiss the proposed scale", DISMISS_TIP)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        layout.addWidget(row(accept, correct, dismiss, stretch=0))
        self.hide()
        accept.clicked.connect(self.accept)
        correct.clicked.connect(self._on_correct)
        dismiss.clicked.connect(self._on_dismiss)

    def show_scale(self, scale: PhotographScale | None) -> None:
        """Follow what is proposed for a photograph; None for none."""
        if self._scale is not None:
            self._scale.changed.disconnect(self._update)
        self._scale = scale
        if scale is not None:
            scale.changed.connect(self._update)
        self._update()

    def accept(self) -> None:
        """Set the proposed scale, if there is one."""
        ruler = None if self._scale is None else self._scale.accept()
        if ruler is not None:
            self.accepted.emit(ruler)

    def _on_correct(self) -> None:
        if self._scale is not None:
            self._scale.correct()
            self.correction_requested.emit()

    def _on_dismiss(self) -> None:
        if self._scale is not None:
            self._scale.dismiss()
            self.dismissed.emit()

    def _update(self) -> None:
        ruler = None if self._scale is None else self._scale.state.proposed
        if ruler is not None:
            size = format_pixel_size(ruler.pixel_size)
            self._label.setText(
                f"Proposed scale: {size}/px, from a ruler of {ruler.millimeters:g}\N{NO-BREAK SPACE}mm."
            )
            self._label.setToolTip(f"{ruler.px_per_mm:.4g} pixels per mm, confidence {ruler.confidence:.2f}")
        set_shown(self, ruler is not None)
