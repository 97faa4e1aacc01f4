"""Kinetic panning: if the view is moving when the mouse button is released, it glides to a stop."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QGuiApplication, QMouseEvent
from qtpy.QtWidgets import QApplication, QStyle

from napari_melanoma.ui.viewer.camera import get_camera, get_zoom
from napari_melanoma.ui.widgets.job import BackgroundJob

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.core.context import RunContext

STEP_MS = 16  # interval between steps of the view
SAMPLE_S = 0.08  # the speed is measured over this time at the end of the drag
REST_S = 0.05  # the view does not glide if the mouse rested this long before the release
MAX_WAITS = 20  # steps to wait until napari has moved the camera for the drag; drawing may take seconds
DECAY_S = 0.25  # time in which the speed falls to 37 %
# In pixels of the canvas per second: least speed to start with, speed at which to stop, and highest speed
MIN_START, MIN_SPEED, MAX_SPEED = 200.0, 15.0, 5000.0
STOPPING_EVENTS = (QEvent.Type.KeyPress, QEvent.Type.MouseButtonPress, QEvent.Type.Wheel, QEvent.Type.Hide)
WINDOWS_ANIMATIONS = 0x1042  # SPI_GETCLIENTAREAANIMATION
SETTING_TIMEOUT_S = 2.0


class KineticPanning(QObject):
    """Let the view glide after a drag on the canvas, until a key, a mouse press or another movement of the camera.

    ``can_show``: whether the view may be centered on a position (y, x) in the viewer; the view stops where it may not.
    """

    def __init__(self, viewer: Viewer, parent: QObject, can_show: Callable[[tuple[float, float]], bool]) -> None:
        super().__init__(parent)
        self._viewer, self._can_show = viewer, can_show
        self._canvas: QWidget | None = None
        self._samples: deque[tuple[float, float, float]] = deque()  # time, and position (y, x) on the canvas
        self._start: tuple[float, ...] | None = None  # center of the view when the button was pressed
        self._velocity = (0.0, 0.0)  # (y, x) in pixels of the canvas per second
        self._last_step = 0.0  # time in seconds
        self._waits = 0
        self._expected: tuple[float, ...] = ()  # center of the view after the last step
        self.is_reduced = True  # whether the view never glides; True until the system's setting is read
        self._timer = QTimer(self)
        self._timer.setInterval(STEP_MS)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._move)
        self._job: BackgroundJob | None = None

    @property
    def is_gliding(self) -> bool:
        """Whether the view is gliding."""
        return bool(self._timer.isActive())

    def watch(self, canvas: QWidget | None) -> None:
        """Follow the mouse on a canvas instead of the previous one; None for no canvas."""
        if canvas is self._canvas:
            return
        self.stop()
        if self._canvas is not None:
            with suppress(RuntimeError):  # it was deleted with its window
                self._canvas.removeEventFilter(self)
        self._canvas = canvas
        if canvas is not None:
            canvas.installEventFilter(self)
            if self._job is None:
                self._read_setting()

    def stop(self) -> None:
        """Stop gliding and measuring."""
        self._timer.stop()
        self._samples.clear()
        self._start = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Measure the speed of a drag; all events are passed on."""
        if event is None:
            return False
        kind = event.type()
        if kind in STOPPING_EVENTS:
            self.stop()
        if isinstance(event, QMouseEvent):
            if kind == QEvent.Type.MouseButtonPress:
                self._on_press(event)
            elif kind == QEvent.Type.MouseMove and self._start is not None:
                self._sample(event)
            elif kind == QEvent.Type.MouseButtonRelease and self._start is not None:
                self._on_release(event)
        return False

    def _read_setting(self) -> None:
        self._job = BackgroundJob(read_system_setting)
        is_reduced = is_motion_reduced()
        if is_reduced is None:
            self._job.succeeded.connect(self._set_reduced)
            self._job.start(self)
        else:
            self.is_reduced = is_reduced

    def _set_reduced(self, is_reduced: bool) -> None:
        self.is_reduced = is_reduced

    def _on_press(self, event: QMouseEvent) -> None:
        camera = get_camera(self._viewer)
        is_plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        if event.button() == Qt.MouseButton.LeftButton and is_plain and camera.mouse_pan and not self.is_reduced:
            self._start = tuple(camera.center)
            self._sample(event)

    def _sample(self, event: QMouseEvent) -> None:
        now, position = _get_time(event), event.position()
        self._samples.append((now, position.y(), position.x()))
        while len(self._samples) > 2 and now - self._samples[0][0] > SAMPLE_S:  # at least two, even if drawing is slow
            self._samples.popleft()

    def _on_release(self, event: QMouseEvent) -> None:
        """Start to glide if the mouse was moving."""
        now, start = _get_time(event), self._start
        samples = list(self._samples)
        self._samples.clear()
        if len(samples) < 2 or now - samples[-1][0] > REST_S or not get_camera(self._viewer).mouse_pan:
            self.stop()
            return
        elapsed = max(samples[-1][0] - samples[0][0], STEP_MS / 1000)
        velocity = [(samples[-1][axis] - samples[0][axis]) / elapsed for axis in (1, 2)]
        speed = math.hypot(*velocity)
        if speed < MIN_START:
            self.stop()
            return
        factor = min(1.0, MAX_SPEED / speed)
        self._velocity = (velocity[0] * factor, velocity[1] * factor)
        self._last_step = perf_counter()
        self._expected, self._start, self._waits = (), start, 0
        self._timer.start()

    def _move(self) -> None:
        """Move the view by one step, and slow it down."""
        camera = get_camera(self._viewer)
        center = tuple(camera.center)
        if not self._expected and center == self._start:  # not drawn yet, or the drag did not move the view
            self._last_step = perf_counter()
            self._waits += 1
            if self._waits > MAX_WAITS:
                self.stop()
            return
        was_moved = bool(self._expected) and any(
            not math.isclose(actual, expected, rel_tol=1e-9, abs_tol=1e-6)
            for actual, expected in zip(center, self._expected, strict=True)
        )
        now = perf_counter()
        decay = math.exp(-(now - self._last_step) / DECAY_S)
        steps = [speed * DECAY_S * (1 - decay) / get_zoom(self._viewer) for speed in self._velocity]
        target = (*center[:-2], center[-2] - steps[0], center[-1] - steps[1])
        self._velocity, self._last_step = (self._velocity[0] * decay, self._velocity[1] * decay), now
        if was_moved or math.hypot(*self._velocity) < MIN_SPEED or not self._can_show((target[-2], target[-1])):
            self.stop()
            return
        camera.center = target
        self._expected = tuple(camera.center)


