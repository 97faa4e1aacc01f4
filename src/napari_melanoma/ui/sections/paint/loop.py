"""The loop of the Paint section: each change of the strokes updates the map, the view first, in a background thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
from napari_melanoma.ui.sections.paint.mapping import (
    FeatureCache,
    Fit,
    FitReport,
    MapReport,
    MapRequest,
    PaintedSlide,
    update_map,
)
from napari_melanoma.ui.viewer.camera import get_camera, get_visible_region
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.context import Progress
    from napari_melanoma.slides.tissue_classifier.fitting import ClassifierKind
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.widgets.job import JobFunction

VIEW_DELAY_MS = 300  # after which the features of another view are computed
MIN_CLASSES = 2
MIN_BLOCKS = 8  # computed before the remaining time is estimated


@dataclass(frozen=True)
class LoopState:
    """What the loop is doing.

    ``done``, ``total``: blocks of tissue whose features are known; ``total`` is None until they have been counted.
    ``left_s``: estimated time to the end; None if unknown. ``activity``: what is done before; empty if
    nothing is. ``is_paused``: the user has canceled the work beyond the view. ``is_fitted``: there
    is a classifier of the current strokes.
    """

    is_running: bool = False
    done: int = 0
    total: int | None = None
    left_s: float | None = None
    activity: str = ""
    is_paused: bool = False
    is_fitted: bool = False


@dataclass(frozen=True)
class LoopOptions:
    """How the map is computed. ``is_warm``: features of the view are computed also before there is a classifier.

    ``is_whole``: those of the whole slide, too. ``temperature``: of the classifier.
    """

    source: str
    kind: ClassifierKind
    is_warm: bool = False
    is_whole: bool = False
    temperature: float = 1.0


class PaintLoop(QObject):
    """Compute the map of a slide, and compute it again after each change of strokes, view and options.

    One job runs at a time: a change cancels it, and the features that it has computed are kept. ``fitted``: a ``Fit``,
    or None while strokes are missing. ``map_changed``: tuple of ``MapPart``.
    """

    fitted = Signal(object)
    map_changed = Signal(object)
    state_changed = Signal()
    failed = Signal(object)  # Exception

    def __init__(self, session: SlideSession, parent: QObject, stores: FeatureCache, options: LoopOptions) -> None:
        super().__init__(parent)
        self._session, self._stores, self._options = session, stores, options
        self.state = LoopState()
        self.fit: Fit | None = None  # None if it must be computed
        self.tissue: NDArray[np.int32] | None = None  # blocks with tissue, int32 (block, 2); None until they are known
        self.notes: tuple[str, ...] = ()  # messages about the strokes of the latest fit
        self._predicted: set[tuple[int, int]] = set()  # blocks in the map of ``fit``
        self._queue = LatestJobQueue(self)
        self._queue.progressed.connect(self._on_report)
        self._queue.failed.connect(self.failed)
        self._queue.idle.connect(self._on_idle)
        self._clock: tuple[float, int] | None = None  # time and known blocks when the job began beyond the view
        self._view_timer = DebounceTimer(self, VIEW_DELAY_MS)
        self._view_timer.timeout.connect(self._restart)
        self._events = Connections()
        camera = get_camera(session.services.viewer)
        for event in (camera.events.center, camera.events.zoom):
            self._events.connect(event, self._on_camera)
        session.sessions.changed.connect(self._on_strokes)

    @property
    def options(self) -> LoopOptions:
        """How the map is computed."""
        return self._options

    def set_options(self, options: LoopOptions) -> None:
        """Compute the map with other options."""
        if options == self._options:
            return
        previous, self._options = self._options, options
        if (options.source, options.kind) != (previous.source, previous.kind):
            self._discard_fit()
        elif options.temperature != previous.temperature:
            if self.fit is not None:
                self.fit = self.fit.with_temperature(options.temperature)
            self._predicted.clear()
        self._restart()

    def use_features(self, options: LoopOptions) -> None:
        """Compute the map with other features, and assess them again."""
        self._options, self.tissue = options, None
        self._discard_fit()
        self._set_state(done=0, total=None)
        self._restart()

    def start(self) -> None:
        """Compute the map of the stored strokes."""
        self._restart()

    def pause(self) -> None:
        """Stop computing beyond the view; the view is still updated."""
        self._set_state(is_paused=True)
        self._restart()

    def resume(self) -> None:
        """Continue to compute beyond the view."""
        self._set_state(is_paused=False)
        self._restart()

    def close(self) -> None:
        """Cancel the job, and disconnect."""
        self._session.sessions.changed.disconnect(self._on_strokes)
        self._events.close()
        self._view_timer.stop()
        self._queue.idle.disconnect(self._on_idle)
        self._queue.cancel()

    def _on_strokes(self) -> None:
        self._discard_fit()
        self._restart()

    def _on_camera(self, event: object = None) -> None:
        if self._options.is_warm or self.fit is not None:
            self._view_timer.start()

    def _discard_fit(self) -> None:
        self.fit = None
        self._predicted.clear()

    def _restart(self) -> None:
        """Compute the map again, when the running job has ended."""
        self._queue.cancel()
        self._queue.submit("map", self._prepare)
        self._set_state(is_running=True, left_s=None)

    def _prepare(self) -> JobFunction | None:
        """Return the next job; None if there is nothing to compute."""
        painted = {
            stroke.class_name for session in list_paintable(self._session) for stroke in session.painted.value.strokes
        }
        self._clock = None
        if len(painted) < MIN_CLASSES:
            self._set_fit(None)
            if not (self._options.is_warm or self._options.is_whole):
                return None
        return partial(update_map, self.make_request(), self._stores)

    def make_request(self) -> MapRequest:
        """Return what the next job computes."""
        session = self._session
        others = [one for one in list_paintable(session)[1:] if one.painted.value.strokes]
        return MapRequest(
            tuple(_snapshot(one) for one in (session, *others)),
            tuple(one.name for one in session.painted.value.classes),
            self._options.source,
            self._options.kind,
            _visible_box(session),
            self.fit,
            frozenset(self._predicted),
            not self.state.is_paused,
            self._options.is_whole,
            self._options.temperature,
        )

    def _on_report(self, report: Progress) -> None:
        self.state = replace(self.state, activity=report.message)
        if isinstance(report, FitReport):
            self._set_fit(report.fit, report.notes)
        elif isinstance(report, MapReport):
            self._predicted |= {
                (part.cells.top // BLOCK_CELLS, part.cells.left // BLOCK_CELLS) for part in report.parts
            }
            self.tissue = self.tissue if report.tissue is None else report.tissue
            if report.parts:
                self.map_changed.emit(report.parts)
            self._set_state(done=report.done, total=report.total, left_s=self._estimate(report))
        else:
            self.state_changed.emit()

    def _estimate(self, report: MapReport) -> float | None:
        """Return the time to the end in seconds; None if it is unknown."""
        if report.total is None:
            return None
        if self._clock is None:
            self._clock = monotonic(), report.done
        seconds, blocks = monotonic() - self._clock[0], report.done - self._clock[1]
        return None if blocks < MIN_BLOCKS else (report.total - report.done) * seconds / blocks

    def _set_fit(self, fit: Fit | None, notes: tuple[str, ...] = ()) -> None:
        self.fit, self.notes = fit, notes
        self.state = replace(self.state, is_fitted=fit is not None)
        self.fitted.emit(fit)

    def _on_idle(self) -> None:
        self._set_state(is_running=False, activity="")

    def _set_state(self, **changes: Any) -> None:  # noqa: ANN401 - of any field
        self.state = replace(self.state, **changes)
        self.state_changed.emit()


def list_paintable(session: SlideSession) -> list[SlideSession]:
    """Return the sessions of brightfield slides, whose strokes train one classifier; that of ``session`` first."""
    return [session, *(one for one in session.sessions if one is not session and one.slide.info.is_rgb)]


def _snapshot(session: SlideSession) -> PaintedSlide:
    slide, size = session.slide, session.slide.info.pixel_size
    return PaintedSlide(slide.identity, slide.slide, size, session.folder, session.painted.value.strokes)


def _visible_box(session: SlideSession) -> Box:
    """Return the visible part of the slide in whole pixels of the finest level."""
    view = get_visible_region(session.services.viewer, session.slide)
    top, left = max(0, int(view.top)), max(0, int(view.left))
    bottom = min(session.slide.size[0], int(view.top + view.height) + 1)
    right = min(session.slide.size[1], int(view.left + view.width) + 1)
    return Box(top, left, max(0, bottom - top), max(0, right - left))
