"""The dock of the Tray: thumbnails of the slides and photographs of a folder or a case, and controls to open them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QHideEvent, QKeyEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QBoxLayout, QLabel, QLineEdit, QMessageBox, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.core.errors import describe_error
from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.slide.slide_states import ReadStates, SlideStates
from napari_melanoma.ui.tray.model import FILTERS, PICTURE_PX, SORT_KEYS, TrayModel
from napari_melanoma.ui.tray.view import TrayView
from napari_melanoma.ui.viewer.docking import MIN_HEIGHT_PX, MIN_WIDTH_PX, DockPlacement
from napari_melanoma.ui.viewer.garbage import LibraryFreeze
from napari_melanoma.ui.viewer.photographs import get_path
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, format_key
from napari_melanoma.ui.viewer.view_memory import get_current_picture
from napari_melanoma.ui.widgets.dialogs import choose_folder, create_question, exec_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.file_drop import (
    RECENT_CASES,
    FileDropHandler,
    RecentFiles,
    RecentList,
    RecentPaths,
    Welcome,
)
from napari_melanoma.ui.widgets.job import BackgroundJob, LatestJobQueue
from napari_melanoma.ui.widgets.settings import DebounceTimer, DockSettings
from napari_melanoma.ui.widgets.status_line import StatusLine, show_failure
from napari_melanoma.ui.widgets.style import Connections, ThemedIcons, named, quiet_label, row, tool_button
from napari_melanoma.ui.widgets.thumbnails import ImageThumbnails

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_melanoma.ui.tray.images import SlideLabel, TrayContent, TrayImage
    from napari_melanoma.ui.widgets.job import JobFunction
    from napari_melanoma.ui.widgets.status_line import Task

RECENT_FOLDERS, SORT_SETTING = "tray/recent", "tray/sort"
HEIGHT_PX, PANEL_PX = 236, 300  # height of the dock below the image, and width of its controls beside the tiles
CACHED_PICTURES = 300
NO_MATCH = "No image matches. Clear the name, or choose 'all'."
NO_IMAGE = "The case has no images yet. Add them in the Case dock, then press ⟳."
MAX_OPENED = 20  # images that are opened together without a question
FREEZE_MS = 300  # delay, after which the dock is drawn
REFRESH_MS = 3000  # interval of reading the states of visible slides
OPEN_KEY, SIDE_BY_SIDE_KEY, FIND_KEY, REFRESH_KEY = (
    format_key(f"tray.{name}") for name in ("open", "side_by_side", "find", "refresh")
)


class TrayWelcome(Welcome):
    """The start page: a drop area for a folder or a case."""

    def __init__(self, icons: ThemedIcons) -> None:
        self._folder: Path | None = None
        super().__init__(icons)
        named(self, "welcome", "Drop a folder here", "A folder of slides and photographs, a case, or single files")
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
        self._label.setText(
            "<p style='font-size: 14pt'>Drop a folder of slides and photographs, or a case, here,</p>"
            f"<p style='font-size: 11pt'>or {', or '.join(links)}.</p>"
        )


class TrayControls(QWidget):
    """The widgets of the Tray."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "tray_dock", "Tray").setToolTip("")
        self.settings = DockSettings()
        self.connections = Connections()
        DockPlacement(self, viewer, self.connections, HEIGHT_PX)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = TrayWelcome(self.icons)
        self.title = named(QLabel(), "tray_title", "Folder or case")
        self.count_label = named(quiet_label(), "tray_count", "Number of images")
        self.folder_button = tool_button("tray_folder", "Choose a folder", "Choose another folder", "folder ...")
        self.refresh_button = tool_button("tray_refresh", "Refresh", f"Search the folder again ({REFRESH_KEY})", "⟳")
        self.name_field = named(QLineEdit(), "tray_name", "Filter by name", f"Part of the name ({FIND_KEY})")
        self.name_field.setPlaceholderText("part of the name")
        self.name_field.setClearButtonEnabled(True)
        self.filter_combo = named(NoWheelComboBox(), "tray_filter", "Filter", "Show only slides of a kind or status")
        self.filter_combo.addItems(FILTERS)
        self.sort_combo = named(NoWheelComboBox(), "tray_sort", "Order", "Sort by name, status or date of the file")
        self.sort_combo.addItems([f"by {key}" for key in SORT_KEYS])
        self.open_button = named(QPushButton("Open"), "primary", "Open")
        self.side_by_side_button = tool_button("tray_side_by_side", "Show side by side", "", "side by side")
        self.label_button = tool_button("tray_label", "Show label", "", "label ...")
        self.status = StatusLine(self.icons)
        self.thumbnails = ImageThumbnails(2 * PICTURE_PX, self, size=CACHED_PICTURES)
        self.states = SlideStates(self.settings, self)
        self.list_model = TrayModel(self.thumbnails, self.states, self)
        self.list_view = TrayView(self.list_model, self.icons)
        self.empty_label = named(quiet_label(), "tray_empty", "Why no image is shown")
        self.empty_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._lay_out()
        self.drops = FileDropHandler(self)
        self.icons.apply()

    def _lay_out(self) -> None:
        """Lay out controls and tiles; ``resizeEvent`` places the controls beside or above the tiles."""
        panel = QWidget()
        column = QVBoxLayout(panel)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        column.addWidget(row(self.title, self.refresh_button, self.folder_button, stretch=0))
        column.addWidget(self.name_field)
        column.addWidget(row(self.filter_combo, self.sort_combo, stretch=0))
        column.addWidget(self.count_label)
        column.addStretch(1)
        column.addWidget(row(self.open_button, self.side_by_side_button, self.label_button, stretch=0))
        for button in (self.side_by_side_button, self.label_button):
            button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        column.addWidget(self.status)
        self._panel = panel
        tiles = QWidget()
        below = QVBoxLayout(tiles)
        below.setContentsMargins(0, 0, 0, 0)
        below.addWidget(self.empty_label)
        below.addWidget(self.welcome, 1)
        below.addWidget(self.list_view, 1)
        self._box = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._box.setContentsMargins(6, 4, 6, 6)
        self._box.addWidget(panel)
        self._box.addWidget(tiles, 1)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Place the controls beside the tiles in a wide dock, otherwise above them."""
        super().resizeEvent(event)
        is_wide = self.width() >= 2 * MIN_WIDTH_PX
        if is_wide:
            self._panel.setFixedWidth(PANEL_PX)
        else:
            self._panel.setMaximumWidth(self.width())
        direction = QBoxLayout.Direction.LeftToRight if is_wide else QBoxLayout.Direction.TopToBottom
        self._box.setDirection(direction)
        margins = self._box.contentsMargins()
        needed = self._panel.minimumSizeHint().height() + margins.top() + margins.bottom() if is_wide else 0
        self.setMinimumHeight(max(MIN_HEIGHT_PX, needed))  # controls beside the tiles do not scroll

    def show_content(self, content: TrayContent | None) -> None:
        """Show the tiles, or the start page."""
        has_content = content is not None
        self.title.setText("" if content is None else content.title)
        self.title.setToolTip("" if content is None else "\n".join(map(str, content.chosen)))
        self.welcome.setVisible(not has_content)
        for part in (self.list_view, self.count_label, self.name_field, self.filter_combo, self.sort_combo):
            part.setVisible(has_content)
        for button in (
            self.open_button,
            self.side_by_side_button,
            self.label_button,
            self.refresh_button,
            self.folder_button,
        ):
            button.setVisible(has_content)

    def show_counts(self, total: int, shown: int) -> None:
        """Show the number of images, and why no tile is shown."""
        text = format_count(total, "image")
        self.count_label.setText(text if shown == total else f"{shown:,} of {text}")
        self.empty_label.setText(NO_MATCH if total else NO_IMAGE)
        self.empty_label.setVisible(shown == 0 and self.welcome.isHidden())

    def show_actions(self) -> None:
        """Enable the buttons that apply to the selected images, and set their tooltips."""
        count, is_slide = len(self.list_view.selected_images), self.list_view.selected_slide is not None
        self.open_button.setEnabled(count > 0)
        self.open_button.setText("Open" if count < 2 else f"Open {count:,}")
        tip = f"Open in the viewer ({OPEN_KEY}, double click, or drag to the image)"
        self.open_button.setToolTip(tip if count else "Select a slide or photograph")
        tips = {
            self.side_by_side_button: f"Show the slide in a second view ({SIDE_BY_SIDE_KEY}, or drag it there)",
            self.label_button: "Show the label in the file, which may identify the patient; it is not stored",
        }
        for button, text in tips.items():
            button.setEnabled(is_slide)
            button.setToolTip(text if is_slide else "Select one slide")


class TrayDock(TrayControls):
    """Shows slides and photographs as tiles with their state, and opens them."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        from napari_melanoma.ui.tray.opening import TrayOpener

        self._viewer = napari_viewer
        self.content: TrayContent | None = None
        self._jobs: dict[str, BackgroundJob] = {}
        self.opener = TrayOpener(napari_viewer, self)
        self.recent = self._create_recent_lists()
        self._case_jobs = LatestJobQueue(self)
        self._name_timer = DebounceTimer(self)
        self._order_timer = DebounceTimer(self)
        self._refresh_timer = QTimer(self)
        self._refresh_timer.setInterval(REFRESH_MS)
        sort = self.settings.get(SORT_SETTING, SORT_KEYS[0])
        self.list_model.sort_key = sort if sort in SORT_KEYS else SORT_KEYS[0]
        self.sort_combo.setCurrentIndex(SORT_KEYS.index(self.list_model.sort_key))
        self._connect()
        self.show_content(None)
        self.show_counts(0, 0)
        self.show_actions()
        self._on_viewer()
        self._library_freeze = LibraryFreeze(self, napari_viewer, self.connections)
        QTimer.singleShot(FREEZE_MS, self._library_freeze.freeze)
        QTimer.singleShot(FREEZE_MS, self.recent.find_missing)
        self.destroyed.connect(self.connections.close)

    def _create_recent_lists(self) -> RecentFiles:
        """Create the lists of recent folders and cases on the start page."""
        folders, cases = (RecentPaths(self.settings, key) for key in (RECENT_FOLDERS, RECENT_CASES))
        lists = (
            RecentList("Recent folders", folders, self.open),
            RecentList("Recent cases", cases, self.open, are_cases=True),
        )
        return RecentFiles(self.welcome, self.icons, lists)

    def _connect(self) -> None:
        for area in (self.welcome, self.drops):
            area.dropped.connect(self._on_dropped)
        for widget in (self.welcome, self.status):
            widget.link_activated.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.folder_button.clicked.connect(self.choose_folder)
        self.refresh_button.clicked.connect(self.refresh)
        self.name_field.textChanged.connect(self._name_timer.start)
        self._name_timer.timeout.connect(self._on_filter)
        self.name_field.installEventFilter(self)
        self.filter_combo.activated.connect(self._on_filter)
        self.sort_combo.activated.connect(self._on_sort)
        self.list_model.counts_changed.connect(self._on_counts)
        self.list_view.open_requested.connect(self._on_opened)
        self.list_view.side_by_side_requested.connect(self._on_side_by_side)
        self.list_view.label_requested.connect(self._on_label)
        self.list_view.selectionModel().selectionChanged.connect(self.show_actions)
        self.open_button.clicked.connect(lambda: self._on_opened(self.list_view.selected_images))
        self.side_by_side_button.clicked.connect(self.list_view.request_side_by_side)
        self.label_button.clicked.connect(self.list_view.request_label)
        self._case_jobs.succeeded.connect(self._on_case_changed)
        self._order_timer.timeout.connect(self._apply_order)
        self.states.value_read.connect(self._on_state_changed)
        self._refresh_timer.timeout.connect(self._refresh_visible)
        self.opener.message.connect(self.status.show_message)
        layers = self._viewer.layers
        for emitter in (layers.events.inserted, layers.events.removed, layers.selection.events.active):
            self.connections.connect(emitter, self._on_viewer)
        self.recent.failed.connect(self._on_failed)
        for source in (self.thumbnails, self.states, self._case_jobs):
            source.failed.connect(self._on_reading_failed)
        add_shortcut(self, "tray.find", self.name_field.setFocus)
        add_shortcut(self, "tray.refresh", self.refresh)

    def open(self, paths: Sequence[Path]) -> None:
        """Show the images of a case, or of folders and files, which are searched in the background."""
        from napari_melanoma.ui.tray.images import list_images

        self._cancel("reading")
        self._start("opening", "Searching for images ...", partial(list_images, list(paths)), self._on_listed)

    def _start(self, task: Task, message: str, work: JobFunction, on_success: Callable[[Any], None]) -> None:
        """Start a job that can be canceled; it replaces a running one of the same task."""
        self._cancel(task)
        self.status.begin(task, message)
        self._jobs[task] = job = BackgroundJob(work)
        job.progressed.connect(partial(self.status.progress, task))
        job.succeeded.connect(lambda _: self.status.end(task))
        job.succeeded.connect(on_success)
        job.failed.connect(partial(self._on_job_failed, task))
        self.destroyed.connect(job.cancel)  # a canceled job emits no signals to the deleted dock
        job.start(self)

    def _cancel(self, task: Task) -> None:
        job = self._jobs.pop(task, None)
        if job is not None:
            job.cancel()
            self.status.end(task)

    def refresh(self) -> None:
        """Search for images again, and read their thumbnails and states again."""
        if self.content is not None:
            self.thumbnails.clear()
            self.states.clear()
            self.list_view.viewport().update()  # requests the data of visible tiles
            self.open(self.content.chosen)

    def choose_folder(self) -> None:
        """Choose a folder in a dialog."""
        last = self.content.chosen[0] if self.content is not None else None
        choose_folder(self, "tray_dialog", "Folder of slides and photographs", last, lambda folder: self.open([folder]))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the states of visible slides."""
        super().showEvent(event)
        self._refresh_timer.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop reading thumbnails and states."""
        super().hideEvent(event)
        self._refresh_timer.stop()
        self._cancel("reading")
        for cache in (self.thumbnails, self.states):
            cache.drop_requests()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """In the name field, go to the tiles with Enter or the down key, and clear the name with Escape."""
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

    def _refresh_visible(self) -> None:
        """Read the states of visible slides, thumbnails that could not be read, and the case if it has changed."""
        from napari_melanoma.ui.tray.images import update_case

        visible = self.list_view.list_visible()
        self.states.refresh([image.path for image in visible if image.is_slide])
        self.thumbnails.retry([image.path for image in visible])
        if self.content is not None and self.content.case_folder is not None:
            self._case_jobs.submit("case", partial(partial, update_case, self.content))

    def _on_state_changed(self) -> None:
        if self.list_model.needs_states:
            self._order_timer.start()

    def _on_case_changed(self, content: TrayContent | None) -> None:
        if content is not None and self.content is not None and content.chosen == self.content.chosen:
            self._on_listed(content)

    def _on_listed(self, content: TrayContent) -> None:
        is_new = self.content is None or self.content.chosen != content.chosen
        self.content = content
        if content.case_folder is None and len(content.chosen) == 1 and content.chosen[0].is_dir():
            self.recent.add(RECENT_FOLDERS, content.chosen[0])
        if is_new:
            self.name_field.clear()
            self._name_timer.stop()
            self.list_model.text = ""
        self.thumbnails.set_images({image.path: image.is_slide for image in content.images})
        self.list_model.images = content.images
        self._apply_order()
        self.show_content(content)
        self._on_counts()
        if content.problem:
            self.status.show_message(content.problem)
        self._on_viewer()
        if is_new:
            displayed = self._find_displayed_file()
            self.list_view.select_path(content.images[0].path if displayed is None and content.images else displayed)
        self._read_all_states()

    def _on_job_failed(self, task: Task, error: Exception) -> None:
        self.status.end(task)
        self._on_failed(error)

    def _on_cancelled(self, task: Task) -> None:
        self._cancel(task)
        self.status.end(task, "Canceled.")

    def _on_filter(self) -> None:
        self.list_model.text = self.name_field.text().strip()
        self.list_model.kind = self.filter_combo.currentText()
        self._update_order()

    def _on_sort(self, index: int) -> None:
        self.list_model.sort_key = SORT_KEYS[index]
        self.settings.set(SORT_SETTING, SORT_KEYS[index])
        self._update_order()

    def _update_order(self) -> None:
        """Filter and sort the images, and scroll to the first selected one."""
        self._apply_order()
        for index in sorted(self.list_view.selectedIndexes())[:1]:
            self.list_view.scrollTo(index)
        self._read_all_states()

    def _apply_order(self) -> None:
        """Filter and sort the images; selected images stay selected."""
        selected = [image.path for image in self.list_view.selected_images]
        if self.list_model.update_order():
            self.list_view.select_paths(selected)
        self._on_counts()
        self.show_actions()

    def _read_all_states(self) -> None:
        """Read the states of all slides if filter or order depend on them."""
        missing = [
            image.path for image in self.list_model.images if image.is_slide and self.states.peek(image.path) is None
        ]
        if missing and self.list_model.needs_states:
            work = self.states.prepare(missing)
            self._start("finding", "Reading the states of the slides ...", work, self._on_all_states)

    def _on_all_states(self, states: ReadStates) -> None:
        self.states.add(states)
        self._update_order()

    def _on_counts(self) -> None:
        self.show_counts(len(self.list_model.images), self.list_model.rowCount())

    def _on_opened(self, images: list[TrayImage]) -> None:
        if self.content is not None and images and self._may_open(len(images)):
            self.opener.open(images, self.content.case_folder)

    def _may_open(self, count: int) -> bool:
        """Return whether images may be opened; ask the user if there are many."""
        if count <= MAX_OPENED:
            return True
        details = "This may take a while and much memory."
        box = create_question(self, "open_many_question", f"Open {count:,} images?", details, "Tray")
        accept = box.addButton(f"Open {count:,}", QMessageBox.ButtonRole.AcceptRole)
        box.setDefaultButton(box.addButton("Do not open", QMessageBox.ButtonRole.RejectRole))
        return exec_question(box) is accept

    def _on_side_by_side(self, slide: TrayImage) -> None:
        if self.content is not None:
            self.opener.open_side_by_side(slide.path, self.content.case_folder)

    def _on_label(self, path: Path) -> None:
        from napari_melanoma.ui.tray.images import read_label

        message = f"Reading the label of {path.name} ..."
        self._start("reading", message, partial(read_label, path), self._on_label_read)

    def _on_label_read(self, label: SlideLabel) -> None:
        from napari_melanoma.ui.tray.opening import LabelDialog

        if self.isVisible():
            LabelDialog(label, self.window()).show()

    def _find_displayed_file(self) -> Path | None:
        """Return the file of the image in view; None if there is none."""
        picture = get_current_picture(self._viewer)
        return None if picture is None else get_path(picture[0])

    def _on_viewer(self, event: object = None) -> None:
        """Mark the image in view."""
        displayed = self._find_displayed_file()
        self.list_model.set_displayed(displayed)
        self.welcome.set_image_folder(None if displayed is None else displayed.parent)

    def _on_dropped(self, paths: list[Path]) -> None:
        if not self.list_view.is_dragging:  # not for the tiles of this list
            self.open(paths)

    def _on_link(self, link: str) -> None:
        displayed = self._find_displayed_file()
        if self.recent.follow_link(link):
            return
        if link == "choose":
            self.choose_folder()
        elif link == "slide" and displayed is not None:
            self.open([displayed.parent])

    def _on_failed(self, error: Exception) -> None:
        show_failure(self.status, error)

    def _on_reading_failed(self, error: Exception) -> None:
        self.status.show_message(describe_error(error))  # no notification, since reading is tried again soon