def _get_time(event: QMouseEvent) -> float:
    """Return when the mouse moved, in seconds; the event may be handled later, while the view is drawn."""
    return event.timestamp() / 1000 if event.timestamp() else perf_counter()


def is_motion_reduced() -> bool | None:
    """Return whether Qt reports reduced motion, or a style without animations; None if it does not report it."""
    hints = getattr(QGuiApplication.styleHints(), "accessibility", lambda: None)()
    preference = getattr(hints, "motionPreference", None)
    if preference is not None:
        return bool(str(preference()).endswith("ReducedMotion"))
    return None if QApplication.style().styleHint(QStyle.StyleHint.SH_Widget_Animation_Duration) else True


def read_system_setting(run: RunContext) -> bool:
    """Return whether the system is set to reduce motion; call this in a thread, as it may run a program."""
    if sys.platform == "win32":
        import ctypes

        is_animated = ctypes.c_int(1)
        ctypes.windll.user32.SystemParametersInfoW(WINDOWS_ANIMATIONS, 0, ctypes.byref(is_animated), 0)
        return not is_animated.value
    if sys.platform == "darwin":
        return _run_program("defaults", "read", "com.apple.universalaccess", "reduceMotion") == "1"
    return _run_program("gsettings", "get", "org.gnome.desktop.interface", "enable-animations") == "false"


def _run_program(*command: str) -> str:
    """Return the output of a program of the system; empty if it fails or is missing."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SETTING_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()
