"""The accuracy of the painted classes: candidates are validated on strokes that are left out, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells
    from napari_melanoma.slides.tissue_classifier.validation import Validation
    from napari_melanoma.ui.sections.paint.mapping import FeatureCache, Fit, MapRequest

DELAY_MS = 400  # after the last stroke, so that the map of the view comes first


@dataclass(frozen=True, eq=False)
class Assessment:
    """The validations of all candidates, and the chosen one with its learning curve."""

    chosen: Validation
    candidates: tuple[Validation, ...]


def assess(fit: Fit, request: MapRequest, sources: Sequence[str], stores: FeatureCache, run: RunContext) -> Assessment:
    """Validate all heads on the features of all sources; features are computed at the strokes only.

    ``fit``: has the painted cells with the features of ``request.source``.
    """
    from napari_melanoma.slides.tissue_classifier.fitting import HEADS
    from napari_melanoma.slides.tissue_classifier.validation import choose, learning_curve, validate
    from napari_melanoma.ui.sections.paint.mapping import gather_strokes

    cells_by_source: dict[str, TrainingCells] = {}
    candidates: list[Validation] = []
    for source in sources:
        run.check()
        is_known = source == request.source
        cells = fit.cells if is_known else gather_strokes(replace(request, source=source), stores, run)[0]
        cells_by_source[source] = cells
        candidates += validate(cells, HEADS, source, run)
    chosen = choose(candidates)
    curve = learning_curve(cells_by_source[chosen.source], chosen.kind, run)
    return Assessment(replace(chosen, curve=curve), tuple(candidates))


class AssessmentQueue(QObject):
    """Assess the latest fit; a newer one replaces it. ``assessed``: an ``Assessment``."""

    assessed = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._work: Callable[[RunContext], Assessment] | None = None
        self._job: BackgroundJob | None = None
        self._timer = DebounceTimer(self, DELAY_MS)
        self._timer.timeout.connect(self._start)

    @property
    def is_running(self) -> bool:
        """Whether an assessment is running or pending."""
        return self._job is not None or self._work is not None

    def submit(self, fit: Fit, request: MapRequest, sources: Sequence[str], stores: FeatureCache) -> None:
        """Assess a fit after a short delay."""
        self.cancel()
        self._work = partial(assess, fit, request, sources, stores)
        self._timer.start()

    def cancel(self) -> None:
        """Cancel the assessment of a fit that is outdated."""
        self._work = None
        self._timer.stop()
        if self._job is not None:
            self._job.cancel()

    def _start(self) -> None:
        if self._job is None and self._work is not None:
            work, self._work = self._work, None
            self._job = BackgroundJob(work)
            self._job.succeeded.connect(self.assessed)
            self._job.failed.connect(self.failed)
            self._job.finished.connect(self._on_finished)
            self._job.start(self)

    def _on_finished(self) -> None:
        self._job = None
        if not self._timer.isActive():
            self._start()
