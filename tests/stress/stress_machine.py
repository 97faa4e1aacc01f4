"""The machine of random actions: draws a step, carries it out in napari windows, and checks what must always hold."""

from __future__ import annotations

import faulthandler
import gc
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

from stress_files import write_material

ROOT = Path(__file__).resolve().parents[2]
DOCKS = ("Lesion", "Slide", "Case", "Train", "Review", "Tray")
STUCK_S = 60  # longer than this, nothing may be busy, and the event loop may not stand still
SLOW_S = 1.0  # stalls of the event loop from here on are listed with their place
MODAL_S = 20  # a question must be gone after this time of random answers
GROWTH_MB = 400  # allowed growth of the memory over the second half
KEPT_LAYERS = 14  # from here on, layers are removed more often

KEYS = (
    *("Escape", "Delete", "Backspace", "Space", "Return", "Tab", "PageUp", "PageDown", "Left", "Right", "Up", "Down"),
    *("Home", "End", "Plus", "Minus", "BracketLeft", "BracketRight", "F1", "F5"),
)
SUITED = {
    "Lesion": ["dermoscopic", "dermoscopic 2", "macroscopic", "several", "ome photograph", "tiled photograph"],
    "Slide": ["slide", "slide 2", "unscaled slide", "labeled slide", "fluorescence"],
    "Case": ["case", "case", "dermoscopic", "slide", "macroscopic"],
    "Train": ["dataset"],
    "Review": ["dataset", "folder"],
    "Tray": ["dermoscopic", "slide", "macroscopic", "case"],
}

Step = dict[str, Any]


