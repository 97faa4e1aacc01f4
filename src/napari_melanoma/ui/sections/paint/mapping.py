"""From strokes to a map of classes: fit a classifier on painted cells, predict the cells of a slide, nearest first.

The view has a coarse map until its features are known.

``update_map`` runs in a thread, and reports its results as they are computed; ``PaintLoop`` runs it after each change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, list_cells
from napari_melanoma.slides.tissue_classifier.classifier import (
    DEFAULT_SOURCES,
    PaintedSlideFile,
    TissueClassifier,
    compute_painted,
    join_painted,
    merge_colors,
)
from napari_melanoma.slides.tissue_classifier.coarse import CoarseClassifier, CoarseFeatures
from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource, open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import BlockCache, SlideFeatures, TissueMask
from napari_melanoma.slides.tissue_classifier.fitting import (
    KINDS,
    CellClassifier,
    ClassifierKind,
    TrainingCells,
    Validation,
    advise_painting,
    fit_classifier,
    load_classifiers,
)
from napari_melanoma.slides.tissue_classifier.start import Start, load_start
from napari_melanoma.slides.tissue_classifier.strokes import Stroke
from napari_melanoma.ui.viewer.camera import get_camera, get_visible_region
from napari_melanoma.ui.widgets.job import cancel_jobs, run_job
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import follow

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

VIEW = "Features of the view: {:,} of {:,} blocks"
COARSE_VIEW = "Coarse map: {:,} of {:,} blocks refined"
COARSE_FROM = 4  # blocks without features; fewer are soon known
REPORT_S = 0.3  # interval between reports of the map, each of which redraws the window
VIEW_DELAY_MS = 300  # after which the features of another view are computed
SAMPLED_BLOCKS, SAMPLED_EVERY = 64, 4  # to find slides that are out of distribution: blocks, and step of their cells


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


@cache
def open_source(name: str) -> FeatureSource:
    """Open a source of features once, since loading a network takes a second."""
    return open_feature_source(name)


def open_start(name: str) -> Start:
    """Load the strokes of a model once, and again when a model of that name was saved."""
    return _load_start(name, find_bundle(name, of_slides=True).fingerprint)


@lru_cache(maxsize=2)
def _load_start(name: str, _fingerprint: str) -> Start:
    return load_start(name)


class FeatureCache:
    """The feature stores of open slides, by slide, scale and source; safe to use from several threads.

    Their blocks in memory are bounded in total.
    """

    def __init__(self) -> None:
        self._blocks = BlockCache()
        self._stores: dict[tuple[str, PixelSize | None, str], SlideFeatures] = {}
        self._tissue: dict[tuple[str, PixelSize | None], TissueMask] = {}
        self._coarse = WeakKeyDictionary[SlideFeatures, CoarseFeatures]()
        self._open: dict[str, Slide] | None = None  # by identity; None: any slide
        self._lock = Lock()

    def get(self, slide: PaintedSlide, source: str) -> SlideFeatures:
        """Return the features of a slide; their store is created if it is missing.

        Raises ``Cancelled`` if the slide was closed, as a job that still runs then ends.
        """
        opened_source = open_source(source)  # not with the lock, for which the window would wait
        key = slide.identity, slide.pixel_size, opened_source.fingerprint
        with self._lock:
            if self._open is not None and self._open.get(slide.identity) is not slide.slide:
                raise Cancelled
            if key not in self._stores:
                has_other_scale = slide.pixel_size != slide.slide.info.pixel_size
                opened = open_slide(slide.slide.info.path, slide.pixel_size) if has_other_scale else slide.slide
                tissue = self._tissue.setdefault(key[:2], TissueMask(opened, slide.folder))
                self._stores[key] = SlideFeatures.open(opened, opened_source, slide.folder, self._blocks, tissue)
            return self._stores[key]

    def get_coarse(self, features: SlideFeatures) -> CoarseFeatures:
        """Return the coarse features of the slide of ``features``."""
        with self._lock:
            return self._coarse.setdefault(features, CoarseFeatures(features.slide, features.grid))

    def set_open(self, slides: Mapping[str, Slide]) -> None:
        """Close the stores of all but the open slides, by identity; running jobs may still use them."""
        with self._lock:
            self._open = dict(slides)
            for key in [key for key in self._stores if key[0] not in slides]:
                self._stores.pop(key).close()
            self._tissue = {key: tissue for key, tissue in self._tissue.items() if key[0] in slides}


class Choice(NamedTuple):
    """Features and kind of a classifier, and its temperature."""

    source: str = DEFAULT_SOURCES[0]
    kind: ClassifierKind = KINDS[0]
    temperature: float = 1.0


@dataclass(frozen=True, eq=False)
class Assessment:
    """The validations of all candidates on strokes that were left out, and the chosen one.

    ``strokes``: those of all slides, and ``cells``: the painted cells with the chosen features, computed by ``source``.
    ``notice``: that the displayed slide is out of distribution; empty if it is not. ``start``: name of the model whose
    strokes are used, too; empty for none.
    """

    strokes: frozenset[Stroke]
    cells: TrainingCells
    source: FeatureSource
    chosen: Validation
    candidates: tuple[Validation, ...]
    notice: str = ""
    start: str = ""

    @property
    def choice(self) -> Choice:
        """How the classifier of the map is fitted."""
        return Choice(self.chosen.source, self.chosen.kind, self.chosen.temperature)

    def make_classifier(self, slides: Sequence[PaintedSlideFile]) -> TissueClassifier:
        """Return the classifier that ``fit_tissue_classifier`` would fit on the same strokes of slides."""
        classifier = TissueClassifier.fit(self.source, self.cells, self.chosen)
        start = open_start(self.start).name if self.start else ""
        return replace(classifier, candidates=self.candidates, colors=merge_colors(slides), start=start)


@dataclass(frozen=True, eq=False)
class Fit:
    """A classifier with the cells that it was fitted on."""

    choice: Choice
    cells: TrainingCells
    classifier: CellClassifier


@dataclass(frozen=True, eq=False)
class MapRequest:
    """What to compute for the displayed slide.

    ``slides``: the displayed slide first, then other open slides with strokes. ``classes``: in the order of the user.
    ``view``: the visible part in pixels of the finest level. ``choice``: how to fit, until the strokes are assessed.
    ``fit``, ``assessment``: of these strokes, if they are known; ``predicted``: the blocks that ``fit`` has predicted.
    ``whole``: also compute features beyond the view; ``ahead``: also before there is a classifier. ``start``: name of
    the model whose strokes are used, too; empty for none.
    """

    slides: tuple[PaintedSlide, ...]
    classes: tuple[str, ...]
    view: Box
    choice: Choice = Choice()  # noqa: RUF009 - immutable
    fit: Fit | None = None
    assessment: Assessment | None = None
    predicted: frozenset[tuple[int, int]] = frozenset()
    whole: bool = True
    ahead: bool = False
    start: str = ""

    @property
    def strokes(self) -> tuple[tuple[Stroke, ...], ...]:
        """The strokes of each slide."""
        return tuple(slide.strokes for slide in self.slides)

    @property
    def can_be_fitted(self) -> bool:
        """Whether there are strokes of two classes, or any if the fit starts from a model."""
        painted = {stroke.class_name for strokes in self.strokes for stroke in strokes}
        return bool(painted) and (bool(self.start) or not advise_painting(painted))


class MapPart(NamedTuple):
    """The classes of the cells of a box: ``probability``: float16 (row, column, class).

    ``is_coarse``: predicted from coarse features, until those of the classifier are known.
    """

    cells: Box
    probability: NDArray[np.float16]
    is_coarse: bool = False

    @property
    def block(self) -> tuple[int, int]:
        """The block of the cells."""
        return self.cells.top // BLOCK_CELLS, self.cells.left // BLOCK_CELLS


@dataclass(frozen=True, eq=False)
class FitReport(Progress):
    """A classifier was fitted, unless strokes are missing; ``notes``: messages about the strokes."""

    fit: Fit | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AssessmentReport(Progress):
    """The strokes were assessed."""

    assessment: Assessment


@dataclass(frozen=True, eq=False)
class MapReport(Progress):
    """Cells were predicted; ``done`` and ``total`` count the blocks of tissue whose features are known.

    ``tissue``: these blocks, int32 (block, 2); None until they are known.
    """

    parts: tuple[MapPart, ...] = ()
    tissue: NDArray[np.int32] | None = None


def update_map(request: MapRequest, stores: FeatureCache, run: RunContext) -> None:
    """Fit a classifier, predict the view, first coarsely, assess the strokes, and predict the rest of the slide.

    If other features or another classifier predict left-out strokes better, they are used from then on. Reports
    ``FitReport``, ``AssessmentReport`` and ``MapReport``.
    """
    fit, notes = request.fit, tuple[str, ...]()
    if fit is None:
        fit, notes = fit_strokes(request, stores, run)
        run.report(FitReport(0, None, "", fit, notes))
    predictor = _Predictor(request, stores, fit, run)
    predictor.predict_view_coarsely()
    predictor.predict_view()
    if fit is None:
        if request.ahead:
            predictor.predict_rest()
        return
    if request.assessment is None:
        assessment = assess(fit, request, stores, run)
        run.report(AssessmentReport(0, None, "", assessment))
        if (choice := assessment.choice) != fit.choice:
            is_same = choice[:2] == fit.choice[:2]
            classifier = (
                replace(fit.classifier, temperature=choice.temperature)
                if is_same
                else fit_classifier(assessment.cells, choice.kind, choice.temperature)
            )
            fit = Fit(choice, assessment.cells, classifier)
            run.report(FitReport(0, None, "", fit, notes))
            predictor = _Predictor(replace(request, predicted=frozenset()), stores, fit, run)
            predictor.predict_view()
    predictor.predict_rest()


def fit_strokes(request: MapRequest, stores: FeatureCache, run: RunContext) -> tuple[Fit | None, tuple[str, ...]]:
    """Fit a classifier on the strokes of all slides, None if more are needed; return it with messages about them."""
    if not request.can_be_fitted:
        return None, ()
    choice = request.choice
    if request.start and choice.source != (source := open_start(request.start).source):
        choice = Choice(source)
    cells, notes = gather_strokes(request, choice.source, stores, run)
    run.check()  # a fit is not interrupted
    if advise_painting({cells.classes[label] for label in np.unique(cells.labels)}):
        return None, notes  # the other strokes are beyond the slide, or in a damaged part
    return Fit(choice, cells, fit_classifier(cells, choice.kind, choice.temperature)), notes


def gather_strokes(
    request: MapRequest, source: str, stores: FeatureCache, run: RunContext
) -> tuple[TrainingCells, tuple[str, ...]]:
    """Compute the features of the painted cells of all slides; return these cells, and messages about the strokes."""
    painted = [compute_painted(slide.strokes, stores.get(slide, source), run) for slide in request.slides]
    cells, damaged = join_painted(painted, request.classes)
    if request.start:
        cells = open_start(request.start).join(cells, open_source(source))
    names = [f"{slide.slide.info.name}: " if len(request.slides) > 1 else "" for slide in request.slides]
    notes = [name + note for name, (one, _) in zip(names, painted, strict=True) for note in one.notes]
    return cells, (*notes, *damaged)


def assess(fit: Fit, request: MapRequest, stores: FeatureCache, run: RunContext) -> Assessment:
    """Validate all kinds of classifiers on the features of all sources; features are computed at the strokes only."""
    from napari_melanoma.slides.tissue_classifier.fitting import choose, validate

    cells_by_source = {fit.choice.source: fit.cells}
    candidates: list[Validation] = []
    for source in (fit.choice.source,) if request.start else DEFAULT_SOURCES:
        run.check()
        if source not in cells_by_source:
            cells_by_source[source] = gather_strokes(request, source, stores, run)[0]
        candidates += validate(cells_by_source[source], KINDS, source, run)
    chosen = choose(candidates)
    features, cells = stores.get(request.slides[0], chosen.source), cells_by_source[chosen.source]
    strokes = frozenset(stroke for strokes in request.strokes for stroke in strokes)
    notice = find_novelty(cells, features)
    return Assessment(strokes, cells, features.source, chosen, tuple(candidates), notice, request.start)


def find_novelty(cells: TrainingCells, features: SlideFeatures) -> str:
    """Return the advice for a slide that differs from all strokes, by its known features; empty for others."""
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


class _Predictor:
    """Predicts the blocks of the displayed slide whose features are known, and reports them a few times a second."""

    def __init__(self, request: MapRequest, stores: FeatureCache, fit: Fit | None, run: RunContext) -> None:
        self._features = stores.get(request.slides[0], (request.choice if fit is None else fit.choice).source)
        self._fit, self._run, self._is_whole = fit, run, request.whole
        self._coarse = stores.get_coarse(self._features)
        self._is_coarse = False  # whether the view has a coarse map
        self._predicted = set(request.predicted)
        self._parts: list[MapPart] = []
        self._reported = monotonic()
        grid = self._features.grid
        cells = grid.cells_in(request.view)
        self._center = cells.top + cells.height / 2, cells.left + cells.width / 2
        self._view = grid.blocks_by_distance(grid.blocks_of(list_cells(cells)), self._center)
        self._tissue: NDArray[np.int32] | None = None  # blocks with tissue; None until they are known

    def predict_view_coarsely(self) -> None:
        """Predict the part of the view whose features are known, and the rest from coarse features unless it is small.

        Not for another classifier of the same strokes, whose map would be replaced by a coarse one.
        """
        self._predict_known(self._view)
        unknown = self._view[~self._features.known(self._view * BLOCK_CELLS)]
        if self._fit is not None and len(unknown) >= COARSE_FROM:
            self._predict_coarsely(unknown, self._fit.classifier)
        self._flush()

    def _predict_coarsely(self, blocks: NDArray[np.int32], classifier: CellClassifier) -> None:
        coarse = CoarseClassifier.fit(self._coarse, self._features, classifier, self._center, self._run)
        self._is_coarse = coarse is not None
        for block, probability in () if coarse is None else coarse.predict(blocks, self._run):
            box = self._features.grid.cells_of(block)
            inside = probability[: box.height, : box.width].astype(np.float16)
            self._parts.append(MapPart(box, inside, is_coarse=True))
            self._flush_if_due()

    def predict_view(self) -> None:
        """Predict the view; features that are not known are computed."""
        self._predict_known(self._view)
        self._features.compute(self._view, self._run, self._add)
        self._flush()

    def predict_rest(self) -> None:
        """Predict the rest of the slide, as far as features are known or shall be computed."""
        features, grid = self._features, self._features.grid
        # Tissue is detected only now: that takes a second on a large slide.
        self._tissue = grid.blocks_by_distance(features.tissue_blocks, self._center)
        # Also beyond tissue: blocks that were in view would keep the classes of the previous classifier.
        self._predict_known(grid.blocks_by_distance(features.known_blocks, self._center))
        if self._is_whole:
            features.compute(self._tissue, self._run, self._add)
        self._flush()

    def _predict_known(self, blocks: NDArray[np.int32]) -> None:
        for block in blocks[self._features.known(blocks * BLOCK_CELLS)]:
            self._run.check()
            self._add(block)

    def _add(self, block: NDArray[np.int32]) -> None:
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
        self._flush_if_due()

    def _flush_if_due(self) -> None:
        if monotonic() - self._reported >= REPORT_S:
            self._flush()

    def _flush(self) -> None:
        self._reported = monotonic()
        done, total = (0, None) if self._tissue is None else self._features.progress
        blocks = len(self._view)
        known = blocks if self._tissue is not None else int(self._features.known(self._view * BLOCK_CELLS).sum())
        message = (COARSE_VIEW if self._is_coarse else VIEW).format(known, blocks) if known < blocks else ""
        self._run.report(MapReport(done, total, message, tuple(self._parts), self._tissue))
        self._parts = []


class PaintLoop(QObject):
    """Compute the map of the displayed slide, and compute it again after each change of strokes and view.

    One job at a time, which a change replaces; the features that it has computed are kept. ``fitted``: there is another
    classifier, or none. ``map_changed``: tuple of ``MapPart``.

    ``fit``, ``assessment``: of the current strokes; None until they are known. ``notes``: messages about the strokes.
    ``start``: name of the model whose strokes are used, too. ``tissue``: blocks with tissue, int32 (block, 2), and
    ``done``, ``total``: number of those with features, and of all; None until they are known. ``activity``: what takes
    long now; empty if nothing does.
    """

    fitted = Signal()
    map_changed = Signal(object)
    changed = Signal()
    failed = Signal(object)  # Exception

    def __init__(self, session: SlideSession, stores: FeatureCache, parent: QObject) -> None:
        super().__init__(parent)
        self._session, self._stores = session, stores
        self.choice = Choice()
        self.fit: Fit | None = None
        self.assessment: Assessment | None = None
        self.notes: tuple[str, ...] = ()
        self.tissue: NDArray[np.int32] | None = None
        self.done, self.activity = 0, ""
        self.total: int | None = None
        self.is_running = self.is_paused = False
        self.start = ""
        self._is_warm = self._is_whole = False
        self._strokes: object = None  # that ``fit`` belongs to, with all else that it depends on
        self._predicted: set[tuple[int, int]] = set()  # blocks in the map of ``fit``
        self._timer, self._view_timer = DebounceTimer(self, 0), DebounceTimer(self, VIEW_DELAY_MS)
        for timer in (self._timer, self._view_timer):
            timer.timeout.connect(self._run)
        camera = get_camera(session.services.viewer)
        for event in (camera.events.center, camera.events.zoom):
            follow(self, event, self._on_camera)
        follow(self, session.sessions.changed, self.update)
        follow(self, session.displayed.changed, self.update)

    @property
    def is_complete(self) -> bool:
        return self.total is not None and self.done >= self.total

    def set_needs(self, *, is_warm: bool, is_whole: bool) -> None:
        """Set whether features of the view, and of the whole slide, are computed also without a classifier."""
        if (is_warm, is_whole) != (self._is_warm, self._is_whole):
            if is_warm and not self._is_warm:  # so that the first map does not wait for it
                run_job(self, "libraries", lambda run: load_classifiers(), lambda _: None, self._on_failed)
            self._is_warm, self._is_whole = is_warm, is_whole
            self.update()

    def set_paused(self, is_paused: bool) -> None:
        """Compute the map of the view only, or that of the whole slide."""
        self.is_paused = is_paused
        self.update()

    def update(self) -> None:
        """Compute the map as it is needed now; call this after each change."""
        self._view_timer.stop()
        if not self._session.displayed.value:
            self._stop()
            return
        request = self.make_request()
        sizes = [slide.pixel_size for slide in request.slides]  # another size changes the features at the strokes
        if (strokes := (request.strokes, sizes, request.classes, request.start)) != self._strokes:
            cancel_jobs(self)  # at once: a report that is already posted is of the previous strokes
            self._strokes, self.fit, self.assessment = strokes, None, None
            self._predicted.clear()
            self._timer.stop()
            self._run()  # now: a timer would fire after the strokes are drawn
            return
        self.is_running = True
        self._timer.start()
        self.changed.emit()

    def make_request(self) -> MapRequest:
        """Return what the next job computes."""
        session = self._session
        others = [one for one in list_paintable(session)[1:] if one.painted.value.strokes]
        slides = tuple(
            PaintedSlide(
                one.slide.identity, one.slide.slide, one.slide.info.pixel_size, one.folder, one.painted.value.strokes
            )
            for one in (session, *others)
        )
        view, (height, width) = get_visible_region(session.services.viewer, session.slide), session.slide.size
        top, left = max(0, int(view.top)), max(0, int(view.left))
        bottom, right = min(height, int(view.top + view.height) + 1), min(width, int(view.left + view.width) + 1)
        return MapRequest(
            slides,
            tuple(one.name for one in session.painted.value.classes),
            Box(top, left, max(0, bottom - top), max(0, right - left)),
            self.choice,
            self.fit,
            self.assessment,
            frozenset(self._predicted),
            not self.is_paused,
            self._is_whole,
            self.start,
        )

    def set_start(self, name: str) -> None:
        """Set the model whose strokes are used, too; empty for none."""
        if name != self.start:
            self.start = name
            self.update()

    def _on_camera(self, event: object = None) -> None:
        is_in_view = self._session.displayed.value and self._session.slide.is_shown
        if is_in_view and (self._is_warm or self.fit is not None):
            self._view_timer.start()

    def _run(self) -> None:
        request = self.make_request()
        if not request.can_be_fitted:
            self._set_fit(None)
            if not (self._is_warm or self._is_whole):
                self._stop()
                return
        self.is_running = True
        job = run_job(self, "map", partial(update_map, request, self._stores), self._on_done, self._on_failed)
        job.progressed.connect(self._on_report)
        self.changed.emit()

    def _stop(self) -> None:
        self._timer.stop()
        cancel_jobs(self)
        self._on_done()

    def _on_report(self, report: Progress) -> None:
        self.activity = report.message
        if isinstance(report, FitReport):
            self._set_fit(report.fit, report.notes)
        elif isinstance(report, AssessmentReport):
            self.assessment, self.choice = report.assessment, report.assessment.choice
        elif isinstance(report, MapReport):
            self._predicted |= {part.block for part in report.parts if not part.is_coarse}
            self.tissue = self.tissue if report.tissue is None else report.tissue
            self.done, self.total = report.done, report.total
            if report.parts:
                self.map_changed.emit(report.parts)
        self.changed.emit()

    def _set_fit(self, fit: Fit | None, notes: tuple[str, ...] = ()) -> None:
        self.fit, self.notes = fit, notes
        self._predicted.clear()
        self.fitted.emit()

    def _on_done(self, _: object = None) -> None:
        self.is_running, self.activity = False, ""
        self.changed.emit()

    def _on_failed(self, error: Exception) -> None:
        self._on_done()
        self.failed.emit(error)


def list_paintable(session: SlideSession) -> list[SlideSession]:
    """Return the sessions of brightfield slides, whose strokes train one classifier; that of ``session`` first."""
    return [session, *(one for one in session.sessions if one is not session and one.slide.info.is_rgb)]


def list_strokes(slides: Iterable[PaintedSlideFile]) -> frozenset[Stroke]:
    """Return the strokes of several slides, in no order."""
    return frozenset(stroke for slide in slides for stroke in slide.strokes)
