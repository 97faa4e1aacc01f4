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
    from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
    from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells
    from napari_melanoma.slides.tissue_classifier.validation import Validation
    from napari_melanoma.ui.sections.paint.mapping import FeatureCache, Fit, MapRequest

SAMPLED_BLOCKS, SAMPLED_EVERY = 64, 4  # to find slides that are out of distribution: blocks, and step of their cells
DELAY_MS = 400  # after the last stroke, so that the map of the view comes first


@dataclass(frozen=True, eq=False)
class Assessment:
    """The validations of all candidates, and the chosen one with its learning curve.

    ``notice``: that the displayed slide is out of distribution; empty if it is not.
    """

    chosen: Validation
    candidates: tuple[Validation, ...]
    notice: str = ""


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
    features = stores.get(request.slides[0], chosen.source)
    notice = find_novelty(cells_by_source[chosen.source], features)
    return Assessment(replace(chosen, curve=curve), tuple(candidates), notice)


def find_novelty(cells: TrainingCells, features: SlideFeatures) -> str:
    """Return the advice for a slide that differs from all strokes, by its known features; empty for others."""
    import numpy as np

    from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
    from napari_melanoma.slides.tissue_classifier.suggestions import CellNovelty

    blocks = features.tissue_blocks
    known = blocks[features.known(blocks * BLOCK_CELLS)]
    novelty = CellNovelty.fit(cells) if len(known) else None
    if novelty is None:
        return ""
    chosen = known[np.linspace(0, len(known) - 1, min(len(known), SAMPLED_BLOCKS)).round().astype(int)]
    offsets = np.mgrid[0:BLOCK_CELLS:SAMPLED_EVERY, 0:BLOCK_CELLS:SAMPLED_EVERY].reshape(2, -1).T
    values = features.read((chosen[:, None] * BLOCK_CELLS + offsets).reshape(-1, 2))
    values = values[np.isfinite(values).all(axis=1)]  # others are beyond the slide
    return novelty.advise(float(novelty.is_out_of_distribution(values).mean())) if len(values) else ""


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
