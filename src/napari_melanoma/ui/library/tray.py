"""The Tray: tiles of the slides and photographs of a folder or a case, with their states."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtGui import QHideEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.library.dock import LibraryDock, show_button
from napari_melanoma.ui.library.listing import LibraryContent, SlideLabel
from napari_melanoma.ui.library.model import TILE_PICTURE_PX, LibraryModel
from napari_melanoma.ui.library.resolve import FILTERS, SORT_KEYS, LibraryImage, resolve_tray_buttons
from napari_melanoma.ui.library.states import ReadStates, SlideStates
from napari_melanoma.ui.library.view import TileView
from napari_melanoma.ui.viewer.garbage import LibraryFreeze
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, format_key
from napari_melanoma.ui.widgets.dialogs import confirm
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.widgets.style import named, row, tool_button
from napari_melanoma.ui.widgets.thumbnails import ImageThumbnails

if TYPE_CHECKING:
    from napari.viewer import Viewer


SORT_SETTING = "tray/sort"
HEIGHT_PX = 236  # of the dock below the image
WIDE_PX, NOTICE_PX = 900, 1150  # from these widths on, the controls are in one row; also the notice of use
GROUPS_PX, OPEN_PX = 12, 90  # between the groups of controls in a row; width of the primary button
CACHED_PICTURES = 300
NO_MATCH = "No image matches. Clear the name, or choose 'All'."
NO_IMAGE = "The case has no images yet. Add them in the Case dock, then press ⟳."
NO_FIRST_SLIDE = "Open another slide first: the second view shows a slide next to it."
MAX_OPENED = 20  # images that are opened together without a question
FREEZE_MS = 300  # delay, after which the dock is drawn
REFRESH_MS = 3000  # interval of reading the states of visible slides
OPEN_KEY, SIDE_BY_SIDE_KEY, FIND_KEY, REFRESH_KEY = (
    format_key(f"tray.{name}") for name in ("open", "side_by_side", "find", "refresh")
)


class TrayDock(LibraryDock):
    """Shows slides and photographs as tiles with their state, and opens them."""

    list_view: TileView
    name, filters, sort_keys = "tray", FILTERS, SORT_KEYS
    drop = "a folder of slides and photographs, or a case,"
    folder_title = "Folder of slides and photographs"
    part_names = ("tray_title", "tray_count", "tray_folder", "tray_filter")

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, HEIGHT_PX)
        self.content: LibraryContent | None = None
        self.refresh_button = tool_button("tray_refresh", "Refresh", f"Search the folder again ({REFRESH_KEY})", "⟳")
        self.open_button = named(QPushButton("Open"), "primary", "Open")
        self.side_by_side_button = tool_button("tray_side_by_side", "Show side by side", "", "Side by side")
        self.label_button = tool_button("tray_label", "Show label", "", "Label...")
        self.name_field.setToolTip(f"Part of the name ({FIND_KEY})")
        self.thumbnails = ImageThumbnails(2 * TILE_PICTURE_PX, self, size=CACHED_PICTURES)
        self.states = SlideStates(self.settings, self)
        self.list_model = LibraryModel(self.thumbnails, self, self.states)
        self.list_view = TileView(self.list_model, self.icons, "tray_list")
        self._lay_out()
        self.workspace.images.provide(self, self)
        self._case_jobs = LatestJobQueue(self)
        self._refresh_timer = QTimer(self)
        self._refresh_timer.setInterval(REFRESH_MS)
        sort = self.settings.get(SORT_SETTING, SORT_KEYS[0])
        self.sort_combo.setCurrentIndex(SORT_KEYS.index(sort) if sort in SORT_KEYS else 0)
        self.connect_list()
        self._connect()
        self._show_content()
        self._library_freeze = LibraryFreeze(self, napari_viewer, self.connections)
        QTimer.singleShot(FREEZE_MS, self._library_freeze.freeze)

    def _lay_out(self) -> None:
        """Lay out the controls above the tiles, and the status line below."""
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._controls = QWidget()
        self._groups = QBoxLayout(QBoxLayout.Direction.TopToBottom, self._controls)
        self._groups.setContentsMargins(0, 0, 0, 0)
        self._groups.setSpacing(GROUPS_PX)
        buttons = self.side_by_side_button, self.label_button, self.open_button
        self._last_group = row(self.count_label, *buttons, stretch=0)
        for group, stretch in (
            (row(self.title, self.refresh_button, self.folder_button, stretch=0), 2),
            (row(self.name_field, self.filter_combo, self.sort_combo, stretch=0), 3),
            (self._last_group, 3),
        ):
            self._groups.addWidget(group, stretch)
        self.count_label.setWordWrap(False)
        self.open_button.setMinimumWidth(OPEN_PX)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(6, 4, 6, 4)
        whole.setSpacing(4)
        whole.addWidget(self._controls)
        whole.addWidget(self.empty_label)
        whole.addWidget(self.welcome, 1)
        whole.addWidget(self.list_view, 1)
        whole.addWidget(self.status)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Place the controls in one row in a wide dock, otherwise in three."""
        super().resizeEvent(event)
        is_wide = self.width() >= WIDE_PX
        direction = QBoxLayout.Direction.LeftToRight if is_wide else QBoxLayout.Direction.TopToBottom
        self._groups.setDirection(direction)
        self._place_notice()

    def _place_notice(self) -> None:
        """Place the notice of use among the controls if there is room; the status line then takes none while empty."""
        is_above = self.content is not None and self.width() >= NOTICE_PX
        holder, index = (self._last_group, 1) if is_above else (self.status.last_row, -1)
        if self.status.notice.parentWidget() is not holder:
            holder.layout().insertWidget(index, self.status.notice)
        self.status.setVisible(bool(self.status.text) or not is_above)

    def _show_content(self) -> None:
        """Show the tiles, or the start page."""
        content = self.content
        self.title.setText("" if content is None else content.title)
        self.title.setToolTip("" if content is None else "\n".join(map(str, content.chosen)))
        self.welcome.setVisible(content is None)
        for part in (self._controls, self.list_view):
            part.setVisible(content is not None)
        self._place_notice()
        self._show_rows()

    def _show_rows(self) -> None:
        """Show the number of images, why no tile is shown, and what can be done with the selected images."""
        total, shown = len(self.list_model.images), self.list_model.rowCount()
        text = format_count(total, "image")
        self.count_label.setText(text if shown == total else f"{shown:,} of {text}")
        self.empty_label.setText(NO_MATCH if total else NO_IMAGE)
        self.empty_label.setVisible(shown == 0 and self.content is not None)
        self._show_actions()

    def _show_actions(self) -> None:
        buttons = {"open": self.open_button, "side_by_side": self.side_by_side_button, "label": self.label_button}
        states = resolve_tray_buttons(self.list_view.selected_images, OPEN_KEY, SIDE_BY_SIDE_KEY)
        for name, state in states.items():
            show_button(buttons[name], state)

    def _connect(self) -> None:
        self.refresh_button.clicked.connect(self.refresh)
        self.status.message_changed.connect(lambda _: self._place_notice())
        self.list_view.order_updated.connect(self._show_rows)
        self.list_view.open_requested.connect(self._on_opened)
        self.list_view.side_by_side_requested.connect(self._on_side_by_side)
        self.list_view.label_requested.connect(self._on_label)
        self.list_view.selectionModel().selectionChanged.connect(self._show_actions)
        self.open_button.clicked.connect(lambda: self._on_opened(self.list_view.selected_images))
        self.side_by_side_button.clicked.connect(self.list_view.request_side_by_side)
        self.label_button.clicked.connect(self.list_view.request_label)
        self._case_jobs.succeeded.connect(self._on_case_changed)
        self.states.value_read.connect(self._on_state_changed)
        self._refresh_timer.timeout.connect(self._refresh_visible)
        for source in (self.thumbnails, self.states, self._case_jobs):
            source.failed.connect(self._on_reading_failed)
        add_shortcut(self, "tray.find", self.name_field.setFocus)
        add_shortcut(self, "tray.refresh", self.refresh)

    def open(self, paths: Sequence[Path]) -> None:
        """Show the images of a case, or of folders and files, which are searched in the background."""
        from napari_melanoma.ui.library.listing import list_images

        self.cancel("reading")
        self.start("opening", "Searching for images ...", partial(list_images, list(paths)), self._on_listed)

    def refresh(self) -> None:
        """Search for images again, and read their thumbnails and states again."""
        if self.content is not None:
            self.thumbnails.clear()
            self.states.clear()
            self.list_view.viewport().update()  # requests the data of visible tiles
            self.open(self.content.chosen)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the states of visible slides."""
        super().showEvent(event)
        self._refresh_timer.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop reading thumbnails and states."""
        super().hideEvent(event)
        self._refresh_timer.stop()
        self.cancel("reading")
        for cache in (self.thumbnails, self.states):
            cache.drop_requests()

    def _refresh_visible(self) -> None:
        """Read the states of visible slides, thumbnails that could not be read, and the case if it has changed."""
        from napari_melanoma.ui.library.listing import update_case

        visible = self.list_view.list_visible()
        self.states.refresh([image.path for image in visible if image.is_slide])
        self.thumbnails.retry([image.path for image in visible])
        if self.content is not None and self.content.case_folder is not None:
            self._case_jobs.submit("case", partial(partial, update_case, self.content))

    def _on_state_changed(self, path: Path) -> None:
        if self.list_model.query.needs_states:
            self.list_view.schedule_order()

    def _on_case_changed(self, content: LibraryContent | None) -> None:
        if content is not None and self.content is not None and content.chosen == self.content.chosen:
            self._on_listed(content)

    def _on_listed(self, content: LibraryContent) -> None:
        is_new = self.content is None or self.content.chosen != content.chosen
        self.content, self.chosen = content, content.chosen
        if content.case_folder is None:
            self.remember_folder(content.chosen)
        if is_new:
            self.clear_name()
        self.thumbnails.set_images({image.path: image.is_slide for image in content.images})
        self.list_model.images = content.images
        self._show_content()
        self.list_view.update_order()
        if content.problem:
            self.status.show_message(content.problem)
        self._on_viewer()
        if is_new:
            displayed = self.find_displayed_file()
            self.list_view.select_path(content.images[0].path if displayed is None and content.images else displayed)
        self._read_all_states()

    def _on_query(self) -> None:
        previous = self.list_model.query
        super()._on_query()
        self.settings.set(SORT_SETTING, self.list_model.query.sort)
        self._read_all_states(again=self.list_model.query.text == previous.text)

    def _read_all_states(self, *, again: bool = False) -> None:
        """Read the states of all slides if filter or order depend on them.

        ``again``: also those that were read before, as slides that are not visible may have been analyzed since.
        """
        slides = [image.path for image in self.list_model.images if image.is_slide]
        slides = [path for path in slides if again or self.states.peek(path) is None]
        if slides and self.list_model.query.needs_states:
            work = self.states.prepare(slides)
            self.start("finding", "Reading the states of the slides ...", work, self._on_all_states)

    def _on_all_states(self, states: ReadStates) -> None:
        self.states.add(states)
        super()._on_query()

    def _on_opened(self, images: list[LibraryImage]) -> None:
        if self.content is not None and images and self._may_open(len(images)):
            self.status.end_message(NO_FIRST_SLIDE)
            self._open_images(images, self.content.case_folder)

    def _open_images(self, images: list[LibraryImage], case_folder: Path | None) -> None:
        """Open images in the docks for them, those of a case with their masks; the first one is shown."""
        if case_folder is not None:
            self.workspace.cases.show().show_images(case_folder, [image.case_id for image in reversed(images)])
            return
        for image in reversed(images):
            docks = self.workspace.slides if image.is_slide else self.workspace.photographs
            docks.show().show_file(image.path)

    def _may_open(self, count: int) -> bool:
        """Return whether images may be opened; ask the user if there are many."""
        question, details = f"Open {count:,} images?", "This may take a while and much memory."
        return count <= MAX_OPENED or confirm(self, "open_many_question", question, details, f"Open {count:,}", "Tray")

    def _on_side_by_side(self, slide: LibraryImage) -> None:
        """Show a slide next to the displayed one; a slide of the open case is closed with it."""
        if self.content is None:
            return
        if self.content.case_folder is not None and (case := self.workspace.case) is not None:
            case.add_slide(self.content.case_folder, slide.path)
        is_beside = self.workspace.slides.show().show_beside(slide.path)
        self.status.show_message("" if is_beside else NO_FIRST_SLIDE)

    def _on_label(self, path: Path) -> None:
        from napari_melanoma.ui.library.listing import read_label

        message = f"Reading the label of {path.name} ..."
        self.start("reading", message, partial(read_label, path), self._on_label_read)

    def _on_label_read(self, label: SlideLabel) -> None:
        from napari_melanoma.ui.library.label_dialog import LabelDialog

        if self.isVisible():
            LabelDialog(label, self.window()).show()

    def _on_reading_failed(self, error: Exception) -> None:
        self.status.show_message(describe_failure(error))  # no notification, since reading is tried again soon
