"""The accuracy of the painted classes: candidates are validated on strokes that are left out, in a thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, TissueClassifier
    from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource
    from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
    from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells
    from napari_melanoma.slides.tissue_classifier.strokes import Stroke
    from napari_melanoma.slides.tissue_classifier.validation import Validation
    from napari_melanoma.ui.sections.paint.mapping import FeatureCache, Fit, MapRequest, PaintedSlide

    PaintedStrokes = frozenset[Stroke]

SAMPLED_BLOCKS, SAMPLED_EVERY = 64, 4  # to find slides that are out of distribution: blocks, and step of their cells
DELAY_MS = 400  # after the last stroke, so that the map of the view comes first


@dataclass(frozen=True, eq=False)
class Assessment:
    """The validations of all candidates, and the chosen one.

    ``strokes``: those of all slides, see ``list_strokes``, and ``cells``: the painted cells with the chosen features,
    computed by ``source``. ``notice``: that the displayed slide is out of distribution; empty if it is not.
    """

    strokes: PaintedStrokes
    cells: TrainingCells
    source: FeatureSource
    chosen: Validation
    candidates: tuple[Validation, ...]
    notice: str = ""

    def make_classifier(self, slides: Sequence[PaintedSlideFile]) -> TissueClassifier:
        """Return the classifier that ``fit_tissue_classifier`` would fit on the same strokes of slides."""
        from napari_melanoma.slides.tissue_classifier.classifier import TissueClassifier, merge_colors

        classifier = TissueClassifier.fit(self.source, self.cells, self.chosen)
        return replace(classifier, candidates=self.candidates, colors=merge_colors(slides))


def list_strokes(slides: Iterable[PaintedSlide | PaintedSlideFile]) -> PaintedStrokes:
    """Return the strokes of several slides, in no order."""
    return frozenset(stroke for slide in slides for stroke in slide.strokes)


def assess(fit: Fit, request: MapRequest, sources: Sequence[str], stores: FeatureCache, run: RunContext) -> Assessment:
    """Validate all kinds of classifiers on the features of all sources; features are computed at the strokes only.

    ``fit``: has the painted cells with the features of ``request.source``.
    """
    from napari_melanoma.slides.tissue_classifier.fitting import KINDS
    from napari_melanoma.slides.tissue_classifier.validation import choose, validate
    from napari_melanoma.ui.sections.paint.mapping import gather_strokes

    cells_by_source: dict[str, TrainingCells] = {}
    candidates: list[Validation] = []
    for source in sources:
        run.check()
        is_known = source == request.source
        cells = fit.cells if is_known else gather_strokes(replace(request, source=source), stores, run)[0]
        cells_by_source[source] = cells
        candidates += validate(cells, KINDS, source, run)
    chosen = choose(candidates)
    features = stores.get(request.slides[0], chosen.source)
    cells = cells_by_source[chosen.source]
    notice = find_novelty(cells, features)
    return Assessment(list_strokes(request.slides), cells, features.source, chosen, tuple(candidates), notice)


class Assessor(QObject):
    """Assess each new classifier in the background.

    ``assessed``: an ``Assessment``. ``latest``: of the latest strokes that could be assessed. ``is_running``: whether
    the strokes are being assessed.
    """

    assessed = Signal(object)
    failed = Signal(object)  # Exception

    def __init__(self, parent: QObject, stores: FeatureCache, sources: Sequence[str]) -> None:
        super().__init__(parent)
        self._stores, self._sources = stores, sources
        self.latest: Assessment | None = None
        self.is_running = False
        self._requested: PaintedStrokes = frozenset()  # of the latest request
        self._queue = LatestJobQueue(self, DELAY_MS)
        self._queue.succeeded.connect(self._on_assessed)
        self._queue.failed.connect(self._on_failed)

    def set_sources(self, sources: Sequence[str]) -> None:
        """Choose among other sources from the next classifier on."""
        self._queue.cancel()
        self._sources, self.latest, self._requested, self.is_running = sources, None, frozenset(), False

    def update(self, fit: Fit | None, request: MapRequest) -> None:
        """Assess the strokes of a request, unless they are assessed; without a classifier, discard the assessment."""
        strokes = list_strokes(request.slides if fit is not None else ())
        if fit is None:
            self.latest = None
        if strokes == self._requested:  # such as after the chosen classifier was fitted
            return
        self._requested, self.is_running = strokes, fit is not None
        self._queue.cancel()
        if fit is not None:
            work = partial(assess, fit, request, self._sources, self._stores)
            self._queue.submit("assess", lambda: work)

    def close(self) -> None:
        """Cancel the assessment."""
        self._queue.cancel()

    def _on_assessed(self, assessment: Assessment) -> None:
        self.latest, self.is_running = assessment, False
        self.assessed.emit(assessment)

    def _on_failed(self, error: Exception) -> None:
        self.is_running = False
        self.failed.emit(error)


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
