"""Accept files dropped on a dock; also the start page of an empty dock, with the recently opened files and cases."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from qtpy.QtWidgets import QFrame, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, named

RECENT_SLIDES, RECENT_PHOTOGRAPHS, RECENT_CASES = "slide/recent", "lesion/recent", "case/recent"  # settings
MAX_RECENT = 8
OPEN, REMOVE, CLEAR, REOPEN = "open-recent:", "remove-recent:", "clear-recent:", "reopen:"  # prefixes of links


class Welcome(QFrame):
    """A drop area for files, with links to open a photograph and the sample."""

    dropped = Signal(object)  # list of Path
    link_activated = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        named(self, "welcome", "Drop a photograph here", "JPEG, PNG, TIFF, HEIC, DICOM ...: one or several")
        self.setAcceptDrops(True)
        self._label = named(QLabel(), "welcome_text", "Start page")
        self._label.setToolTip("")
        self._label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._label.setWordWrap(True)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._label.linkActivated.connect(self.link_activated)
        self._recent_label = named(QLabel(), "welcome_recent", "Recently opened")
        self._recent_label.setToolTip("")
        self._recent_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._recent_label.setWordWrap(True)
        self._recent_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._recent_label.linkActivated.connect(self.link_activated)
        self._recent_label.linkHovered.connect(self._on_hovered)
        self._recent_label.hide()
        self._hint = QLabel()
        self._hint.setWordWrap(True)
        self._hint.setProperty("quiet", True)
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 48, 16, 48)
        layout.addWidget(self._label)
        layout.addWidget(self._recent_label)
        layout.addWidget(self._hint)
        icons.changed.connect(self._update_text)

    def _update_text(self) -> None:
        open_, sample = self._icons.link("open", "open one"), self._icons.link("sample", "try the sample")
        self._label.setText(
            "<p style='font-size: 14pt'>Drop a photograph here,</p>"
            f"<p style='font-size: 11pt'>{open_}, or {sample}.</p>"
        )

    def show_recent(self, text: str) -> None:
        """Show links to files that were opened recently, as rich text."""
        self._recent_label.setText(text)
        self._recent_label.setVisible(bool(text))

    def _on_hovered(self, link: str) -> None:
        """Show the path of the link below the mouse."""
        self._recent_label.setToolTip(link.split(":", 2)[-1])

    def set_hint(self, hint: str) -> None:
        """Show a hint, such as why an open image is not a photograph; empty hides it."""
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Accept files."""
        if event.mimeData().hasUrls():
            self._set_drag_over(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # noqa: N802 - Qt's name
        """Reset the highlighting."""
        self._set_drag_over(False)

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Emit the dropped files."""
        self._set_drag_over(False)
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        if paths:
            self.dropped.emit(paths)

    def _set_drag_over(self, is_over: bool) -> None:
        self.setProperty("over", is_over)
        self.style().unpolish(self)
        self.style().polish(self)


class FileDropHandler(QObject):
    """Handles files dropped on a dock, or on a part of the dock that does not accept drops itself.

    ``deferred``: parts that are added to the dock later.
    """

    dropped = Signal(object)  # list of Path

    def __init__(self, dock: QWidget, *deferred: QWidget) -> None:
        super().__init__(dock)
        dock.setAcceptDrops(True)
        dock.installEventFilter(self)
        for part in (dock, *deferred):
            for field in part.findChildren(QLineEdit):
                field.setAcceptDrops(False)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Accept dragged files, and emit dropped ones."""
        if event is None or event.type() not in (QEvent.Type.DragEnter, QEvent.Type.Drop):
            return False
        assert isinstance(event, QDropEvent)
        if not event.mimeData().hasUrls():
            return False
        event.acceptProposedAction()
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if event.type() == QEvent.Type.Drop and paths:
            self.dropped.emit(paths)
        return True


class RecentPaths:
    """The paths that were opened last, the latest first, in a setting."""

    def __init__(self, settings: DockSettings, key: str) -> None:
        self._settings, self.key = settings, key

    @property
    def paths(self) -> list[Path]:
        """The paths, including those that no longer exist."""
        stored: list[Any] = self._settings.get(self.key, [])
        return [Path(path) for path in stored if isinstance(path, str)]

    def add(self, path: Path) -> None:
        self._set([path, *(other for other in self.paths if other != path)])

    def remove(self, path: Path) -> None:
        self._set([other for other in self.paths if other != path])

    def clear(self) -> None:
        """Remove all paths, also those of the session."""
        self._set([])
        self.session = []

    @property
    def session(self) -> list[Path]:
        """The paths that were open together last."""
        stored: list[Any] = self._settings.get(f"{self.key}_session", [])
        return [Path(path) for path in stored if isinstance(path, str)]

    @session.setter
    def session(self, paths: Sequence[Path]) -> None:
        self._settings.set(f"{self.key}_session", [str(path) for path in paths])

    def _set(self, paths: list[Path]) -> None:
        self._settings.set(self.key, [str(path) for path in paths[:MAX_RECENT]])


class RecentList(NamedTuple):
    """A list on a start page: its title and paths, how to open paths, and whether these are folders of cases."""

    title: str
    recent: RecentPaths
    open: Callable[[list[Path]], object]
    are_cases: bool = False


class RecentFiles(QObject):
    """Shows lists of recent files on a start page; missing files are marked and can be removed."""

    failed = Signal(object)  # Exception

    def __init__(self, welcome: Welcome, icons: ThemedIcons, lists: tuple[RecentList, ...]) -> None:
        super().__init__(welcome)
        self._welcome, self._icons = welcome, icons
        self._lists: Mapping[str, RecentList] = {entry.recent.key: entry for entry in lists}
        self._missing: frozenset[Path] = frozenset()
        self._session: frozenset[Path] = frozenset()  # files of this window that are recorded as open
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(self._on_checked)
        self._queue.failed.connect(self.failed)
        icons.changed.connect(self.refresh)
        self.refresh()

    def add(self, key: str, path: Path) -> None:
        self._lists[key].recent.add(path)
        self.refresh()

    def record_session(self, key: str, paths: Sequence[Path], *, closed: bool = False) -> None:
        """Record which files are open, to open them together another day, the displayed one last.

        ``closed``: the user has closed a file. Otherwise fewer files do not count, because napari removes all of them
        one by one when its window is closed.
        """
        if paths and (closed or not self._session > set(paths)):
            self._session = frozenset(paths)
            self._lists[key].recent.session = paths
            self.refresh()

    def refresh(self) -> None:
        self._welcome.show_recent("".join(map(self._format, self._lists.values())))

    def find_missing(self) -> None:
        """Find files that no longer exist, in the background because a network drive may not respond."""
        paths = [
            (path, entry.are_cases)
            for entry in self._lists.values()
            for path in {*entry.recent.paths, *entry.recent.session}
        ]
        self._queue.submit("missing", lambda: partial(_find_missing, paths))

    def follow_link(self, link: str) -> bool:
        """Follow a link that opens or removes files; return False if it is not a link of these lists."""
        for prefix in (OPEN, REMOVE, CLEAR, REOPEN):
            if link.startswith(prefix):
                key, _, path = link.removeprefix(prefix).partition(":")
                recent = self._lists[key].recent
                if prefix == OPEN:
                    self._lists[key].open([Path(path)])
                elif prefix == REOPEN:
                    self._lists[key].open([path for path in recent.session if path not in self._missing])
                elif prefix == REMOVE:
                    recent.remove(Path(path))
                else:
                    recent.clear()
                self.refresh()
                return True
        return False

    def _on_checked(self, missing: frozenset[Path]) -> None:
        self._missing = missing
        self.refresh()

    def _format(self, recent_list: RecentList) -> str:
        """Format a list as rich text; empty if there are no files."""
        lines = [self._format_path(recent_list.recent.key, path) for path in recent_list.recent.paths]
        clear = self._icons.link(f"{CLEAR}{recent_list.recent.key}", "clear")
        text = f"<p>{recent_list.title} ({clear}):<br>{'<br>'.join(lines)}</p>" if lines else ""
        count = len([path for path in recent_list.recent.session if path not in self._missing])
        link = self._icons.link(f"{REOPEN}{recent_list.recent.key}:", f"Reopen the last session ({count})")
        return f"<p>{link}</p>{text}" if count > 1 else text

    def _format_path(self, key: str, path: Path) -> str:
        if path not in self._missing:
            return self._icons.link(f"{OPEN}{key}:{path}", _name_path(path))
        return f"{html.escape(_name_path(path))} (not found) {self._icons.link(f'{REMOVE}{key}:{path}', 'remove')}"


def _name_path(path: Path) -> str:
    """Return the name of a file; for an image in an OME-Zarr folder, with the name of the folder."""
    inside = path.parent.name.endswith(".zarr")
    return f"{path.parent.name}/{path.name}" if inside else path.name


def _find_missing(paths: list[tuple[Path, bool]], run: RunContext) -> frozenset[Path]:
    """Return the paths that do not exist, or are folders of cases without a case."""
    from napari_melanoma.case.store import CASE

    missing = set()
    for path, is_case in paths:
        run.check()
        try:
            exists = (path / CASE if is_case else path).exists()
        except OSError:  # for example on a network drive that is not available
            exists = False
        if not exists:
            missing.add(path)
    return frozenset(missing)
