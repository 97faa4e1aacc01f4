"""From strokes to a map of classes: fit a classifier on painted cells, predict the cells of a slide, nearest first.

Nothing here depends on a window. ``update_map`` runs in a thread, and reports its results as they are computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, list_cells
from napari_melanoma.slides.tissue_classifier.classifier import compute_painted, join_painted
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import BlockCache, SlideFeatures
from napari_melanoma.slides.tissue_classifier.fitting import (
    CellClassifier,
    ClassifierKind,
    TrainingCells,
    advise_painting,
    fit_classifier,
    load_classifiers,
)
from napari_melanoma.slides.tissue_classifier.strokes import Stroke

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.slides.reading.slide import Slide
    from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource

VIEW = "Features of the view: {:,} of {:,} blocks"
REPORT_S = 0.15  # interval between reports of the map, each of which redraws its layer


@dataclass(frozen=True)
class PaintedSlide:
    """An open slide with its strokes.

    ``pixel_size``: that of the user, or of the file. ``folder``: the result folder, which contains the features of the
    cells.
    """

    identity: str
    slide: Slide
    pixel_size: PixelSize | None
    folder: Path
    strokes: tuple[Stroke, ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """A classifier with the cells that it was fitted on."""

    cells: TrainingCells
    classifier: CellClassifier

    def with_temperature(self, temperature: float) -> Fit:
        """Return the same classifier with another temperature."""
        return replace(self, classifier=replace(self.classifier, temperature=temperature))


@dataclass(frozen=True, eq=False)
class MapRequest:
    """What to compute for the displayed slide.

    ``slides``: the displayed slide first, then other open slides with strokes. ``classes``: in the order of the user.
    ``view``: the visible part in pixels of the finest level. ``fit``: the classifier if no stroke has changed
    since, and ``predicted``: the blocks that it has predicted. ``whole``: also compute features beyond the view;
    ``ahead``: also before there is a classifier. ``temperature``: of the classifier.
    """

    slides: tuple[PaintedSlide, ...]
    classes: tuple[str, ...]
    source: str
    kind: ClassifierKind
    view: Box
    fit: Fit | None = None
    predicted: frozenset[tuple[int, int]] = frozenset()
    whole: bool = True
    ahead: bool = False
    temperature: float = 1.0


@dataclass(frozen=True, eq=False)
class MapPart:
    """The classes of the cells of a box: ``probability``: float16 (row, column, class)."""

    cells: Box
    probability: NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class FitReport(Progress):
    """A classifier was fitted, unless strokes are missing; ``notes``: messages about the strokes."""

    fit: Fit | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MapReport(Progress):
    """Cells were predicted; ``done`` and ``total`` count the blocks of tissue whose features are known.

    ``tissue``: these blocks, int32 (block, 2); None until they are known.
    """

    parts: tuple[MapPart, ...] = ()
    tissue: NDArray[np.int32] | None = None


@cache
def open_source(name: str) -> FeatureSource:
    """Open a source of features once, since loading a network takes a second."""
    return open_feature_source(name)


class FeatureCache:
    """The feature stores of open slides, by slide, scale and source; safe to use from several threads.

    Their blocks in memory are bounded in total.
    """

    def __init__(self) -> None:
        self._blocks = BlockCache()
        self._stores: dict[tuple[str, PixelSize | None, str], SlideFeatures] = {}
        self._lock = Lock()

    def get(self, slide: PaintedSlide, source: str) -> SlideFeatures:
        """Return the features of a slide; their store is created if it is missing."""
        opened_source = open_source(source)  # not with the lock, for which the window would wait
        key = slide.identity, slide.pixel_size, opened_source.fingerprint
        with self._lock:
            if key not in self._stores:
                has_other_scale = slide.pixel_size != slide.slide.info.pixel_size
                opened = open_slide(slide.slide.info.path, slide.pixel_size) if has_other_scale else slide.slide
                self._stores[key] = SlideFeatures.open(opened, opened_source, slide.folder, self._blocks)
            return self._stores[key]

    def release(self, identity: str) -> None:
        """Close the stores of a slide that was closed; running jobs may still use them."""
        with self._lock:
            for key in [key for key in self._stores if key[0] == identity]:
                self._stores.pop(key).close()


def update_map(request: MapRequest, stores: FeatureCache, run: RunContext) -> None:
    """Fit a classifier, then predict the view, then the rest of the slide; reports ``FitReport`` and ``MapReport``."""
    features = stores.get(request.slides[0], request.source)
    fit = request.fit
    if fit is None:
        fit, notes = fit_strokes(request, stores, run)
        run.report(FitReport(0, None, "", fit, notes))
    predictor = _Predictor(features, fit, request, run)
    cells = features.grid.cells_in(request.view)
    center = cells.top + cells.height / 2, cells.left + cells.width / 2
    predictor.view = view = features.grid.blocks_by_distance(features.grid.blocks_of(list_cells(cells)), center)
    predictor.predict_known(view)
    features.compute(view, run, predictor.add)
    predictor.flush()
    if fit is None:
        load_classifiers()  # so that the first map does not wait for it
    if fit is None and not request.ahead:
        return
    # Tissue is detected only now: that takes a second on a large slide.
    rest = features.grid.blocks_by_distance(features.tissue_blocks, center)
    predictor.tissue = rest
    # Also beyond tissue: blocks that were in view would keep the classes of the previous classifier.
    predictor.predict_known(features.grid.blocks_by_distance(features.known_blocks, center))
    if request.whole:
        features.compute(rest, run, predictor.add)
    predictor.flush()


def fit_strokes(request: MapRequest, stores: FeatureCache, run: RunContext) -> tuple[Fit | None, tuple[str, ...]]:
    """Fit a classifier on the strokes of all slides, None if more are needed; return it with messages about them."""
    if advise_painting({stroke.class_name for slide in request.slides for stroke in slide.strokes}):
        return None, ()
    cells, notes = gather_strokes(request, stores, run)
    if advise_painting({cells.classes[label] for label in np.unique(cells.labels)}):
        return None, notes  # the other strokes are beyond the slide, or in a damaged part
    return Fit(cells, fit_classifier(cells, request.kind, request.temperature)), notes


def gather_strokes(request: MapRequest, stores: FeatureCache, run: RunContext) -> tuple[TrainingCells, tuple[str, ...]]:
    """Compute the features of the painted cells of all slides; return these cells, and messages about the strokes."""
    painted = [compute_painted(slide.strokes, stores.get(slide, request.source), run) for slide in request.slides]
    cells, damaged = join_painted(painted, request.classes)
    names = [f"{slide.slide.info.name}: " if len(request.slides) > 1 else "" for slide in request.slides]
    notes = [name + note for name, (one, _) in zip(names, painted, strict=True) for note in one.notes]
    return cells, (*notes, *damaged)


class _Predictor:
    """Predicts blocks whose features are known, and reports them a few times a second."""

    def __init__(self, features: SlideFeatures, fit: Fit | None, request: MapRequest, run: RunContext) -> None:
        self._features, self._fit, self._run = features, fit, run
        self._predicted = set(request.predicted)
        self._parts: list[MapPart] = []
        self._reported = 0.0  # the first part is reported at once
        self.view = np.empty((0, 2), np.int32)  # blocks of the view
        self.tissue: NDArray[np.int32] | None = None  # blocks with tissue; None until they are known

    def predict_known(self, blocks: NDArray[np.int32]) -> None:
        """Predict the blocks whose features are known."""
        known = blocks[self._features.known(blocks * BLOCK_CELLS)]
        for block in known:
            self._run.check()
            self.add(block)
        self.flush()

    def add(self, block: NDArray[np.int32]) -> None:
        """Predict a block, unless it was predicted before."""
        key = int(block[0]), int(block[1])
        values = None if self._fit is None or key in self._predicted else self._features.read_block(block)
        if values is not None and self._fit is not None:
            box = self._features.grid.cells_of(block)
            inside = values[: box.height, : box.width]
            predicted = self._fit.classifier.predict(inside.reshape(-1, inside.shape[-1]))
            # Rounded as in the store of an analysis, so that the same class is the most probable one.
            probability = (np.rint(255 * predicted) / 255).astype(np.float16)
            self._predicted.add(key)
            self._parts.append(MapPart(box, probability.reshape(box.height, box.width, -1)))
        if monotonic() - self._reported >= REPORT_S:
            self.flush()

    def flush(self) -> None:
        """Report the predicted blocks."""
        self._reported = monotonic()
        done, total = (0, None) if self.tissue is None else self._features.progress
        self._run.report(MapReport(done, total, self._describe_view(), tuple(self._parts), self.tissue))
        self._parts = []

    def _describe_view(self) -> str:
        """Return how many blocks of the view are known; empty if all are, or the rest of the slide is computed."""
        total = len(self.view)
        known = total if self.tissue is not None else int(self._features.known(self.view * BLOCK_CELLS).sum())
        return VIEW.format(known, total) if known < total else ""
