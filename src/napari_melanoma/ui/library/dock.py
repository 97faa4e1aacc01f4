"""The part that the docks with a list of images share: start page, folder, filters, list and status line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QAbstractButton, QLineEdit, QToolButton, QWidget

from napari_melanoma.core.formatting import capitalize
from napari_melanoma.ui.library.resolve import Button, Query
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.viewer.docking import DockPlacement
from napari_melanoma.ui.viewer.photographs import get_path
from napari_melanoma.ui.viewer.view_memory import get_current_picture
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.dock_layout import NameLabel
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.file_drop import (
    RECENT_CASES,
    FileDropHandler,
    RecentFiles,
    RecentList,
    RecentPaths,
    Welcome,
)
from napari_melanoma.ui.widgets.job import BackgroundJob, JobFunction
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.status_line import CANCELED, StatusLine, show_failure
from napari_melanoma.ui.widgets.style import ThemedIcons, add_clear_button, enable, named, quiet_label, tool_button

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.library.model import LibraryModel
    from napari_melanoma.ui.library.view import LibraryView

MISSING_MS = 300  # delay, after which the dock is drawn and recent folders are looked up


class LibraryWelcome(Welcome):
    """The start page: a drop area for a folder, with links to choose one or to show that of the open image."""

    def __init__(self, icons: ThemedIcons, drop: str, hint: str) -> None:
        self._drop, self._hint_text = drop, hint
        self._folder: Path | None = None
        super().__init__(icons)
        named(self, "welcome", "Drop a folder here", drop)
        self.layout().setContentsMargins(12, 12, 12, 12)

    def set_image_folder(self, folder: Path | None) -> None:
        """Offer the folder of the displayed image."""
        if folder != self._folder:
            self._folder = folder
            self._update_text()

    def _update_text(self) -> None:
        """Write the text in the colors of the theme."""
        links = [self._icons.link("choose", "choose one")]
        if self._folder is not None:
            links.append(f"show {self._icons.link('slide', f'the folder of the open image, {self._folder.name}')}")
        hint = self._hint_text.format(masks=self._icons.link("import", "import existing masks"))
        self._label.setText(
            f"<p style='font-size: 14pt'>Drop {self._drop} here,</p>"
            f"<p style='font-size: 11pt'>or {', or '.join(links)}.</p>{hint}"
        )


class LibraryDock(QWidget):
    """A dock with a list of images; subclasses create ``list_model`` and ``list_view``, and the actions.

    ``name``: prefix of object names and settings. ``drop``, ``hint``: what to drop, and rich text, on the start page.
    ``part_names``: object names of the title, the number of images, the button for the folder, and the filter.
    """

    list_model: LibraryModel
    list_view: LibraryView
    name: ClassVar[str]
    filters: ClassVar[Sequence[str]]
    sort_keys: ClassVar[Sequence[str]]
    sort_prefix: ClassVar[str] = "by "
    drop: ClassVar[str]
    hint: ClassVar[str] = ""
    folder_title: ClassVar[str]
    part_names: ClassVar[Sequence[str]]

    def __init__(self, viewer: Viewer, bottom_height: int = 0) -> None:
        super().__init__()
        named(self, f"{self.name}_dock", self.name.capitalize()).setToolTip("")
        self.settings = ReviewSettings()
        self.viewer, self.workspace = viewer, Workspace.of(viewer)
        self.chosen: Sequence[Path] = ()  # the folders and files that the user chose
        self.connections = Connections(self)
        self.placement = DockPlacement(self, viewer, self.connections, bottom_height)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = LibraryWelcome(self.icons, self.drop, self.hint)
        title_name, count_name, folder_name, filter_name = self.part_names
        self.title = named(NameLabel(), title_name, "Folder or case")
        self.count_label = named(quiet_label(), count_name, "Number of images")
        self.folder_button = self.create_folder_button(folder_name)
        self.name_field = named(QLineEdit(), f"{self.name}_name", "Filter by name", "Part of the name")
        self.name_field.setPlaceholderText("Name")
        add_clear_button(self.name_field)
        self.filter_combo = named(NoWheelComboBox(), filter_name, "Filter", "Show only images of a kind or status")
        self.filter_combo.addItems([capitalize(kind) for kind in self.filters])
        self.sort_combo = named(NoWheelComboBox(), f"{self.name}_sort", "Order", "Order of the images")
        self.sort_combo.addItems([capitalize(f"{self.sort_prefix}{key}") for key in self.sort_keys])
        self.empty_label = named(quiet_label(), f"{self.name}_empty", "Why no image is shown")
        self.empty_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.status = StatusLine(self.icons, is_wide=bottom_height > 0)
        self._name_timer = DebounceTimer(self)
        self._jobs: dict[str, BackgroundJob] = {}
        self.recent = self._create_recent_lists()

    def _create_recent_lists(self) -> RecentFiles:
        """Create the lists of recent folders, and in the Tray also of cases, on the start page."""
        folders = RecentPaths(self.settings, f"{self.name}/recent")
        lists = [RecentList("Recent folders", folders, self.open)]
        if self.name == "tray":
            lists.append(RecentList("Recent cases", RecentPaths(self.settings, RECENT_CASES), self.open, True))
        return RecentFiles(self.welcome, self.icons, tuple(lists))

    def create_folder_button(self, name: str) -> QToolButton:
        """Create the button to choose another folder."""
        button = tool_button(name, "Choose a folder", "Choose another folder", "Folder...")
        button.clicked.connect(self.choose_folder)
        return button

    def connect_list(self) -> None:
        """Connect the widgets of this class, after the list and the layout were created."""
        self.drops = FileDropHandler(self)
        for area in (self.welcome, self.drops):
            area.dropped.connect(self._on_dropped)
        for widget in (self.welcome, self.status):
            widget.link_activated.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.recent.failed.connect(self._on_failed)
        self.name_field.textChanged.connect(self._name_timer.start)
        self.name_field.installEventFilter(self)
        self._name_timer.timeout.connect(self._on_query)
        self.filter_combo.activated.connect(self._on_query)
        self.sort_combo.activated.connect(self._on_query)
        self._set_query()
        layers = self.viewer.layers
        for emitter in (layers.events.inserted, layers.events.removed, layers.selection.events.active):
            self.connections.connect(emitter, self._on_viewer)
        self._on_viewer()
        self.icons.apply()
        QTimer.singleShot(MISSING_MS, self.recent.find_missing)

    def open(self, paths: Sequence[Path]) -> None:
        """Show the images of folders and files, which are searched in the background."""
        raise NotImplementedError

    def start(self, task: str, message: str, work: JobFunction, on_success: Callable[[Any], None]) -> BackgroundJob:
        """Start a job that can be canceled; it replaces a running one of the same task, which may not stop at once."""
        self.cancel(task)
        self.status.begin(task, message)
        self._jobs[task] = job = BackgroundJob(work)
        job.progressed.connect(partial(self.status.progress, task))
        job.succeeded.connect(lambda _: self.status.end(task))
        job.succeeded.connect(on_success)
        job.failed.connect(lambda _: self.status.end(task))
        job.failed.connect(self._on_failed)
        self.destroyed.connect(job.cancel)  # a canceled job emits no signals to the deleted dock
        return job.start(self)

    def cancel(self, task: str) -> None:
        """Cancel the job of a task, if there is one."""
        job = self._jobs.pop(task, None)
        if job is not None:
            job.cancel()
            self.status.end(task)

    def choose_folder(self) -> None:
        """Choose a folder in a dialog."""
        last = self.chosen[0] if self.chosen else self.settings.review_folder
        title = self.folder_title
        choose_folder(self, f"{self.name}_dialog", title, last, lambda folder: self.open([folder]))

    def remember_folder(self, chosen: Sequence[Path]) -> None:
        """List a single folder among the recent folders."""
        if len(chosen) == 1 and chosen[0].is_dir():
            self.recent.add(f"{self.name}/recent", chosen[0])

    def clear_name(self) -> None:
        """Show images of all names."""
        self.name_field.clear()
        self._name_timer.stop()
        self._set_query()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """In the name field, go to the list with Enter or the down key, and clear the name with Escape."""
        if event.type() == QEvent.Type.KeyPress and watched is self.name_field:
            assert isinstance(event, QKeyEvent)
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Down):
                self._name_timer.flush()
                self.list_view.setFocus()
                if not self.list_view.selected_images:
                    self.list_view.setCurrentIndex(self.list_model.index(0))
                return True
            if event.key() == Qt.Key.Key_Escape:
                self.name_field.clear()
        return bool(super().eventFilter(watched, event))

    def find_displayed_file(self) -> Path | None:
        """Return the file of the image in view; None if there is none."""
        picture = get_current_picture(self.viewer)
        return None if picture is None else get_path(picture[0])

    def _set_query(self) -> None:
        kind, sort = self.filters[self.filter_combo.currentIndex()], self.sort_keys[self.sort_combo.currentIndex()]
        self.list_model.query = Query(self.name_field.text().strip(), kind, sort)

    def _on_query(self) -> None:
        """Filter and sort the images, and scroll to the first selected one, or to the top."""
        self._set_query()
        self.list_view.update_order()
        self.list_view.scrollTo(min(self.list_view.selectedIndexes(), default=self.list_model.index(0)))

    def _on_viewer(self, event: object = None) -> None:
        """Mark the image in view."""
        displayed = self.find_displayed_file()
        self.list_model.set_displayed(displayed)
        self.welcome.set_image_folder(None if displayed is None else displayed.parent)

    def _on_dropped(self, paths: list[Path]) -> None:
        self.open(paths)

    def _on_link(self, link: str) -> None:
        displayed = self.find_displayed_file()
        if self.recent.follow_link(link):
            return
        if link == "choose":
            self.choose_folder()
        elif link == "slide" and displayed is not None:
            self.open([displayed.parent])

    def _on_cancelled(self, task: str) -> None:
        self.cancel(task)
        self.status.end(task, CANCELED)

    def _on_failed(self, error: Exception) -> None:
        show_failure(self.status, error)


def show_button(button: QAbstractButton, state: Button) -> None:
    """Show the text of a button, whether it is enabled, and why not."""
    enable(button, state.tip, state.reason)
    if state.text:
        button.setText(state.text)
