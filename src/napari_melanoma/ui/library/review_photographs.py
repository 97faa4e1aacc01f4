"""The photographs of a review: ratings and embeddings by the worker, and the one in the viewer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtGui import QInputEvent
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DamagedImage
from napari_melanoma.core.files import FileStamp, file_stamp
from napari_melanoma.ui.lesion.dock import LesionDock, LesionDockLink, read_photograph_layers
from napari_melanoma.ui.library.dock import LibraryDock
from napari_melanoma.ui.library.standby import StandbyPhotograph
from napari_melanoma.ui.readers import LayerData
from napari_melanoma.ui.sections.corrections import confirm_undo
from napari_melanoma.ui.session.corrections_store import CorrectionsStore, is_change_of
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.photograph_opener import confirm_open_damaged
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.camera import find_canvas, find_main_window
from napari_melanoma.ui.viewer.view_memory import show_only, show_photograph
from napari_melanoma.ui.widgets.job import GuiTaskQueue, LatestJobQueue, tasks
from napari_melanoma.ui.widgets.settings import DebounceTimer, DockSettings

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.data.corrections import CorrectionChange

OPENING = "the next photograph was not in view yet. Nothing was stored. Press the key again."
REPEATED = "the same key within {seconds:g} s of a new photograph is ignored. Nothing was stored. Press it again."
REPEAT_S = 0.5  # after a photograph is drawn: a key that is pressed twice was meant for the previous one
PAUSE_MS = 1200  # after a photograph of a series is drawn: a user who stays longer waits for its analysis
MAX_PREFETCHED = 4  # photographs that were read in advance
PRESSES = (QEvent.Type.ShortcutOverride, QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonDblClick)
CLOCK_MS, ROUNDING_MS, MAX_DELAY_MS = 2**32, 100, 60_000  # of the times of events


class Opening(Enum):
    """How far the photograph under review is opened."""

    NONE = auto()  # there is none, or its file cannot be read
    READING = auto()  # the file is being read; the previous photograph is still in view
    DRAWING = auto()  # it is the visible layer; keys that were pressed before or after it was drawn may arrive
    SELECTING = auto()  # it is being selected in the Lesion dock
    SHOWN = auto()
    REDRAWING = auto()  # as DRAWING, but it was selected before: it was hidden or shown, or another one was selected


class PressTime(QObject):
    """The time at which the last key or mouse button was pressed: its event arrives later while the GUI is busy.

    ``value``: by ``time.monotonic``; None before the first press, and where the window system has another clock.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.value: float | None = None

    def watch(self, *windows: QWidget | None) -> None:
        """Notice what is pressed in windows from now on, and forget what was pressed before."""
        self.value = None
        for window in windows:
            if window is not None and (handle := window.windowHandle()) is not None:
                handle.installEventFilter(self)  # again: the same filter is installed once

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Record when a key or a mouse button was pressed."""
        if event.type() in PRESSES and isinstance(event, QInputEvent):
            self.value = find_press_time(event.timestamp(), time.monotonic())
        return False


def find_press_time(timestamp: int, now: float) -> float | None:
    """Convert the time of an event in ms, of which window systems keep 32 bits or more, to that of ``now`` in s.

    None unless it lies shortly before ``now``: then the window system counts from another time.
    """
    delay = (round(1000 * now) - timestamp) % CLOCK_MS
    delay = 0 if delay > CLOCK_MS - ROUNDING_MS else delay
    return now - delay / 1000 if delay <= MAX_DELAY_MS else None


class ReviewOpener(LesionDockLink):
    """Show one photograph at a time in the viewer and the Lesion dock, which stays as it is, and analyze it once.

    ``requested``: one is going to be opened. ``shown``: it is drawn on the canvas, and selected. ``switched``: another
    one was selected in the Lesion dock.
    ``kept_open``: a previous photograph was not closed, because it has unsaved corrections.
    """

    requested = Signal()
    shown = Signal(object)  # Path
    switched = Signal(object)  # Path
    identified = Signal(object, str)  # Path, digest of the pixels
    stored = Signal(object, object)  # Path, StoredCorrection
    classifier_changed = Signal()  # in the Lesion dock
    kept_open = Signal(str)  # name of the layer
    open_failed = Signal(object, object)  # Path, the exception

    def __init__(self, viewer: Viewer, dock: QWidget) -> None:
        super().__init__(viewer, dock)
        self._requested_path: Path | None = None  # the photograph under review
        self._state = Opening.NONE  # of that photograph
        self._loading_path = Path()
        self._accepted: set[Path] = set()  # damaged photographs that the user chose to open
        self._opened: dict[str, Path] = {}  # photographs that were opened here, by identity
        self._analyzed: set[str] = set()  # identities of photographs whose automatic analysis was started
        self._closing: set[str] = set()  # identities of those that are going to be closed
        self._later = GuiTaskQueue(self)  # each in a turn of the event loop of its own, after a photograph is shown
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_read)
        self._latest.failed.connect(self._on_failed)
        self._prefetched: dict[Path, tuple[FileStamp | None, list[LayerData]]] = {}  # with the version of the file
        self._prefetching = LatestJobQueue(self)
        self._last_prefetch = ""  # path
        self._standby = StandbyPhotograph(viewer, dock)
        self._prefetching.succeeded.connect(self._on_prefetched)  # errors are reported when it is opened
        self._analysis_timer = DebounceTimer(self, PAUSE_MS)
        self._analysis_timer.timeout.connect(self._analyze)
        self._press_time = PressTime(self)
        self._canvas: QWidget | None = None  # whose frames are noticed
        self._is_painted = False
        self._drawn_time: float | None = None  # by ``time.monotonic``, of the photograph under review
        self._held: Callable[[], None] | None = None  # of a key that was pressed after the drawing
        # One after the other, from the paint event on: it is drawn, and keys that have waited are delivered
        self._drawing_timers = tuple(DebounceTimer(self, 0) for _ in range(2))
        self._drawing_timers[0].timeout.connect(self._on_frame)
        for timer, following in pairwise(self._drawing_timers):
            timer.timeout.connect(following.start)
        self._drawing_timers[-1].timeout.connect(self._on_drawn)

    @property
    def session(self) -> PhotographSession | None:
        """The photograph that is selected in the Lesion dock; None if there is none, or no dock."""
        return None if self.connected_dock is None else self.connected_dock.picker.session

    @property
    def path(self) -> Path | None:
        """The photograph under review; None if there is none."""
        return self._requested_path

    @property
    def ready(self) -> bool:
        """Whether the photograph under review is shown, and has a mask that can be accepted."""
        lesion = None if self.session is None else self.session.masked_lesion
        return self.is_shown and lesion is not None and not lesion.is_before_prompts

    @property
    def is_shown(self) -> bool:
        """Whether the photograph under review is the one on the canvas, and selected in the Lesion dock."""
        dock, session = self.connected_dock, self.session
        if self._state is not Opening.SHOWN or dock is None or session is None:
            return False
        return session.is_open and session.path == self._requested_path and not dock.picker.hidden_reason

    @property
    def is_opening(self) -> bool:
        """Whether the photograph under review is still being read, drawn or selected."""
        return self._state not in (Opening.NONE, Opening.SHOWN)

    @property
    def classifier(self) -> str:
        """The classifier that is selected in the Lesion dock; that of its settings if it was not opened."""
        dock = self.connected_dock
        return DockSettings().classifier if dock is None else dock.classifier.model

    @property
    def is_pressed_in_view(self) -> bool:
        """Whether the last key was pressed while the photograph under review was on the canvas.

        Without a time of the press, whether its event arrived afterwards.
        """
        if not self.is_opening:
            return self.is_shown
        pressed, drawn = self._press_time.value, self._drawn_time
        return pressed is not None and drawn is not None and pressed >= drawn

    @property
    def seconds_in_view(self) -> float:
        """How long the photograph under review had been in view when the last key was pressed; 0 if it is not."""
        pressed, drawn = self._press_time.value, self._drawn_time
        if drawn is None:
            return 0.0
        return (pressed if pressed is not None and pressed >= drawn else time.monotonic()) - drawn

    def hold(self, action: Callable[[], None]) -> None:
        """Run an action once the photograph under review is selected, unless another one is opened before."""
        self._held = action

    def open(self, path: Path, *, in_series: bool = False) -> None:
        """Show a photograph; of several requests in a row, only the latest one is read.

        ``in_series``: after the previous one was labeled. It is analyzed only once the user pauses, since the layers
        of an analysis take several times as long as the photograph itself.
        """
        self._requested_path, self._held, self._drawn_time = path, None, None
        self._press_time.watch(self._dock.window(), find_main_window(self._dock))
        self._stop_timers()
        self._analysis_timer.setInterval(PAUSE_MS if in_series else 0)
        self.requested.emit()
        self._set_state(Opening.READING)
        self.require_lesion_dock()
        image = self.find_image(path)
        version, layers = self._prefetched.pop(path, (None, None))
        if image is not None:
            self._latest.submit("open", lambda: None)  # replaces a pending request
            self._show(image)
        elif self._standby.open(path):
            self._latest.submit("open", lambda: None)
            self._show_new(path)
        elif layers is not None and version == file_stamp(path):
            self._latest.submit("open", lambda: None)
            self._on_read((path, layers))
        else:
            self._latest.submit("open", partial(self._prepare_read, path))

    def reset(self) -> None:
        """Review no photograph any more: others are listed. The one in view is closed when another is opened."""
        self._requested_path = self._held = self._drawn_time = None
        self._stop_timers()
        self._latest.stop("open")
        self._prefetching.cancel()
        self._prefetched.clear()
        self._standby.remove()
        self._set_state(Opening.NONE)

    def _stop_timers(self) -> None:
        for timer in (self._analysis_timer, *self._drawing_timers):
            timer.stop()

    def _set_state(self, state: Opening) -> None:
        self._state = state
        tasks.set_running(self, state in (Opening.DRAWING, Opening.REDRAWING))
        self.changed.emit()

    def prefetch(self, path: Path) -> None:
        """Read a photograph that will probably be opened next."""
        if path not in self._prefetched and not self._prefetching.has(str(path)) and self.find_image(path) is None:
            self._prefetching.drop(self._last_prefetch)
            self._last_prefetch = str(path)
            self._prefetching.submit(self._last_prefetch, lambda: partial(_prefetch, path))

    def accept(self) -> None:
        """Store the photograph in view with its mask."""
        if self.connected_dock is not None and self.ready:
            self.connected_dock.hosted.toggle_tool("correct")

    def reject(self) -> None:
        """Store the photograph in view as rejected."""
        if self.connected_dock is not None and self.session is not None and self.is_shown:
            self.connected_dock.corrections.reject(self.session)

    def connect_lesion_dock(self, dock: LesionDock) -> None:
        """Connect the signals of a Lesion dock."""
        dock.corrections.stored.connect(self._on_stored)
        dock.controller.changed.connect(self._on_analyzed)
        dock.analysis_controller.changed.connect(self._analyze)
        dock.picker.changed.connect(self._on_picked)
        dock.picker.visibility_changed.connect(self._on_visibility)
        dock.classifier.changed.connect(self.classifier_changed)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Notice that the canvas is drawn, or hidden."""
        if event.type() in (QEvent.Type.Paint, QEvent.Type.Hide):
            watched.removeEventFilter(self)
            if self._state in (Opening.DRAWING, Opening.REDRAWING):
                self._is_painted = True
                self._drawing_timers[0].start()
        return False

    def _on_frame(self) -> None:
        """Record when the photograph is on the screen: with the first frame after the paint event.

        Without frames, as on some platforms, in the next turn of the event loop.
        """
        if self._is_painted and self._drawn_time is None:
            self._drawn_time = time.monotonic()

    def _on_picked(self) -> None:
        """Review the photograph that the user has selected in the Lesion dock."""
        is_own = self.is_opening and self._state is not Opening.REDRAWING
        session = self.session
        self._on_visibility()
        if session is not None and not is_own and session.path not in (None, self._requested_path):
            self.switched.emit(session.path)

    def _on_visibility(self) -> None:
        """Take no action on the photograph under review until it is drawn again."""
        if self._state in (Opening.SHOWN, Opening.REDRAWING):
            self._await_drawing(Opening.REDRAWING)
        elif self._state is Opening.DRAWING:
            self._await_drawing(Opening.DRAWING)
        else:
            self.changed.emit()

    def _show(self, image: Image) -> None:
        show_only(self.viewer, image)
        self._await_drawing(Opening.DRAWING)

    def _await_drawing(self, state: Opening) -> None:
        """Take no action on the photograph under review until it is drawn, as the previous one is still in view."""
        window = find_main_window(self._dock)
        canvas = None if window is None else find_canvas(window)
        image = None if self._requested_path is None else self.find_image(self._requested_path)
        for timer in self._drawing_timers:
            timer.stop()
        self._is_painted, self._drawn_time = False, None
        self._set_state(state)
        if canvas is not None and canvas.isVisible() and image is not None and image.visible:
            if canvas is not self._canvas:
                self._canvas = canvas
                canvas.frameSwapped.connect(self._on_frame)
            canvas.installEventFilter(self)
            canvas.update()
        else:
            self._on_drawn()

    def _on_drawn(self) -> None:
        """Let the Lesion dock follow, which takes longer than the drawing; keys pressed meanwhile are handled after."""
        image = None if self._requested_path is None else self.find_image(self._requested_path)
        if image is not None and self._state is Opening.DRAWING:
            self._set_state(Opening.SELECTING)
            show_photograph(self.viewer, image)
            active = self.viewer.layers.selection.active
            if active is None or photographs.get_identity(active) != photographs.get_identity(image):
                self.viewer.layers.selection.active = image
        self._drawn_time = self._drawn_time or time.monotonic()
        held, self._held = self._held, None
        self._set_state(Opening.SHOWN)
        if self.is_shown and self._requested_path is not None:
            self.shown.emit(self._requested_path)
            others = {identity for identity, path in self._opened.items() if path != self._requested_path}
            self._later.add(*(partial(self._close, identity) for identity in others - self._closing), self._stand_by)
            self._closing |= others
            self._analysis_timer.start()
        if held is not None:
            held()

    def _on_prefetched(self, result: tuple[Path, FileStamp | None, list[LayerData]]) -> None:
        path, version, layers = result
        if path == self._requested_path and self._state is Opening.READING and version == file_stamp(path):
            self._on_read((path, layers))  # it was opened meanwhile
            return
        self._prefetched[path] = version, layers
        while len(self._prefetched) > MAX_PREFETCHED:
            del self._prefetched[next(iter(self._prefetched))]
        self._later.add(self._stand_by)

    def _stand_by(self) -> None:
        """Add the photograph that will probably be opened next, while the user looks at the one in view."""
        path = Path(self._last_prefetch)
        version, layers = self._prefetched.get(path, (None, ()))
        if self.is_shown and len(layers) == 1 and self.find_image(path) is None:
            self._standby.prepare(path, version, layers[0])

    def _on_read(self, result: tuple[Path, list[LayerData]] | None) -> None:
        from napari.layers import Layer

        if result is None or result[0] != self._requested_path or self._state is not Opening.READING:
            return
        path, layers = result
        if (open_image := self.find_image(path)) is not None:  # it was requested again while it was read
            self._show(open_image)
            return
        for data, attributes, kind in layers:
            photographs.insert_unselected(self.viewer, len(self.viewer.layers), Layer.create(data, attributes, kind))
        self._show_new(path)

    def _show_new(self, path: Path) -> None:
        """Show a photograph whose layer was added here."""
        image = self.find_image(path)
        if image is None:
            self._set_state(Opening.NONE)
        else:
            self._opened[str(photographs.get_identity(image))] = path
            self._show(image)

    def _prepare_read(self, path: Path) -> Callable[[RunContext], tuple[Path, list[LayerData]]]:
        """Return the job that reads a photograph."""
        self._loading_path = path
        return partial(read_photograph_layers, path, accept_damaged=True if path in self._accepted else None)

    def _on_failed(self, error: Exception) -> None:
        path = self._loading_path
        if path != self._requested_path or self._state is not Opening.READING:  # it may have been read in advance
            return
        self._set_state(Opening.NONE)
        if isinstance(error, DamagedImage):
            decline = partial(self.open_failed.emit, path, error)
            confirm_open_damaged(self._dock, path, error.damage, partial(self._open_damaged, path), decline)
        else:
            self.open_failed.emit(path, error)

    def _open_damaged(self, path: Path) -> None:
        """Open a damaged photograph after the user has agreed."""
        self._accepted.add(path)
        self.open(path)

    def _close(self, identity: str) -> None:
        """Close a photograph, unless it has unsaved corrections, or the user has returned to it."""
        self._closing.discard(identity)
        images = photographs.identify_photographs(self.viewer)
        image = next((layer for layer in images if photographs.get_identity(layer) == identity), None)
        if self._opened.get(identity) in (None, self._requested_path):
            return
        if image is not None and self._has_unsaved_work(identity):
            self.kept_open.emit(image.name)
            return
        self._opened.pop(identity)
        if image is not None:
            for layer in reversed(photographs.find_layers(self.viewer, image)):
                self.viewer.layers.remove(layer)

    def _has_unsaved_work(self, identity: str) -> bool:
        """Return whether a photograph has unsaved corrections or strokes, or waits to be stored; True if unknown."""
        session, dock = self.find_session(identity), self.connected_dock
        if session is None or dock is None or dock.controller.is_storing(session):
            return True
        if session.masked_lesion is None:
            return session.is_corrected
        return session.has_unsaved_corrections or session.strokes is not None

    def _analyze(self) -> None:
        """Analyze the photograph in view once, when the Lesion dock is idle."""
        dock = self.connected_dock
        if dock is None or not self.is_shown or self._analysis_timer.isActive():
            return
        if not tasks.is_idle(dock.analysis_controller.queue):
            return
        session = dock.picker.session
        if session is not None and dock.predictions.is_loading(session):
            self._analysis_timer.setInterval(PAUSE_MS)  # its saved mask may be shown instead
            self._analysis_timer.start()
        elif session is not None and session.lesion is None and session.identity not in self._analyzed:
            self._analyzed.add(session.identity)
            dock.analyze_button.click()

    def _on_analyzed(self, session: PhotographSession) -> None:
        if session.path is not None and session.lesion is not None:
            self.identified.emit(session.path, session.lesion.image_digest)
        self.changed.emit()

    def _on_stored(self, session: PhotographSession, stored: object) -> None:
        if session.path is not None and session.is_open:
            self.stored.emit(session.path, stored)


