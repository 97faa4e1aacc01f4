"""The Review dock: review the photographs of a folder, the most uncertain predictions first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import Qt, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.core.formatting import format_count, format_duration
from napari_melanoma.io.discovery import SUFFIXES
from napari_melanoma.ui.review.list_model import PICTURE_PX, ReviewItems, ReviewListModel, ReviewListView
from napari_melanoma.ui.review.mask_import import MaskImport, describe_import, show_report
from napari_melanoma.ui.review.photographs import (
    MAX_TOOLTIP_PATHS,
    PhotographList,
    RatingQueue,
    ReviewOpener,
    describe_selection,
    find_ratings,
    list_photographs,
)
from napari_melanoma.ui.session.corrections_store import CorrectionsStore, ReviewSettings, StoredCorrection
from napari_melanoma.ui.shared_state import corrections_changed
from napari_melanoma.ui.viewer.docking import DockPlacement, show_dock
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, format_key
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.file_drop import FileDropHandler, Welcome
from napari_melanoma.ui.widgets.job import LatestJobQueue, tasks
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.status_line import StatusLine, remove_option_hints, show_failure
from napari_melanoma.ui.widgets.style import Connections, ThemedIcons, form_layout, named, quiet_label, row, tool_button
from napari_melanoma.ui.widgets.thumbnails import ThumbnailLoader, read_photograph_thumbnail
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.data.mask_import import MaskImportReport
    from napari_melanoma.lesion.uncertainty_ratings import CachedRating


NEXT_KEY, PREVIOUS_KEY, ACCEPT_KEY, REJECT_KEY = (
    format_key(f"review.{name}") for name in ("next", "previous", "accept", "reject")
)
RATING_METHODS = {  # title and tooltip
    "entropy": ("pixel entropy", "Uncertainty of the predicted pixels. Fast."),
    "disagreement": ("flip disagreement", "Disagreement of the masks of eight flipped and rotated copies. Slower."),
}


class FolderWelcome(Welcome):
    """The start page of the Review dock: a drop area for a folder."""

    def _update_text(self) -> None:
        choose = self._icons.link("choose", "select one")
        masks = self._icons.link("import", "import existing masks")
        self._label.setText(
            "<p style='font-size: 14pt'>Drop a folder of photographs here,</p>"
            f"<p style='font-size: 11pt'>or {choose}.</p>"
            "<p>Subfolders are included. If you drop photographs, only these are reviewed. "
            "Photographs with the most uncertain predictions are listed first: "
            f"correcting these improves the model most.</p><p>You can also {masks}.</p>"
        )


class ReviewControls(QWidget):
    """The widgets of the Review dock; ``ReviewDock`` adds the behavior."""

    photographs_chosen = Signal(object)  # list of Path: folders and photographs

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "review_dock", "Review")
        self.setToolTip("")
        self.settings = ReviewSettings()
        self.connections = Connections()
        DockPlacement(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = FolderWelcome(self.icons)
        self.welcome.setObjectName("welcome")
        self.model = ModelPicker(self.icons)
        self.thumbnails = ThumbnailLoader(2 * PICTURE_PX, self, read_photograph_thumbnail)
        self.list_model = ReviewListModel(self.thumbnails.get, self)
        self.folder_label = quiet_label()
        self.folder_label.setObjectName("review_folder")
        self.folder_button = tool_button(
            "choose_folder", "Select a folder", "Select another folder of photographs", "folder ..."
        )
        self.import_button = tool_button(
            "import_masks", "Import masks", "Import masks from other software into the corrections", "import masks ..."
        )
        self.method_combo = named(NoWheelComboBox(), "how", "Uncertainty measure", "Uncertainty measure")
        for method, (title, tip) in RATING_METHODS.items():
            self.method_combo.addItem(title, method)
            self.method_combo.setItemData(self.method_combo.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.rate_button = named(QPushButton("Rate"), "primary", "Rate")
        self.filter_combo = named(NoWheelComboBox(), "filter", "Filter", "Show unreviewed or all photographs")
        self.filter_combo.addItems(["to do", "all"])
        self.count_label = quiet_label()
        self.count_label.setObjectName("counts")
        self.list_view = ReviewListView(self.list_model, self.icons)
        self.previous_button = tool_button("previous", "Previous", f"Previous photograph ({PREVIOUS_KEY})")
        self.next_button = tool_button("next", "Next", f"Next photograph ({NEXT_KEY})")
        self.accept_button = named(QPushButton("Accept"), "accept", "Accept")
        self.reject_button = named(QPushButton("Reject"), "reject_photograph", "Reject")
        self.status = StatusLine(self.icons)
        self.icons.add(self.previous_button, "up_arrow")
        self.icons.add(self.next_button, "down_arrow")
        self.folder_button.clicked.connect(self.choose_folder)
        self._lay_out()
        self.file_drops = FileDropHandler(self)
        for area in (self.welcome, self.file_drops):
            area.dropped.connect(self._on_dropped)
        self.icons.apply()

    def choose_folder(self) -> None:
        """Open a dialog to choose a folder of photographs."""
        choose_folder(self, "review_dialog", "Folder of photographs", self.settings.review_folder, self._on_folder)

    def _on_folder(self, folder: Path) -> None:
        self.photographs_chosen.emit([folder])

    def _on_dropped(self, paths: list[Path]) -> None:
        """Review dropped photographs, and the photographs in dropped folders."""
        usable = [path for path in paths if path.is_dir() or path.suffix.lower() in SUFFIXES]
        if usable:
            self.photographs_chosen.emit(usable)
        else:
            self.status.show_message(
                f"{paths[0].name} is not a photograph. Drop a folder of photographs, or photographs."
            )

    def show_state(self, folder: str, running: bool, unrated: int) -> None:
        """Show the start page, or the review with its button to rate photographs.

        ``folder``: description of the selection, empty if there is none. ``running``: photographs are being rated.
        ``unrated``: number of photographs without a rating.
        """
        self.welcome.setVisible(not folder)
        self._work_area.setVisible(bool(folder))
        self.folder_label.setText(folder)
        self.rate_button.setEnabled(bool(folder) and not running and unrated > 0)
        self.rate_button.setText(f"Rate {format_count(unrated, 'photograph')}")
        reason = "Photographs are being rated." if running else "All photographs are rated."
        tip = "Compute the uncertainty of the prediction for each photograph"
        self.rate_button.setToolTip(tip if self.rate_button.isEnabled() else reason)
        self.rate_button.setVisible(unrated > 0)

    def show_counts(self) -> None:
        """Show the number of photographs in each state."""
        counts = self.list_model.items.counts()
        others = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count and state != "to do")
        self.count_label.setText(f"{counts['to do']:,} to do" + (f"; {others}" if others else ""))

    def show_actions(self, has_photograph: bool, can_accept: bool) -> None:
        """Enable the review buttons for the photograph in view."""
        self.accept_button.setEnabled(can_accept)
        tip = f"Store the photograph with its current mask, and go to the next ({ACCEPT_KEY})"
        self.accept_button.setToolTip(tip if can_accept else "The photograph has no mask yet")
        self.reject_button.setEnabled(has_photograph)
        tip = f"Store the photograph as rejected, and go to the next ({REJECT_KEY})"
        self.reject_button.setToolTip(tip if has_photograph else "Select a photograph in the list")
        for button in (self.previous_button, self.next_button):
            button.setEnabled(self.list_model.rowCount() > 0)

    def _lay_out(self) -> None:
        self._work_area = QWidget()
        column = QVBoxLayout(self._work_area)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        head = QWidget()
        rows = form_layout(head)
        rows.addRow(row(self.folder_label, self.folder_button, stretch=0))
        rows.addRow("model", self.model)
        rows.addRow("measure", row(self.method_combo, self.import_button, stretch=0))
        column.addWidget(head)
        column.addWidget(self.rate_button)
        column.addWidget(row(QLabel("show"), self.filter_combo, self.count_label, stretch=2))
        column.addWidget(self.list_view, 1)
        column.addWidget(row(self.previous_button, self.next_button, self.accept_button, self.reject_button, stretch=2))
        whole = QVBoxLayout(self)
        whole.setContentsMargins(6, 6, 6, 6)
        whole.setSpacing(4)
        whole.addWidget(self.welcome)
        whole.addWidget(self._work_area, 1)
        whole.addStretch(0)
        whole.addWidget(self.status)
        self.status.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)


class ReportedReview(NamedTuple):
    """A review that the status line reports.

    ``review``: state of the photograph. ``folder``: of the corrections. ``message``: text of the status line.
    """

    path: Path
    review: str
    folder: Path
    message: str


class ReviewDock(ReviewControls):
    """The Review dock: rate photographs by uncertainty, and accept, reject or correct their masks one by one."""

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        self._viewer = napari_viewer
        self._client = client or acquire_worker()
        self._chosen_paths: Sequence[Path] = ()
        self._fingerprint = ""  # of the model
        self._positions: dict[Path, int] = {}  # items of the list by photograph
        self._reported: ReportedReview | None = None
        self.corrections_store = CorrectionsStore(self.settings, self)
        self.rating = RatingQueue(self._client, self)
        self.opener = ReviewOpener(napari_viewer, self)
        self.mask_import = MaskImport(self, self.import_button)
        self._latest = LatestJobQueue(self)
        self.model.select_stored(self.settings.options.model)
        self.method_combo.setCurrentIndex(max(0, self.method_combo.findData(self.settings.rating_method)))
        self.list_model.rating_method = str(self.method_combo.currentData())
        self._connect()
        self._add_shortcuts()
        self._refresh()
        QTimer.singleShot(0, self._client.ensure_started)
        QTimer.singleShot(0, self.corrections_store.refresh)
        self.destroyed.connect(self.connections.close)
        if client is None:
            self.destroyed.connect(release_worker)

    def _connect(self) -> None:
        self.photographs_chosen.connect(self.open)
        self.welcome.link_activated.connect(self._on_link)
        self.status.link_activated.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.rate_button.clicked.connect(self._on_rate)
        self.model.changed.connect(self._on_model)
        self.method_combo.activated.connect(self._on_model)
        self.filter_combo.activated.connect(self._on_filter)
        self.list_view.item_selected.connect(self._open_item)
        self.next_button.clicked.connect(partial(self._step, 1))
        self.previous_button.clicked.connect(partial(self._step, -1))
        self.accept_button.clicked.connect(self.opener.accept)
        self.reject_button.clicked.connect(self.opener.reject)
        self.thumbnails.value_read.connect(self._on_thumbnail)
        self.list_model.counts_changed.connect(self.show_counts)
        self._latest.succeeded.connect(self._on_listed)
        self.rating.rated.connect(self._on_rated)
        self.rating.rating_failed.connect(self._on_unreadable)
        self.rating.progressed.connect(partial(self.status.progress, "rating"))
        self.rating.finished.connect(self._on_finished)
        self.opener.identified.connect(self._on_identified)
        self.opener.stored.connect(self._on_stored)
        self.opener.kept_open.connect(self._on_kept_open)
        self.opener.open_failed.connect(self._on_open_failed)
        self.opener.changed.connect(self._show_actions)
        self.corrections_store.changed.connect(self._on_corrections)
        self.mask_import.started.connect(partial(self.status.begin, "importing", "Importing masks ..."))
        self.mask_import.progressed.connect(partial(self.status.progress, "importing"))
        self.mask_import.imported.connect(self._on_imported)
        self.mask_import.finished.connect(partial(self.status.end, "importing"))
        for source in (self._latest, self.rating, self.corrections_store, self.model, self.mask_import):
            source.failed.connect(self._on_failed)

    def _add_shortcuts(self) -> None:
        slots: dict[str, Callable[[], None]] = {"next": partial(self._step, 1), "previous": partial(self._step, -1)}
        slots |= {"accept": self.opener.accept, "reject": self.opener.reject}
        for name, slot in slots.items():
            add_shortcut(self, f"review.{name}", slot)

    def open(self, paths: Sequence[Path]) -> None:
        """List and rate photographs, and the photographs in folders."""
        self.rating.cancel()
        self.status.begin("opening", "Searching for photographs ...")
        model, method = self.model.model, str(self.method_combo.currentData())
        self._latest.submit("list", lambda: partial(list_photographs, paths, model, method))

    def _refresh(self) -> None:
        folder = self._chosen_paths[0] if len(self._chosen_paths) == 1 and self._chosen_paths[0].is_dir() else None
        self.mask_import.photographs, self.mask_import.corrections_folder = folder, self.corrections_store.folder
        self.mask_import.reviewer = self.settings.reviewer
        is_rating, unrated = not tasks.is_idle(self.rating), len(self.list_model.items.unrated())
        self.show_state(describe_selection(self._chosen_paths), is_rating, unrated)
        self.folder_label.setToolTip("\n".join(str(path) for path in self._chosen_paths[:MAX_TOOLTIP_PATHS]))
        self.show_counts()
        self._show_actions()

    def _show_actions(self) -> None:
        self.show_actions(self.opener.is_shown, self.opener.ready)

    def _on_link(self, link: str) -> None:
        if link == "choose":
            self.choose_folder()
        elif link == "import":
            self.mask_import.choose_masks()
        elif link == "train":
            show_dock(self._viewer, "Train")
        else:
            QDesktopServices.openUrl(QUrl(link))

    def _on_listed(self, listed: PhotographList) -> None:
        count = len(listed.paths)
        rated = ", all rated already" if count == len(listed.ratings) else ""
        self.status.end("opening", f"{format_count(count, 'photograph')}{rated}." if count else None)
        self._fingerprint = listed.fingerprint
        if listed.chosen:
            self._chosen_paths = listed.chosen
            first = listed.chosen[0]
            self.settings.review_folder = first if first.is_dir() else first.parent
            self.list_view.set_item(None)
            items = ReviewItems(listed.paths)
            self._positions = {path: number for number, path in enumerate(listed.paths)}
        else:
            items = self.list_model.items
        for number, rating in listed.ratings.items():
            items.set_rating(number, rating)
        items.set_reviews(self._reviews())
        self.list_model.set_items(items)
        self._refresh()
        self._on_rate()

    def _reviews(self) -> dict[str, str]:
        return {digest: row.get("review", "") for digest, row in self.corrections_store.index.rows.items()}

    def _on_rate(self) -> None:
        items = self.list_model.items
        waiting = [(number, items.paths[number]) for number in items.unrated()]
        if waiting and tasks.is_idle(self.rating):
            self.status.begin("rating", "Rating ...")
            self.rating.start(waiting, self.model.model, self._fingerprint, self.list_model.rating_method)
        self._refresh()

    def _on_model(self) -> None:
        self.rating.cancel()
        self.settings.rating_method = self.list_model.rating_method = str(self.method_combo.currentData())
        if self._chosen_paths:
            self.list_model.items.clear_ratings()
            self.list_view.update_order()
            paths, model, method = self.list_model.items.paths, self.model.model, self.list_model.rating_method
            self._latest.submit("list", lambda: partial(find_ratings, paths, model, method))

    def _on_filter(self, index: int) -> None:
        self.list_model.only_unreviewed = index == 0
        self.list_view.update_order()

    def _on_rated(self, item: int, rating: CachedRating) -> None:
        self.list_model.items.set_rating(item, rating)
        self.list_view.update_item(item)

    def _on_unreadable(self, item: int, reason: str) -> None:
        self.list_model.items.set_unreadable(item, remove_option_hints(reason))
        self.list_view.update_item(item)

    def _on_finished(self, done: int, seconds: float) -> None:
        left = len(self.list_model.items.unrated())
        message = f"{format_count(done, 'photograph')} rated in {format_duration(seconds)}."
        next_step = f"{left:,} are not rated yet." if left else "Click one to check its mask."
        self.status.end("rating", f"{message} {next_step}")
        self._refresh()

    def _open_item(self, item: int) -> None:
        self.list_view.set_item(item)
        self.opener.open(self.list_model.items.paths[item])

    def _step(self, direction: int) -> None:
        row = self.list_model.row(self.list_view.item)
        item = self.list_model.item(max(0, row + direction) if row >= 0 else 0)
        if item is not None and item != self.list_view.item:
            self._open_item(item)

    def _on_thumbnail(self, path: Path) -> None:
        self.list_model.update_item(self._positions.get(path, -1))

    def _on_identified(self, path: Path, image_digest: str) -> None:
        item = self._positions.get(path)
        if item is not None:
            self.list_model.items.set_digest(item, image_digest)
            self.list_model.update_item(item)

    def _on_stored(self, path: Path, stored: StoredCorrection) -> None:
        item = self._positions.get(path)
        if item is None:
            return
        row = self.list_model.row(item)
        self.list_model.items.set_digest(item, stored.image_digest)
        self.corrections_store.set_stored(stored)
        total = stored.index.total
        train = f" {self.icons.link('train', 'Train on them')}." if total else ""
        message = f"{path.name}: {stored.review}. {format_count(total, 'image')} with masks in total.{train}"
        self._report_review(path, stored.review, message)
        if item == self.list_view.item and not self._open_next(row):
            self._report_review(path, stored.review, "All photographs are reviewed.")
            self._show_actions()

    def _open_next(self, row: int) -> bool:
        """Open the next unreviewed photograph, starting again at the top; return whether there is one.

        ``row``: of the photograph that was just reviewed, before it was stored.
        """
        item = self.list_model.next_unreviewed(row if self.list_model.only_unreviewed else row + 1)
        if item is not None:
            self._open_item(item)
        return item is not None

    def _on_corrections(self) -> None:
        self.mask_import.corrections_folder = self.corrections_store.folder
        self.list_model.items.set_reviews(self._reviews())
        self.list_view.update_order()
        self._update_report()

    def _report_review(self, path: Path, review: str, message: str) -> None:
        self.status.show_message(message)
        self._reported = ReportedReview(path, review, self.corrections_store.folder, self.status.text)

    def _update_report(self) -> None:
        """Correct the report if the state has changed since, for example by an undo in the Lesion dock."""
        reported = self._reported
        if reported is None or (reported.message, reported.folder) != (self.status.text, self.corrections_store.folder):
            return
        item = self._positions.get(reported.path)
        if item is not None and (state := self.list_model.state(item)) != reported.review:
            self._report_review(reported.path, state, f"{reported.path.name}: {state}.")

    def _on_imported(self, report: MaskImportReport) -> None:
        corrections_changed().changed.emit(self.corrections_store.folder)
        message = describe_import(report)[0]
        train = f" {self.icons.link('train', 'Train on them')}." if report.added else ""
        self.status.end("importing", message + train)
        show_report(self, report)

    def _on_kept_open(self, name: str) -> None:
        self.status.show_message(f"{name} stays open because its corrections are not stored yet.")

    def _on_open_failed(self, path: Path, error: Exception) -> None:
        item = self._positions.get(path)
        if item is not None:
            self._on_unreadable(item, str(error))
        self.status.show_message(remove_option_hints(str(error)))

    def _on_cancelled(self, task: str) -> None:
        if task == "rating":
            self.rating.cancel()
        elif task == "importing":
            self.mask_import.cancel()

    def _on_failed(self, error: Exception) -> None:
        self.status.end("opening")
        show_failure(self.status, error)