def write_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Faults:
    """Faults by their signature; the same one is listed once and counted."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self.step, self.last = -1, ""
        self.lock = threading.Lock()

    def add(self, kind: str, signature: str, text: str) -> None:
        with self.lock:
            key = f"{kind}: {signature}"
            if key in self.found:
                self.found[key]["count"] += 1
                return
            self.found[key] = {"kind": kind, "step": self.step, "text": text, "count": 1}
            write_line(f"FAULT at step {self.step}: {key}\n{text}\n")

    def add_exception(self, error: BaseException, kind: str = "traceback") -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "napari_melanoma" in f.filename]
        if not ours and any(f.name in {"dropEvent", "_save_layers_dialog"} for f in frames):
            return  # napari opens dropped files and saves layers itself, and raises what it shows to the user
        ours = ours or frames
        place = " < ".join(f"{Path(f.filename).name}:{f.name}" for f in reversed(ours[-2:]))
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.add(kind, f"{type(error).__name__} in {place}", text)


class Machine:
    """Draws steps from a seed, or repeats steps, in a napari window; ``faults`` has what was wrong."""

    def __init__(self, home: Path, seed: int, log: Path, *, training: bool = True) -> None:
        self.home, self.seed, self.training = home, seed, training
        self.rng = random.Random(seed)
        self.faults = Faults()
        self.log = log.open("w", encoding="utf-8")
        self.steps: list[Step] = []
        self.kinds: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.qt_messages: Counter[str] = Counter()
        self.warned: Counter[str] = Counter()
        self.slowest: list[tuple[float, int, str]] = []
        self.stalls: list[tuple[float, int, str]] = []
        self.memory: list[float] = []
        self.beat, self.own_work = time.monotonic(), False
        self.windows: list[Any] = []
        self.busy_since: float | None = None
        self.documents: WeakSet[Any] = WeakSet()
        self.answers = random.Random(0)
        self.ended = False
        self.material = write_material(home / "material")
        self.saved = home / "saved"
        self.saved.mkdir()
        self._watch()

    # -- watching

    def _watch(self) -> None:
        from napari.utils.notifications import notification_manager
        from qtpy.compat import isalive
        from qtpy.QtCore import QCoreApplication, Qt, QTimer, QtMsgType, qInstallMessageHandler
        from qtpy.QtGui import QDesktopServices
        from qtpy.QtWidgets import QApplication, QFileDialog

        from napari_melanoma.core.errors import MelanomaError
        from napari_melanoma.ui.session.document import Document

        QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs)
        self.app = QApplication.instance() or QApplication(sys.argv[:1])
        QDesktopServices.openUrl = lambda url: True
        for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
            setattr(QFileDialog, name, self._native_dialog(name))

        def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
            self.faults.add_exception(error.with_traceback(trace))
            # PySide6 keeps the last error here, and its frames keep the layers that they opened
            sys.last_type = sys.last_value = sys.last_traceback = None

        sys.excepthook = hook
        threading.excepthook = lambda args: args.exc_value and self.faults.add_exception(args.exc_value, "in a thread")
        sys.unraisablehook = lambda found: found.exc_value and self.faults.add_exception(found.exc_value, "unraisable")

        def on_message(kind: Any, context: Any, text: str) -> None:
            level = {QtMsgType.QtCriticalMsg: "critical", QtMsgType.QtFatalMsg: "fatal"}.get(kind, "warning")
            self.qt_messages[f"{level}: {text}"] += 1
            if level != "warning":
                self.faults.add(f"Qt {level}", text[:80], text)

        qInstallMessageHandler(on_message)

        def on_notification(found: Any) -> None:
            error = getattr(found, "exception", None)
            if error is not None and not isinstance(error, MelanomaError):
                self.faults.add_exception(error, "notification")

        notification_manager.notification_ready.connect(on_notification)

        def on_warning(message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
            text = f"{category.__name__}: {message} ({Path(filename).name}:{lineno})"
            self.warned[text] += 1
            if "napari_melanoma" in filename and category is not UserWarning:  # those are for the user
                self.faults.add("warning", f"{category.__name__} {Path(filename).name}:{lineno}", text)

        warnings.simplefilter("always")
        warnings.showwarning = on_warning

        class Errors(logging.Handler):
            faults = self.faults

            def emit(self, record: logging.LogRecord) -> None:
                self.faults.add("logged", f"{record.name} {record.msg!s:.80}", self.format(record))

        create, documents = Document.__init__, self.documents

        def add(document: Any, *given: Any) -> None:
            create(document, *given)
            documents.add(document)

        Document.__init__ = add
        Document.queue_is_gone = lambda document: not isalive(document.queue)
        logging.getLogger().addHandler(Errors(logging.ERROR))
        self.pulse = QTimer()
        self.pulse.setInterval(20)
        self.pulse.timeout.connect(self._on_pulse)
        self.pulse.start()
        self.beat = time.monotonic()
        threading.Thread(target=self._watch_loop, daemon=True, name="watch").start()
        QTimer.singleShot(30, self._answer)

    def _native_dialog(self, name: str) -> Callable[..., Any]:
        def choose(*_: Any, **__: Any) -> Any:
            place = str(self.saved / f"napari-{self.answers.randrange(9)}.png")
            if name == "getExistingDirectory":
                return str(self.saved)
            if name == "getSaveFileName":
                return (place if self.answers.random() < 0.5 else ""), ""
            path = str(self.answers.choice(list(self.material.values())))
            chosen = path if self.answers.random() < 0.5 else ""
            return ([chosen] if chosen else [], "") if name == "getOpenFileNames" else (chosen, "")

        return choose

    def _on_pulse(self) -> None:
        self.beat = time.monotonic()

    def _watch_loop(self) -> None:
        """Note where the event loop stands still, and end the process if it does so for long."""
        main, stack, began, longest = threading.main_thread().ident, "", 0.0, 0.0
        while not self.ended:
            time.sleep(0.05)
            if self.own_work:
                self.beat = time.monotonic()
            late = time.monotonic() - self.beat
            if late > SLOW_S:
                if not stack:
                    frames = traceback.extract_stack(sys._current_frames()[main])
                    stack = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-14:])
                    began = time.process_time()
                longest = max(longest, late)
                if late > 4 * STUCK_S:
                    self.faults.add("hang", stack[-160:], stack)
                    self.report()
                    faulthandler.dump_traceback()
                    os._exit(3)
            elif stack:
                self.stalls.append((longest, self.faults.step, stack))
                if time.process_time() - began > STUCK_S:  # not only since other programs were busy
                    self.faults.add("stall", stack[-160:], f"{longest:.1f} s: {stack}")
                stack, longest = "", 0.0

    @contextmanager
    def own(self) -> Iterator[None]:
        """What the machine itself does does not count as a stall."""
        before, self.own_work = self.own_work, True
        try:
            yield
        finally:
            self.beat, self.own_work = time.monotonic(), before

    # -- questions, menus and dialogs

    def _answer(self) -> None:
        """Answer what is modal at random; called again and again, also in loops inside of loops."""
        from qtpy.QtCore import QTimer
        from qtpy.QtWidgets import QApplication

        if self.ended:
            return
        QTimer.singleShot(30, self._answer)
        popup, modal = QApplication.activePopupWidget(), QApplication.activeModalWidget()
        try:
            if popup is not None:
                self._answer_popup(popup)
            elif modal is not None:
                self._answer_modal(modal)
        except RuntimeError:  # it was deleted meanwhile
            pass

    def _answer_popup(self, popup: Any) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QMenu

        left = Qt.MouseButton.LeftButton
        if isinstance(popup, QMenu):
            actions = [a for a in popup.actions() if a.isEnabled() and a.isVisible() and not a.isSeparator()]
            plain = [a for a in actions if a.menu() is None]
            if plain and self.answers.random() < 0.7:
                action = self.answers.choice(plain)
                self.used[f"menu {action.text()}"] += 1
                QTest.mouseClick(popup, left, Qt.KeyboardModifier.NoModifier, popup.actionGeometry(action).center())
                return
        else:
            for _ in range(self.answers.randrange(4)):
                QTest.keyClick(popup, self.answers.choice([Qt.Key.Key_Down, Qt.Key.Key_Up]))
            if self.answers.random() < 0.7:
                QTest.keyClick(popup, Qt.Key.Key_Return)
                if not popup.isVisible():
                    return
        QTest.keyClick(popup, Qt.Key.Key_Escape)
        if popup.isVisible():
            popup.close()

    def _answer_modal(self, modal: Any) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QAbstractButton, QColorDialog, QFileDialog, QInputDialog, QMessageBox

        draw, escape = self.answers, Qt.Key.Key_Escape
        self.used[f"dialog {modal.objectName() or type(modal).__name__}"] += 1
        if draw.random() < 0.2 or (isinstance(modal, QFileDialog) and draw.random() < 0.2):
            QTest.keyClick(modal, escape)
            if modal.isVisible():
                modal.close()
        elif isinstance(modal, QFileDialog):
            self._choose_file(modal)
        elif isinstance(modal, QMessageBox):
            buttons = [button for button in modal.buttons() if button.isEnabled()]
            if buttons:
                QTest.mouseClick(draw.choice(buttons), Qt.MouseButton.LeftButton)
            else:
                modal.close()
        elif isinstance(modal, QInputDialog):
            if draw.random() < 0.8:
                modal.setTextValue(draw.choice(["Dr. Huber", "nevus", "", "a/b <c> & d", "é" * 40]))
            modal.accept() if draw.random() < 0.8 else modal.reject()
        elif isinstance(modal, QColorDialog):
            modal.accept()
        else:
            for _ in range(draw.randrange(3)):
                found = self._controls_of(modal, "dialog")
                if found:
                    self._use(draw.choice(found)[1], draw)
            buttons = [b for b in modal.findChildren(QAbstractButton) if b.isEnabled() and b.isVisible()]
            if buttons and modal.isVisible():
                QTest.mouseClick(draw.choice(buttons), Qt.MouseButton.LeftButton)

    def _choose_file(self, dialog: Any) -> None:
        from qtpy.QtWidgets import QFileDialog

        draw, modes = self.answers, QFileDialog.FileMode
        mode = dialog.fileMode()
        if dialog.acceptMode() == QFileDialog.AcceptMode.AcceptSave:
            suffix = dialog.defaultSuffix() or "txt"
            paths = [self.saved / f"{draw.choice(['one', 'two', 'ä ö'])}.{suffix}"]
        elif mode == modes.Directory:
            paths = [
                draw.choice([self.material["case"], self.material["dataset"], self.saved, self.material["folder"]])
            ]
        else:
            files = [path for path in self.material.values() if path.is_file()]
            paths = draw.sample(files, 1 if mode == modes.ExistingFile else draw.choice([1, 1, 2, 3]))
        dialog.reject()
        if len(paths) > 1 or mode == modes.ExistingFiles:
            dialog.filesSelected.emit([str(path) for path in paths])
        if len(paths) == 1:
            dialog.fileSelected.emit(str(paths[0]))

    # -- windows, docks and controls

    @property
    def viewers(self) -> list[Any]:
        from qtpy.compat import isalive

        self.windows = [v for v in self.windows if v.window is not None and self._is_open(v, isalive)]
        return self.windows

    @staticmethod
    def _is_open(viewer: Any, isalive: Callable[[Any], bool]) -> bool:
        try:
            window = viewer.window._qt_window
        except (AttributeError, RuntimeError):
            return False
        return isalive(window) and window.isVisible()

    def open_window(self) -> Any:
        import napari

        viewer = napari.Viewer(show=True)
        viewer.window._qt_window.resize(1000, 680)
        viewer.window._qt_window.move(40 * len(self.windows), 20)
        self.windows.append(viewer)
        return viewer

    def our_docks(self, viewer: Any) -> dict[str, Any]:
        """The frames of our docks in a window, hidden ones included, by their names."""
        from qtpy.QtWidgets import QDockWidget

        frames = viewer.window._qt_window.findChildren(QDockWidget)
        return {frame.objectName(): frame for frame in frames if self._inner(frame) is not None}

    @staticmethod
    def _is_shown(frame: Any) -> bool:
        """Whether a dock is seen; Qt calls one behind the front tab visible, too."""
        return frame.isVisible() and not frame.visibleRegion().isEmpty()

    @staticmethod
    def _inner(frame: Any) -> Any:
        from qtpy.QtWidgets import QWidget

        for child in [frame.widget(), *frame.findChildren(QWidget)]:
            if child is not None and type(child).__name__.endswith("Dock") and "melanoma" in type(child).__module__:
                return child
        return None

    def controls(self) -> list[tuple[str, Any]]:
        """All controls that are visible and enabled, with a name that is the same in each repetition."""
        from qtpy.QtWidgets import QApplication, QMainWindow

        found = []
        for number, viewer in enumerate(self.viewers):
            for name, frame in self.our_docks(viewer).items():
                if self._is_shown(frame):
                    found += self._controls_of(self._inner(frame), f"{number}/{name.split(' (')[0]}")
        for top in QApplication.topLevelWidgets():
            ours = "melanoma" in type(top).__module__
            if top.isVisible() and ours and not isinstance(top, QMainWindow) and top.isWindow():
                found += self._controls_of(top, f"window {top.objectName() or type(top).__name__}")
        return found

    def _controls_of(self, surface: Any, name: str) -> list[tuple[str, Any]]:
        from qtpy.QtWidgets import (
            QAbstractButton,
            QAbstractItemView,
            QAbstractSlider,
            QAbstractSpinBox,
            QComboBox,
            QGraphicsView,
            QLabel,
            QLineEdit,
            QPlainTextEdit,
            QScrollBar,
            QTabBar,
            QTextEdit,
            QWidget,
        )

        kinds = (
            QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit,
            QTextEdit, QTabBar, QGraphicsView,
        )  # fmt: skip
        found, numbers = [], Counter()
        for child in surface.findChildren(QWidget):
            is_link = isinstance(child, QLabel) and "href" in child.text()
            if not (isinstance(child, kinds) or is_link) or isinstance(child, QScrollBar):
                continue
            if isinstance(child.parentWidget(), (QAbstractSpinBox, QComboBox)) or child.objectName().startswith("qt_"):
                continue
            if not (child.isVisible() and child.isEnabled()) or child.rect().isEmpty():
                continue
            title = child.objectName() or child.accessibleName() or type(child).__name__
            if isinstance(child, QAbstractButton):
                title += f" '{child.text()}'" if title == "sectionTitle" else ""
            numbers[title] += 1
            found.append((f"{name}/{title}#{numbers[title]}", child))
        return found

    def _is_reachable(self, widget: Any, at: Any) -> bool:
        window = widget.window()
        hit = window.childAt(widget.mapTo(window, at))
        return hit is not None and (hit is widget or widget.isAncestorOf(hit))

    def _scroll_to(self, widget: Any) -> None:
        from qtpy.compat import isalive
        from qtpy.QtWidgets import QScrollArea

        above = widget.parentWidget() if isalive(widget) else None  # scrolling to another control may delete it
        while above is not None:
            if isinstance(above, QScrollArea):
                above.ensureWidgetVisible(widget)
            above = above.parentWidget()
        self.app.processEvents()

    def _use(self, widget: Any, draw: random.Random) -> str:
        """Do to a control what a user can do to it; returns what was done."""
        from qtpy.compat import isalive
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import (
            QAbstractButton,
            QAbstractItemView,
            QAbstractSlider,
            QAbstractSpinBox,
            QComboBox,
            QLabel,
            QTabBar,
        )  # fmt: skip

        left, none, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, Qt.Key
        self._scroll_to(widget)
        if not isalive(widget) or not widget.isVisible() or not widget.isEnabled():
            return "gone"
        size = widget.rect()
        if isinstance(widget, QLabel):
            import re

            links = re.findall(r"""href=["']([^"']*)["']""", widget.text())
            widget.linkActivated.emit(draw.choice(links))
            return "link"
        at = size.center()
        if isinstance(widget, (QAbstractItemView, QAbstractSlider, QTabBar)) or not isinstance(widget, QAbstractButton):
            at = QPoint(draw.randrange(max(1, size.width())), draw.randrange(max(1, size.height())))
        if not self._is_reachable(widget, at):
            return "covered"
        target = widget.viewport() if hasattr(widget, "viewport") else widget
        if isinstance(widget, QAbstractButton):
            QTest.mouseClick(widget, left, none, at)
            return "press"
        if isinstance(widget, QComboBox):
            if draw.random() < 0.5 or widget.count() == 0:
                QTest.mouseClick(widget, left, none, widget.rect().center())
            else:
                widget.setFocus()
                for _ in range(draw.randrange(1, 4)):
                    QTest.keyClick(widget, draw.choice([keys.Key_Down, keys.Key_Up, keys.Key_End, keys.Key_Home]))
            return "choose"
        if isinstance(widget, QAbstractSlider):
            QTest.mouseClick(widget, left, none, at)
            for _ in range(draw.randrange(4)):
                QTest.keyClick(widget, draw.choice([keys.Key_Left, keys.Key_Right, keys.Key_PageUp, keys.Key_PageDown]))
            return "slide"
        if isinstance(widget, (QAbstractItemView, QTabBar)):
            act = draw.random()
            if act < 0.55:
                modifier = draw.choice(
                    [none, none, none, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier]
                )
                QTest.mouseClick(target, left, modifier, at)
            elif act < 0.7:
                QTest.mouseClick(target, left, none, at)
                if isalive(target):
                    QTest.mouseDClick(target, left, none, at)
            elif act < 0.8:
                self._context_menu(target, at)
            else:
                for key in draw.choices(
                    [keys.Key_Down, keys.Key_Up, keys.Key_Space, keys.Key_Return, keys.Key_Delete, keys.Key_F2], k=2
                ):
                    if isalive(widget):
                        QTest.keyClick(widget, key)
            return "rows"
        if isinstance(widget, QAbstractSpinBox):
            QTest.mouseClick(widget, left, none, at)
            if not isalive(widget):
                return "gone"
            if draw.random() < 0.4:
                QTest.keyClick(widget, draw.choice([keys.Key_Up, keys.Key_Down]))
                return "number"
        else:
            QTest.mouseClick(target, left, none, at)
        if not isalive(widget):
            return "gone"
        if draw.random() < 0.7:
            QTest.keyClick(widget, keys.Key_A, Qt.KeyboardModifier.ControlModifier)
        for character in draw.choice(
            ["", "0", "12.5", "-3", "1e9", "back", "Dr. Huber", "2024-05-01", "nevus <b>", "54", "%$/\\", "x" * 60]
        ):
            if isalive(widget):
                QTest.keyClick(widget, character)
        if isalive(widget):
            QTest.keyClick(widget, draw.choice([keys.Key_Return, keys.Key_Tab, keys.Key_Escape, keys.Key_Return]))
        return "type"

    def _context_menu(self, target: Any, at: Any) -> None:
        from qtpy.QtGui import QContextMenuEvent
        from qtpy.QtWidgets import QApplication

        event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, at, target.mapToGlobal(at))
        QApplication.sendEvent(target, event)

    # -- drawing of steps

    def draw_step(self) -> Step:
        """Draw the next step; everything random in it follows from its number ``r``."""
        from qtpy.compat import isalive

        draw = self.rng
        step: Step = {"r": draw.randrange(10**9), "wait": draw.choice([0, 0, 20, 60, 200, 600])}
        viewers = self.viewers
        layers = max((len(v.layers) for v in viewers), default=0)
        masks = sum("Labels" in type(layer).__name__ for v in viewers for layer in v.layers)
        docks = sum(self._is_shown(f) for v in viewers for f in self.our_docks(v).values())
        weights = {
            "control": 50,
            "analyze": (3 if masks else 9) if docks and layers else 0,
            "expand": 6 if docks else 0,
            "open": 7 if layers else 25,
            "canvas": 12,
            "key": 9,
            "layer": 6 + 10 * (layers > KEPT_LAYERS),
            "undo": 4,
            "strokes": 7 if masks else 0,
            "dock": 5 if docks else 40,
            "frame": 2,
            "scroll": 2,
            "idle": 3,
            "window": 1,
            "train": 0.5 * self.training,
            "remove": 1 + 4 * (layers > KEPT_LAYERS),
        }
        step["do"] = draw.choices(list(weights), list(weights.values()))[0]
        step["viewer"] = draw.randrange(len(viewers)) if viewers else 0
        if step["do"] == "control":
            found = self.controls()
            weighed = [1 / (1 + self.used[name.partition("/")[2]]) for name, _ in found]
            for _ in range(4 if found else 0):
                step["on"], widget = draw.choices(found, weighed)[0]
                self._scroll_to(widget)
                if isalive(widget) and self._is_reachable(widget, widget.rect().center()):
                    break
            if not found:
                step["do"], step["dock"] = "dock", draw.choice(DOCKS)
        if step["do"] == "dock":
            step.setdefault("dock", draw.choice(DOCKS))
        if step["do"] == "open":
            step["way"] = draw.choice(["dock", "dock", "dock", "canvas", "open"])
            shown = [n for v in viewers for n, f in self.our_docks(v).items() if self._is_shown(f)] or ["none"]
            step["dock"] = draw.choice(shown).split(" (")[0]
            names = SUITED.get(step["dock"], ()) if draw.random() < 0.6 else ()
            names = names or sorted(self.material)
            step["files"] = draw.sample(names, min(len(names), draw.choice([1, 1, 1, 2, 3])))
        return step

    def run_step(self, step: Step) -> None:
        """Do a step and check what must hold after each."""
        self.faults.step = len(self.steps)
        self.steps.append(step)
        self.log.write(json.dumps(step) + "\n")
        self.log.flush()
        draw, self.answers = random.Random(step["r"]), random.Random(step["r"] + 1)
        began = time.monotonic()
        if not self.viewers:
            self.open_window()
        viewer = self.viewers[step["viewer"] % len(self.viewers)]
        done = ""
        try:
            done = getattr(self, f"do_{step['do']}")(viewer, step, draw) or ""
        except Exception as error:  # noqa: BLE001 - listed
            from napari_melanoma.core.errors import MelanomaError

            if not isinstance(error, MelanomaError):
                self.faults.add_exception(error, "raised")
        self.kinds[f"{step['do']} {done}".strip()] += 1
        self.faults.last = f"{step} {done}"
        if step["do"] == "control":
            self.used[step["on"].partition("/")[2]] += 1
        self.wait(step["wait"])
        self.wait_for_answers()
        taken = time.monotonic() - began - step["wait"] / 1000
        if taken > 3:
            write_line(f"SLOW {taken:.1f} s: step {self.faults.step} {step} {done}")
        self.slowest = sorted([*self.slowest, (taken, self.faults.step, str(step.get("on", step["do"])))])[-12:]
        with self.own():
            self.check()

    def wait(self, milliseconds: int) -> None:
        """Run the event loop; QTest.qWait of PySide6 deletes nothing that is to be deleted later."""
        from qtpy.QtCore import QEventLoop, QTimer

        loop = QEventLoop()
        QTimer.singleShot(max(1, milliseconds), loop.quit)
        loop.exec()

    def wait_for_answers(self) -> None:
        from qtpy.QtWidgets import QApplication

        ends = time.monotonic() + MODAL_S
        while QApplication.activePopupWidget() is not None or QApplication.activeModalWidget() is not None:
            self.wait(20)
            if time.monotonic() > ends:
                modal = QApplication.activePopupWidget() or QApplication.activeModalWidget()
                if modal is not None:
                    self.faults.add("modal", f"{type(modal).__name__} {modal.objectName()}", "stays after all answers")
                    modal.close()
                return

    def wait_until_idle(self, seconds: float = STUCK_S) -> bool:
        from napari_melanoma.ui.widgets.job import tasks

        ends = time.monotonic() + seconds
        while not tasks.is_idle() and time.monotonic() < ends:
            self.wait(20)
        return bool(tasks.is_idle())

    # -- the kinds of steps

    def do_control(self, viewer: Any, step: Step, draw: random.Random) -> str:
        with self.own():
            widget = next((widget for name, widget in self.controls() if name == step["on"]), None)
        return "missing" if widget is None else self._use(widget, draw)

    def do_analyze(self, viewer: Any, step: Step, draw: random.Random) -> str:
        """Press the main button of a dock, and most often wait for what it does; without one, open an image first."""
        with self.own():
            found = [widget for name, widget in self.controls() if "/primary#" in name and "/Train/" not in name]
        if not found:
            name = draw.choice(["Lesion", "Lesion", "Slide", "Case"])
            viewer.window.add_plugin_dock_widget("napari-melanoma", name)
            self.wait(300)
            frames = [frame for title, frame in self.our_docks(viewer).items() if title.startswith(name)]
            self._drop(self._inner(frames[0]), [self.material[draw.choice(SUITED[name])]])
            self.wait_until_idle(20)
            with self.own():
                found = [widget for title, widget in self.controls() if "/primary#" in title and "/Train/" not in title]
        if not found:
            return "nothing"
        self._use(draw.choice(found), draw)
        if draw.random() < 0.8:
            self.wait_for_answers()
            self.wait_until_idle(40)
        return "done"

    def do_expand(self, viewer: Any, step: Step, draw: random.Random) -> str:
        """Expand a section that is collapsed."""
        with self.own():
            found = [w for name, w in self.controls() if "sectionTitle" in name and not w.isChecked()]
        return self._use(draw.choice(found), draw) if found else "none"

    def do_dock(self, viewer: Any, step: Step, draw: random.Random) -> str:
        """Open a dock from the menu, or close it in one of the ways that napari has."""
        name = step["dock"]
        frames = {title: frame for title, frame in self.our_docks(viewer).items() if title.startswith(name)}
        if not frames:
            viewer.window.add_plugin_dock_widget("napari-melanoma", name)
            return "open"
        frame = next(iter(frames.values()))
        if not frame.isVisible():
            frame.show()
            frame.raise_()
            return "show"
        act = draw.random()
        if act < 0.4:
            frame.raise_()
            return "raise"
        if act < 0.6:
            frame.close()
            return "hide"
        if act < 0.8:
            viewer.window.remove_dock_widget(self._inner(frame).parent() and frame)
            return "remove"
        frame.setFloating(not frame.isFloating())
        return "float"

    def do_open(self, viewer: Any, step: Step, draw: random.Random) -> str:
        paths = [self.material[name] for name in step["files"] if name in self.material]
        if step["way"] == "open":
            with suppress(ValueError, OSError):  # napari's words for what it cannot read
                viewer.open([str(path) for path in paths], plugin="napari-melanoma")
            return "by napari"
        frames = [frame for name, frame in self.our_docks(viewer).items() if name.startswith(step["dock"])]
        if step["way"] == "dock" and frames and self._is_shown(frames[0]):
            self._drop(self._inner(frames[0]), paths)
            return "on a dock"
        self._drop(self._canvas(viewer), paths)
        return "on the canvas"

    def _drop(self, widget: Any, paths: list[Path]) -> None:
        from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
        from qtpy.QtGui import QDragEnterEvent, QDropEvent
        from qtpy.QtWidgets import QApplication

        window = widget.window()
        place = widget.mapTo(window, widget.rect().center())
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        how = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
        entering = QDragEnterEvent(place, *how)
        QApplication.sendEvent(window.windowHandle(), entering)
        if entering.isAccepted():
            QApplication.sendEvent(window.windowHandle(), QDropEvent(QPointF(place), *how))

    @staticmethod
    def _canvas(viewer: Any) -> Any:
        from napari_melanoma.ui.viewer.camera import find_canvas

        return find_canvas(viewer.window._qt_window)

    def _point(self, canvas: Any, draw: random.Random) -> Any:
        from qtpy.QtCore import QPoint

        return QPoint(round(canvas.width() * draw.uniform(0.1, 0.9)), round(canvas.height() * draw.uniform(0.1, 0.9)))

    def _move(self, canvas: Any, place: Any, buttons: Any, modifiers: Any) -> None:
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        whole = QPointF(canvas.mapToGlobal(place))
        event = QMouseEvent(QEvent.Type.MouseMove, QPointF(place), whole, Qt.MouseButton.NoButton, buttons, modifiers)
        self.wait(11)  # vispy drops moves that follow within 10 ms
        QApplication.sendEvent(canvas, event)

    def _drag(self, canvas: Any, places: list[Any], modifiers: Any) -> None:
        from qtpy.compat import isalive
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        left = Qt.MouseButton.LeftButton
        self._move(canvas, places[0], Qt.MouseButton.NoButton, modifiers)
        QTest.mousePress(canvas, left, modifiers, places[0])
        for place in places[1:]:
            if isalive(canvas):
                self._move(canvas, place, left, modifiers)
        if isalive(canvas):
            QTest.mouseRelease(canvas, left, modifiers, places[-1])

    def do_canvas(self, viewer: Any, step: Step, draw: random.Random) -> str:
        from qtpy.QtCore import QPoint, QPointF, Qt
        from qtpy.QtGui import QWheelEvent
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        canvas = self._canvas(viewer)
        if canvas is None or not canvas.isVisible() or canvas.width() < 40:  # docks may leave no room
            return "hidden"
        modifiers = draw.choice(
            [Qt.KeyboardModifier.NoModifier] * 4
            + [Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier]
        )
        act, at = draw.random(), self._point(canvas, draw)
        if act < 0.4:
            self._drag(canvas, [self._point(canvas, draw) for _ in range(draw.randrange(2, 7))], modifiers)
            return "drag"
        if act < 0.65:
            self._move(canvas, at, Qt.MouseButton.NoButton, modifiers)
            QTest.mouseClick(
                canvas, draw.choice([Qt.MouseButton.LeftButton] * 4 + [Qt.MouseButton.RightButton]), modifiers, at
            )
            return "click"
        if act < 0.75:
            self._move(canvas, at, Qt.MouseButton.NoButton, modifiers)
            QTest.mouseDClick(canvas, Qt.MouseButton.LeftButton, modifiers, at)
            return "double click"
        turned = QPoint(0, 120 * draw.choice([-2, -1, 1, 2]))
        where, whole = QPointF(at), QPointF(canvas.mapToGlobal(at))
        event = QWheelEvent(
            where, whole, QPoint(), turned, Qt.MouseButton.NoButton, modifiers, Qt.ScrollPhase.NoScrollPhase, False
        )
        QApplication.sendEvent(canvas, event)
        return "wheel"

    def _focus(self, viewer: Any) -> Any:
        window, canvas = viewer.window._qt_window, self._canvas(viewer)
        window.activateWindow()
        window.raise_()
        canvas.setFocus()
        self.wait(30)
        return canvas

    def do_key(self, viewer: Any, step: Step, draw: random.Random) -> str:
        from qtpy.compat import isalive
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        canvas = self._focus(viewer)
        letters = [getattr(Qt.Key, f"Key_{letter}") for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"]
        others = [getattr(Qt.Key, f"Key_{name}") for name in KEYS]
        for _ in range(draw.randrange(1, 4)):
            modifier = draw.choice(
                [Qt.KeyboardModifier.NoModifier] * 5
                + [
                    Qt.KeyboardModifier.ShiftModifier,
                    Qt.KeyboardModifier.AltModifier,
                    Qt.KeyboardModifier.ControlModifier,
                ]
            )
            key = draw.choice(letters if draw.random() < 0.6 else others)
            if modifier == Qt.KeyboardModifier.ControlModifier and key in (
                Qt.Key.Key_Q,
                Qt.Key.Key_W,
                Qt.Key.Key_R,
                Qt.Key.Key_O,
                Qt.Key.Key_P,
            ):
                continue  # ends napari or opens a window of napari's own
            if isalive(canvas):
                QTest.keyClick(canvas, key, modifier)
        return ""

    def do_undo(self, viewer: Any, step: Step, draw: random.Random) -> str:
        from qtpy.compat import isalive
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        canvas, control = self._focus(viewer), Qt.KeyboardModifier.ControlModifier
        for _ in range(draw.randrange(1, 6)):
            if not isalive(canvas):
                break
            if draw.random() < 0.65:
                QTest.keyClick(canvas, Qt.Key.Key_Z, control)
            else:
                QTest.keyClick(canvas, Qt.Key.Key_Z, control | Qt.KeyboardModifier.ShiftModifier)
        return ""

    def do_strokes(self, viewer: Any, step: Step, draw: random.Random) -> str:
        """Paint on a mask, undo, and compare the pixels; then redo and compare again."""
        import numpy as np
        from napari.layers import Labels
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        from napari_melanoma.ui.viewer.photographs import METADATA_KEY
        from napari_melanoma.ui.viewer.slide_layers import TOOL_ROLES

        def is_mask(layer: Any) -> bool:
            """Whether the pixels of a layer are what is painted; those of a tool show its unfinished stroke only."""
            is_tool = layer.metadata.get(METADATA_KEY, {}).get("role") in TOOL_ROLES
            return isinstance(layer, Labels) and not is_tool and not layer.multiscale and layer.ndim == 2

        def find_masks(shown: Any) -> list[Any]:
            return [layer for layer in shown.layers if is_mask(layer) and layer.visible and layer.editable]

        with_masks = [one for one in self.viewers if find_masks(one)]
        if not with_masks:
            return "no mask"
        viewer = viewer if viewer in with_masks else with_masks[0]
        masks = find_masks(viewer)
        if not self.wait_until_idle(20):
            return "busy"
        layer = draw.choice(masks)
        if viewer not in self.viewers or layer not in viewer.layers:  # a window may close once it is idle
            return "gone"
        viewer.layers.selection.active = layer
        layer.selected_label, layer.brush_size = draw.randrange(0, 2), draw.choice([3, 9, 25])
        layer.mode = draw.choice(["paint", "paint", "erase"])
        canvas = self._focus(viewer)
        if canvas.width() < 40:
            return "hidden"
        low, high = layer.extent.world[:, -2:]  # other images may be larger
        viewer.camera.center = (low + high) / 2
        viewer.camera.zoom = (np.array([canvas.height(), canvas.width()]) / (high - low)).min()
        if layer.mode not in ("paint", "erase"):
            return "no tool"
        before = np.array(layer.data)
        kept = len(layer._undo_history)
        for _ in range(draw.randrange(1, 5)):
            self._drag(canvas, [self._point(canvas, draw) for _ in range(3)], Qt.KeyboardModifier.NoModifier)
        if not self.wait_until_idle(20):
            return "busy"
        if layer not in viewer.layers:
            return "gone"
        painted, count = np.array(layer.data), len(layer._undo_history) - kept
        if viewer.layers.selection.active is not layer or before.shape != painted.shape:
            return "changed"

        def press(times: int, modifiers: Any) -> bool:
            """Press Ctrl+Z some times; return whether nothing runs afterwards that may change the mask."""
            for _ in range(times):
                self._focus(viewer)
                QTest.keyClick(canvas, Qt.Key.Key_Z, modifiers)
                self.wait(30)
            return self.wait_until_idle(20)

        if not press(count, Qt.KeyboardModifier.ControlModifier):
            return "busy"
        # An analysis that was requested before replaces a mask that is again as it was then, in a step of its own
        added = len(layer._undo_history) - kept
        if not press(added, Qt.KeyboardModifier.ControlModifier):
            return "busy"
        if layer in viewer.layers and not np.array_equal(layer.data, before):
            wrong = int((np.asarray(layer.data) != before).sum())
            text = f"{layer.name}: {wrong} pixels differ after {count} undos, and {added} of steps that came later"
            self.faults.add("undo", "pixels differ", text)
        if added > 0:
            return f"{count} undone, {added} added"
        if not press(count, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier):
            return "busy"
        if layer in viewer.layers and not np.array_equal(layer.data, painted):
            wrong = int((np.asarray(layer.data) != painted).sum())
            self.faults.add("undo", "redone pixels differ", f"{layer.name}: {wrong} pixels differ after {count} redos")
        return f"{count} undone"

    def do_layer(self, viewer: Any, step: Step, draw: random.Random) -> str:
        """Do something in napari's list of layers or its controls of a layer."""
        if not len(viewer.layers):
            return "none"
        layer = draw.choice(list(viewer.layers))
        act = draw.random()
        if act < 0.4:
            viewer.layers.selection.active = layer
            return "select"
        if act < 0.55:
            layer.visible = not layer.visible
            return "visible"
        if act < 0.7:
            modes = list(getattr(type(layer), "_modeclass", ()))
            if modes and layer.editable:
                viewer.layers.selection.active = layer
                layer.mode = draw.choice(modes)
            return "mode"
        if act < 0.78:
            layer.name = draw.choice(["renamed", layer.name + " x", "a mask"])
            return "rename"
        if act < 0.86:
            viewer.layers.move(viewer.layers.index(layer), draw.randrange(len(viewer.layers)))
            return "move"
        viewer.layers.selection = {layer}
        viewer.layers.remove_selected()
        return "remove"

    def do_remove(self, viewer: Any, step: Step, draw: random.Random) -> str:
        if draw.random() < 0.5:
            viewer.layers.select_all()
            viewer.layers.remove_selected()
            return "all"
        for layer in draw.sample(list(viewer.layers), len(viewer.layers) // 2):
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        return "half"

    def do_frame(self, viewer: Any, step: Step, draw: random.Random) -> str:
        window = viewer.window._qt_window
        act = draw.random()
        if act < 0.6:
            window.resize(draw.choice([800, 1000, 1200]), draw.choice([520, 700, 900]))
            return "resize"
        viewer.theme = "light" if viewer.theme == "dark" else "dark"
        return "theme"

    def do_scroll(self, viewer: Any, step: Step, draw: random.Random) -> str:
        """Turn the wheel over a control of a dock."""
        from qtpy.QtCore import QPoint, QPointF, Qt
        from qtpy.QtGui import QWheelEvent
        from qtpy.QtWidgets import QApplication

        found = self.controls()
        if found:
            _, widget = draw.choice(found)
            widget = widget.viewport() if hasattr(widget, "viewport") else widget
            at = QPointF(widget.rect().center())
            whole = QPointF(widget.mapToGlobal(at.toPoint()))
            none = Qt.KeyboardModifier.NoModifier
            turned = QPoint(0, draw.choice([-360, -120, 120, 360]))
            event = QWheelEvent(
                at, whole, QPoint(), turned, Qt.MouseButton.NoButton, none, Qt.ScrollPhase.NoScrollPhase, False
            )
            QApplication.sendEvent(widget, event)
        return ""

    def do_idle(self, viewer: Any, step: Step, draw: random.Random) -> str:
        from napari_melanoma.ui.widgets.job import tasks

        if not self.wait_until_idle(5):
            running = ", ".join(sorted(set(tasks.running())))
            self.wait_until_idle()
            return f"after {running}"
        return ""

    def do_window(self, viewer: Any, step: Step, draw: random.Random) -> str:
        """Open a second window with the case of the first, or close one; a question may keep it open."""
        if len(self.viewers) < 2:
            made = self.open_window()
            viewer_dock = draw.choice(["Case", "Case", "Lesion", "Slide"])
            made.window.add_plugin_dock_widget("napari-melanoma", viewer_dock)
            self.wait(300)
            frame = next(iter(self.our_docks(made).values()))
            self._drop(self._inner(frame), [self.material["case"]])
            return "open"
        viewer.window._qt_window.close()
        return "close"

    def do_train(self, viewer: Any, step: Step, draw: random.Random) -> str:
        """Start a training of a tiny network in the Train dock, one at a time."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        from napari_melanoma.ui.train.dock import TrainDock

        if self.training_runs():
            return "running"
        frames = {name: frame for name, frame in self.our_docks(viewer).items() if name.startswith("Train")}
        if not frames:
            viewer.window.add_plugin_dock_widget("napari-melanoma", "Train")
            frames = {name: frame for name, frame in self.our_docks(viewer).items() if name.startswith("Train")}
        frame = next(iter(frames.values()))
        frame.show()
        frame.raise_()
        dock = self._inner(frame)
        assert isinstance(dock, TrainDock)
        self.wait(500)
        self._drop(dock, [self.material["dataset"]])
        if not self.wait_until_idle(20):
            return "busy"
        recipe = dock.build_recipe()
        options = {"encoder": "mobilenetv3_small_050", "decoder_channels": 16}
        model = recipe.model.model_copy(update={"options": options, "input_size": 32, "freeze_normalisation": False})
        data = recipe.data.model_copy(update={"cache_size": 48})
        quick = {"epochs": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", "samples": 2}
        dock.start_picker.start = "none"
        dock.recipe_form.set_values(recipe.model_copy(update={**quick, "name": "tiny", "model": model, "data": data}))
        self.wait_until_idle(20)
        button = next((w for name, w in self._controls_of(dock, "") if "/primary#" in name), None)
        if button is None:
            return "not ready"
        self._scroll_to(button)
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        return "start"

    def training_runs(self) -> list[Any]:
        """The processes that docks of this machine have started and that outlive the window."""
        import psutil

        found = []
        since = psutil.Process().create_time()
        for process in psutil.process_iter(["pid", "cmdline", "create_time"]):
            line = " ".join(process.info["cmdline"] or ())
            if str(self.home) in line and process.info["create_time"] > since:
                found.append(process)
        return found

    # -- what must hold

    def check(self) -> None:
        from napari_melanoma.ui.widgets.job import tasks

        if tasks.is_idle():
            self.busy_since = None
        else:
            self.busy_since = self.busy_since or time.monotonic()
            if time.monotonic() - self.busy_since > STUCK_S and not self.wait_until_idle(STUCK_S):
                self.faults.add(
                    "busy", str(sorted(set(tasks.running())))[:160], f"longer than {STUCK_S} s: {tasks.running()}"
                )
                self.busy_since = None
        for viewer in self.viewers:
            self._check_units(viewer)
            for name, frame in self.our_docks(viewer).items():
                if self._is_shown(frame) and tasks.is_idle(frame) and not self._controls_of(self._inner(frame), name):
                    self.wait(500)
                    if (
                        self._is_shown(frame)
                        and tasks.is_idle(frame)
                        and not self._controls_of(self._inner(frame), name)
                    ):
                        self.faults.add("dead dock", name.split(" (")[0], "no control is enabled")
        number = len(self.steps)
        if number % 20 == 0:
            self._check_files()
            self._check_documents()
            self._sample_memory()

    def _check_units(self, viewer: Any) -> None:
        spatial = {tuple(str(unit) for unit in layer.units[-2:]) for layer in viewer.layers}
        kinds = {"pixel" in "".join(units) for units in spatial}
        if len(kinds) > 1:
            layers = {layer.name: [str(unit) for unit in layer.units] for layer in viewer.layers}
            self.faults.add("units", "pixels beside micrometers", str(layers))

    def _check_documents(self) -> None:
        """What a slide's files contain equals what is shown, once everything is saved."""
        if not self.documents or not self.wait_until_idle(5):
            return
        for document in list(self.documents):
            if not document.is_ready or document.problem or document.queue_is_gone():
                continue
            name = f"{document.kind.name} of {document.location.slide.stem}"
            try:
                stored = document.kind.read(document.location).value
            except Exception as error:  # noqa: BLE001 - listed
                self.faults.add_exception(error, f"stored {document.kind.name}")
                continue
            if hasattr(stored, "fingerprint"):  # of the slide, added when the file is written
                stored = stored.model_copy(update={"fingerprint": document.value.fingerprint})
            if document.kind.name == "lesions":  # they are read with the results that are shown
                continue
            shown = document.value
            if document.kind.name == "strokes":  # the palette of an opened slide is shown with no step to save it
                shown = replace(shown, classes=tuple(one for one in shown.classes if one in stored.classes))
            if stored != shown and document.can_undo:
                self.faults.add("stored", f"{document.kind.name} differ", f"{name}: {stored!r}\n{document.value!r}")

    def _sample_memory(self) -> None:
        import psutil

        gc.collect()
        self.memory.append(psutil.Process().memory_info().rss / 2**20)

    def _check_files(self) -> None:
        """Open what has been written with the plain readers."""
        from napari_melanoma.case.store import CaseStore
        from napari_melanoma.depth.findings import read_findings
        from napari_melanoma.io.geojson import read_geojson
        from napari_melanoma.slides.notes import read_notes
        from napari_melanoma.slides.tissue_classifier.strokes import read_strokes

        readers: dict[str, Callable[[Path], object]] = {
            "case.json": lambda path: CaseStore.open_read_only(path.parent),
            "findings.json": lambda path: read_findings(path.parent),
            "view.json": lambda path: read_notes(path.parent),
            "strokes.geojson": read_strokes,
        }
        for path in self.home.rglob("*.*json"):
            reader = readers.get(path.name)
            try:
                if reader is not None:
                    reader(path)
                elif path.suffix == ".geojson":
                    read_geojson(path)
                elif path.suffix == ".json":
                    json.loads(path.read_text("utf-8"))
            except FileNotFoundError:
                pass
            except Exception as error:  # noqa: BLE001 - listed
                self.faults.add("file", f"{path.name} {type(error).__name__}", f"{path}: {error}")

    # -- the end

    def finish(self) -> None:
        """Close all windows, answering what they ask, and check that nothing is left."""
        self.faults.step = len(self.steps)
        for viewer in list(self.viewers):
            for _ in range(40):
                if viewer not in self.viewers:
                    break
                viewer.window._qt_window.close()
                self.wait(100)
                self.wait_for_answers()
            else:
                viewer.close()
        self.wait_until_idle(STUCK_S)
        self.wait(300)
        with self.own():
            self._check_files()
            self._sample_memory()
        for process in self.training_runs():
            with suppress(Exception):
                process.send_signal(signal.SIGKILL)
        half = self.memory[len(self.memory) // 2 :]
        if len(self.memory) >= 8 and half[-1] - half[0] > GROWTH_MB:
            self.faults.add("memory", "grows", f"{half[0]:.0f} to {half[-1]:.0f} MB over the second half")
        self.ended = True

    def report(self) -> dict[str, Any]:
        found = {
            "seed": self.seed,
            "binding": os.environ.get("QT_API"),
            "steps": len(self.steps),
            "kinds": dict(self.kinds.most_common()),
            "controls": len([name for name in self.used if "/" in name]),
            "faults": {name: (one["step"], one["count"]) for name, one in self.faults.found.items()},
            "memory": [round(value) for value in self.memory],
            "slowest": [(round(t, 2), n, name) for t, n, name in reversed(self.slowest)],
            "stalls": [(round(t, 2), n, place) for t, n, place in sorted(self.stalls, reverse=True)[:8]],
            "qt": dict(self.qt_messages.most_common(20)),
            "warnings": dict(self.warned.most_common(20)),
        }
        write_line("REPORT " + json.dumps(found))
        return found