class ReviewChanges:
    """What the user stores during a review: which keys act, its undo, and its messages.

    A message does not hide the notice that a key was ignored.
    """

    def __init__(self, dock: LibraryDock, opener: ReviewOpener, store: CorrectionsStore) -> None:
        self._dock, self._opener, self._store = dock, opener, store
        self._rows: list[Mapping[str, str]] = []  # as they were stored here, also of folders that are not listed now
        self._early_keys = 0  # number of the last keys in a row
        self._notice = ""  # that a key was ignored
        self._last_number: int | None = None  # of the last diagnosis

    def add(self, row: Mapping[str, str]) -> None:
        """Record a row that was stored here, so that its undo does not ask."""
        self._rows.append(row)

    def record_number(self, number: int) -> None:
        """Record the number key by which a diagnosis was given: pressed again at once, it is ignored."""
        self._last_number = number

    def admits(self, action: Callable[[], None], number: int | None = None) -> bool:
        """Return whether the action of a key may run now.

        A key that was pressed before the photograph was in view is ignored, and so is the ``number`` of the last
        diagnosis shortly afterwards; both are reported until the next key. While the Lesion dock selects the photograph
        in view, the action is run afterwards.
        """
        opener = self._opener
        if opener.is_opening and not opener.is_pressed_in_view:
            self._early_keys += 1
            count = self._early_keys
            self._show_notice(f"{'Too early' if count == 1 else f'{count} keys were too early'}: {OPENING}")
            return False
        if number is not None and number == self._last_number and opener.seconds_in_view < REPEAT_S:
            self._show_notice(f"{number} again: {REPEATED.format(seconds=REPEAT_S)}")
            return False
        if opener.is_opening:
            opener.hold(action)
            return False
        self.end_notice()
        return True

    def _show_notice(self, text: str) -> None:
        """Show a text until the user acts; the progress of embeddings must not replace it."""
        self._notice = text
        self._dock.status.show_error(text)

    def end_notice(self) -> None:
        """End the notice that keys were ignored: a key acts, or other photographs are listed."""
        self._dock.status.end_message(self._notice)
        self._early_keys, self._notice = 0, ""

    def show_stored(self, message: str) -> None:
        """Show what was stored."""
        if self._notice:
            self._show_notice(f"{message} {self._notice}")
        else:
            self._dock.status.show_message(message)

    def undo(self) -> None:
        """Undo the last change of the corrections; ask first if it is of another photograph, not stored here."""
        session = self._opener.session if self._opener.is_shown else None
        source, name = (None, "") if session is None else (session.source, session.name)

        def is_own(change: CorrectionChange) -> bool:
            return change.after in self._rows or (source is not None and is_change_of(source, change))

        self._store.undo(is_own, partial(confirm_undo, self._dock, open_name=name, title="Review"))


def _prefetch(path: Path, run: RunContext) -> tuple[Path, FileStamp | None, list[LayerData]]:
    """Read a photograph as layers, and return its path and version with them; call this in a thread."""
    version = file_stamp(path)
    return path, version, read_photograph_layers(path, run)[1]
