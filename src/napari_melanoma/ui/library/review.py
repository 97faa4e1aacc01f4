"""The Review dock: review the photographs of a folder, the most uncertain predictions first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.formatting import format_count, format_duration
from napari_melanoma.data.mask_import import MaskImportReport
from napari_melanoma.io.discovery import SUFFIXES
from napari_melanoma.lesion.uncertainty_ratings import Rating
from napari_melanoma.ui.library.diagnosis import DiagnosisPage, ReviewParts
from napari_melanoma.ui.library.dock import LibraryDock, show_button
from napari_melanoma.ui.library.mask_import import (
    IMPORT_RUNNING,
    MaskImporter,
    describe_import,
    import_masks,
    show_report,
)
from napari_melanoma.ui.library.mask_pane import MaskPane
from napari_melanoma.ui.library.model import LibraryModel
from napari_melanoma.ui.library.resolve import (
    REVIEW_FILTERS,
    REVIEW_SORT_KEYS,
    TO_DO,
    Button,
    LibraryImage,
    ReviewRecords,
    count_states,
    describe_selection,
    find_next_to_do,
    resolve_primary,
    resolve_rate_button,
)
from napari_melanoma.ui.library.review_answer import ReviewAnswer
from napari_melanoma.ui.library.review_photographs import (
    ReviewChanges,
    ReviewOpener,
)
from napari_melanoma.ui.library.review_queues import (
    PhotographList,
    RatingQueue,
    identify_photographs,
    list_photographs,
)
from napari_melanoma.ui.library.view import LibraryView
from napari_melanoma.ui.session.corrections_store import CorrectionsStore, StoredCorrection
from napari_melanoma.ui.session.photograph_scale import UNDO_SCALE_LINK
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, format_key
from napari_melanoma.ui.widgets.dialogs import StoreGuard
from napari_melanoma.ui.widgets.dock_layout import (
    MARGIN_PX,
    DockParts,
    FactsLine,
    SummarySection,
    lay_out_dock,
    menu_button,
)
from napari_melanoma.ui.widgets.job import LatestJobQueue, tasks
from napari_melanoma.ui.widgets.model_picker import ModelPicker
from napari_melanoma.ui.widgets.status_line import describe_failure, remove_option_hints
from napari_melanoma.ui.widgets.style import column, form_layout, named, row, tool_button
from napari_melanoma.ui.widgets.thumbnails import ThumbnailLoader, read_photograph_thumbnail
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.viewer import Viewer


PICTURE_PX = 32
FILTER_LETTERS, SORT_LETTERS = 5, 10  # at least
SORT_PX, NAME_PX = 126, 50  # widths of the order and the name filter, at least
MAX_TOOLTIP_PATHS = 10  # paths listed in a tooltip
IDENTIFIED_AT_ONCE = 20  # photographs that are read before their labels are shown
NEXT_KEY, PREVIOUS_KEY, ACCEPT_KEY, REJECT_KEY = (
    format_key(f"review.{name}") for name in ("next", "previous", "accept", "reject")
)
ACCEPT_TIP = f"Store the photograph with its current mask, and go to the next ({ACCEPT_KEY})"
REJECT_TIP = f"Store the photograph as rejected, and go to the next ({REJECT_KEY})"
PRIMARY_TIPS = {
    "accept": ACCEPT_TIP,
    "rate": "Compute the uncertainty of the prediction for each photograph",
    "next": f"Open the first photograph ({NEXT_KEY})",
}
NO_MATCH = "No photograph matches. Clear the name, or choose 'All'."


class ReviewDock(LibraryDock):
    """The Review dock: rate photographs by uncertainty, and accept, reject, correct or label them one by one.

    No other dock is needed: below the list is a page with the tools for the mask, and one for diagnoses.
    """

    name, filters, sort_keys, sort_prefix = "review", REVIEW_FILTERS, REVIEW_SORT_KEYS, ""
    drop, folder_title = "a folder of photographs", "Folder of photographs"
    hint = (
        "<p>Subfolders are included. If you drop photographs, only these are reviewed. "
        "Photographs with the most uncertain predictions are listed first: "
        "correcting these improves the model most.</p><p>You can also {masks}.</p>"
    )
    part_names = ("review_folder", "counts", "review_menu", "filter")

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        self.records = ReviewRecords()
        self._client = client or acquire_worker()
        self.corrections_store = CorrectionsStore(self.settings, self)
        self.close_guard = StoreGuard(self, self.corrections_store)
        self.rating = RatingQueue(self._client, self)
        self._fingerprint = ""  # of the model of the ratings
        self._primary: Literal["accept", "rate", "next"] = "next"  # what the primary button does
        self._identification = LatestJobQueue(self)
        self._identified: set[Path] = set()  # photographs that were read to find their labels
        self.opener = ReviewOpener(napari_viewer, self)
        self.changes = ReviewChanges(self, self.opener, self.corrections_store)
        self._create_widgets()
        store, changes = self.corrections_store, self.changes
        parts = ReviewParts(self.records, self.opener, store, changes, self.rating, self._client, self._open_path)
        self.diagnosis = DiagnosisPage(self, parts)
        self.mask_pane = MaskPane(self, self.opener)
        self._lay_out()
        self.connect_list()
        self.diagnosis.restore()
        self._connect()
        self._show_page()
        self._show_models()
        self._refresh()
        QTimer.singleShot(0, self._client.ensure_started)
        QTimer.singleShot(0, self.corrections_store.refresh)
        if client is None:
            self.destroyed.connect(release_worker)

    def _create_widgets(self) -> None:
        self.model = ModelPicker(self.icons)
        self.thumbnails = ThumbnailLoader(2 * PICTURE_PX, self, read_photograph_thumbnail)
        self.list_model = LibraryModel(self.thumbnails, self, records=self.records)
        self.list_view = LibraryView(
            self.list_model, self.icons, "review_list", opening="selection", picture_px=PICTURE_PX
        )
        self.sort_button = tool_button("sort_again", "Sort again", "", "↻")
        self.filter_combo.setMinimumContentsLength(FILTER_LETTERS)
        self.sort_combo.setMinimumContentsLength(SORT_LETTERS)
        self.sort_combo.setMinimumWidth(SORT_PX)
        self.name_field.setMinimumWidth(NAME_PX)
        self.primary_button = named(QPushButton("Next"), "primary", "Next")
        self.previous_button = tool_button("previous", "Previous", f"Previous photograph ({PREVIOUS_KEY})")
        self.next_button = tool_button("next", "Next", f"Next photograph ({NEXT_KEY})")
        self.reject_button = named(QPushButton("Reject"), "reject_photograph", "Reject")
        self.icons.add(self.previous_button, "up_arrow")
        self.icons.add(self.next_button, "down_arrow")
        self.answer = ReviewAnswer(
            self.opener, self.workspace.live_predictions, lambda: str(self.diagnosis.model.model)
        )
        self.count_label = FactsLine("counts", "Number of images")
        self.mask_button = tool_button("mode_mask", "Mask", "Correct masks", "Mask", checkable=True)
        self.mask_button.setChecked(True)
        self.model.select_stored(self.settings.options.model)
        actions = {action.objectName(): action for action in self.folder_button.menu().actions()}
        self.rate_action = actions["rate"]
        self.mask_import = MaskImporter(self, [actions[name] for name in ("import_folder", "import_file")])

    def create_folder_button(self, name: str) -> QToolButton:
        """Create the menu of what is needed rarely, such as to choose another folder."""
        entries = {
            "choose_folder": ("Folder...", self.choose_folder),
            "import_folder": ("Import masks from a folder...", lambda: self.mask_import.choose_masks("folder")),
            "import_file": ("Import masks from a file...", lambda: self.mask_import.choose_masks("file")),
            "separator": None,
            "rate": ("Rate", lambda: self._on_rate()),
            "open_lesion_dock": ("Open the Lesion dock", self.workspace.photographs.show),
        }
        return menu_button(name, "More", "Folder, import of masks, ratings, Lesion dock", entries)

    def _lay_out(self) -> None:
        """Arrange the widgets: whatever comes and goes takes room from the list alone.

        The buttons of the pages are below them, so that they stay in place although the pages are not equally high.
        """
        rows, form = QWidget(), self.diagnosis
        fields = form_layout(rows)
        fields.addRow("Segmentation", self.model)
        fields.addRow("Classifier", form.model)
        fields.addRow("Reader", row(form.reader_button))
        self.models = SummarySection("Models and reader", "review_models", self.settings, rows)
        self.icons.add_sections(self.models)
        subject = row(self.title, self.count_label, self.folder_button, stretch=1)
        subject.layout().setStretch(0, 1)
        subject.layout().setStretch(1, 2)
        query = row(self.filter_combo, self.sort_combo, self.sort_button, self.name_field, stretch=3)
        act = row(self.primary_button, self.reject_button, self.previous_button, self.next_button, stretch=0)
        self._modes = QButtonGroup(self)
        for button in (self.mask_button, form.mode_button):
            self._modes.addButton(button)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        modes = row(self.mask_button, form.mode_button, stretch=0)
        modes.layout().setStretch(1, 1)
        bench = column(column(self.mask_pane.notices, self.mask_pane, form, spacing=0), modes)
        self._middle = QStackedWidget()
        self._middle.addWidget(self.list_view)
        self._middle.addWidget(form.details)
        sections = QWidget()
        listed = QVBoxLayout(sections)
        listed.setContentsMargins(MARGIN_PX, 0, MARGIN_PX, 0)
        listed.addWidget(self.welcome)
        listed.addWidget(self.empty_label)
        listed.addWidget(self._middle, 1)
        listed.addStretch(0)
        self._work_parts = (subject, self.models, query, act, self.answer, self._middle, bench)
        subjects, footer = (subject, self.models, query), (bench, self.status)
        lay_out_dock(self, DockParts(sections, subjects, (act,), (self.answer,), footer=footer))

    def _show_page(self) -> None:
        self.mask_pane.setVisible(not self.diagnosis.is_active)
        self.diagnosis.setVisible(self.diagnosis.is_active)

    def _show_details(self, is_requested: bool) -> None:
        self._middle.setCurrentWidget(self.diagnosis.details if is_requested else self.list_view)

    def _show_models(self) -> None:
        reader = self.settings.reviewer
        facts = (self.model.model, self.diagnosis.model.model, reader or "no reader")
        self.models.set_summary(facts)

    def _connect(self) -> None:
        self.primary_button.clicked.connect(self._on_primary)
        self.diagnosis.mode_button.toggled.connect(self._show_page)
        self.diagnosis.details_requested.connect(self._show_details)
        self.mask_pane.message.connect(self.status.show_message)
        self.mask_pane.failed.connect(self.status.show_error)
        for signal in (self.model.changed, self.diagnosis.model.changed, user_data().reader_changed):
            signal.connect(self._show_models)
        self.model.changed.connect(self._on_model)
        self.list_view.open_requested.connect(lambda images: self._open_image(images[0]))
        slots: dict[str, Callable[[], None]] = {"next": partial(self._step, 1), "previous": partial(self._step, -1)}
        slots |= {name: partial(self._review, getattr(self.opener, name)) for name in ("accept", "reject")}
        buttons = {"next": self.next_button, "previous": self.previous_button, "reject": self.reject_button}
        for name, slot in slots.items():
            add_shortcut(self, f"review.{name}", slot)
            if name in buttons:
                buttons[name].clicked.connect(slot)
        self._primary_slots = {"accept": slots["accept"], "next": slots["next"], "rate": self._on_rate}
        self.list_view.order_updated.connect(self._on_order)
        self.sort_button.clicked.connect(self._sort_again)
        self.sort_combo.activated.connect(self._sort_again)
        self.opener.switched.connect(self._on_switched)
        self.rating.rated.connect(self._on_rated)
        self.rating.rating_failed.connect(self._on_unreadable)
        self.rating.progressed.connect(partial(self.status.progress, "rating"))
        self.rating.finished.connect(self._on_finished)
        self.rating.model_replaced.connect(self._on_model)
        self.opener.identified.connect(self._on_identified)
        self.opener.stored.connect(self._on_stored)
        self.opener.kept_open.connect(self._on_kept_open)
        self.opener.open_failed.connect(self._on_open_failed)
        self.opener.changed.connect(self._show_actions)
        self.corrections_store.changed.connect(self._on_corrections)
        user_data().reader_changed.connect(self._on_corrections)
        self._identification.succeeded.connect(self._on_digests)
        self._identification.failed.connect(self._on_failed)
        self._identification.idle.connect(partial(self.status.end, "loading"))
        self.mask_import.chosen.connect(self._import_masks)
        self.diagnosis.updated.connect(self.list_view.update_states)
        for source in (self.rating, self.corrections_store, self.model):
            source.failed.connect(self._on_failed)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that contains the dock."""
        super().showEvent(event)
        self.close_guard.watch()

    def open(self, paths: Sequence[Path]) -> None:
        """List and rate photographs, and the photographs in folders."""
        self.rating.cancel()
        work = partial(list_photographs, paths, self.model.model)
        self.start("opening", "Searching for photographs ...", work, partial(self._on_listed, paths))

    def _refresh(self) -> None:
        """Show the start page, or the review with its button to rate photographs."""
        is_folder = len(self.chosen) == 1 and self.chosen[0].is_dir()
        self.mask_import.photographs = self.chosen[0] if is_folder else None
        self.welcome.setVisible(not self.chosen)
        for part in self._work_parts:
            part.setVisible(bool(self.chosen))
        self.title.setText(describe_selection(self.chosen, "photograph"))
        self.title.setToolTip("\n".join(str(path) for path in self.chosen[:MAX_TOOLTIP_PATHS]))
        self._show_counts()
        self._show_actions()

    def _show_counts(self) -> None:
        """Show the number of photographs in each state, and why none is listed."""
        counts = count_states(self.records.counts, TO_DO)
        self.count_label.setText(counts)
        self.count_label.setToolTip(counts)
        is_empty = bool(self.chosen) and self.list_model.rowCount() == 0
        self.empty_label.setText(NO_MATCH)
        self.empty_label.setVisible(is_empty and bool(self.name_field.text()))

    def _show_actions(self) -> None:
        """Enable the buttons for the photograph in view."""
        unrated = len(self.records.list_unrated(self.list_model.images))
        is_rating, is_empty = not tasks.is_idle(self.rating), self.list_model.rowCount() == 0
        blocker = None
        if self.opener.path is not None:
            blocker = "" if self.opener.ready else "The photograph has no mask yet"
        self._primary, reason = resolve_primary(blocker, unrated, is_rating=is_rating, is_empty=is_empty)
        rate = resolve_rate_button(unrated, is_rating)
        text = rate.text if self._primary == "rate" else self._primary.capitalize()
        show_button(self.primary_button, Button(PRIMARY_TIPS[self._primary], reason, text))
        self.primary_button.setAccessibleName(text)
        self.rate_action.setText(rate.text)
        self.rate_action.setToolTip(rate.reason or rate.tip)
        self.rate_action.setEnabled(not rate.reason)
        not_shown = "" if self.opener.is_shown else "Select a photograph in the list"
        show_button(self.reject_button, Button(REJECT_TIP, not_shown))
        for button in (self.previous_button, self.next_button):
            button.setEnabled(not is_empty)

    def _on_primary(self) -> None:
        self._primary_slots[self._primary]()

    def _on_viewer(self, event: object = None) -> None:
        """Mark the image in view; the layer of the mask, which can then be accepted, is added after the analysis."""
        super()._on_viewer(event)
        self._show_actions()

    def _on_dropped(self, paths: list[Path]) -> None:
        """Review dropped photographs, and the photographs in dropped folders."""
        usable = [path for path in paths if path.is_dir() or path.suffix.lower() in SUFFIXES]
        if usable:
            self.open(usable)
        else:
            self.status.show_message(
                f"{paths[0].name} is not a photograph. Drop a folder of photographs, or photographs."
            )

    def _on_link(self, link: str) -> None:
        if link == "import" and self.mask_import.is_running:
            self.status.show_briefly(IMPORT_RUNNING)
        elif link == "import":
            self.mask_import.choose_masks()
        elif link == "undo_label":
            self.changes.undo()
        elif link == "informative":
            self.diagnosis.sort_informative()
        elif link == UNDO_SCALE_LINK and self.opener.connected_dock is not None:
            self.opener.connected_dock.status.link_activated.emit(link)
        elif link == "train":
            self.workspace.training.show()
        else:
            super()._on_link(link)

    def _on_listed(self, chosen: Sequence[Path], listed: PhotographList) -> None:
        """Show photographs with their ratings, and rate the others."""
        if listed.model != self.model.model:  # it was changed during the search
            self.open(chosen)
            return
        if chosen != self.chosen:
            self.remember_folder(chosen)
            self.settings.review_folder = chosen[0] if chosen[0].is_dir() else chosen[0].parent
            self.chosen = chosen
            self.clear_name()
            self.list_view.select_path(None)
            self.opener.reset()
            self.changes.end_notice()
        all_rated = ", all rated already" if len(listed.images) == len(listed.ratings) else ""
        self.status.show_message(f"{format_count(len(listed.images), 'photograph')}{all_rated}.")
        self.list_model.images = listed.images
        if self.list_view.path is None:
            self.list_model.keeps_order = False
        self.records.set_images(listed.images)
        self._fingerprint = listed.fingerprint
        for path, rating in listed.ratings.items():
            self.records.set_rating(path, rating)
        self.records.set_rows(self.corrections_store.index.rows, self.settings.reviewer)
        self.list_view.update_order()
        self.diagnosis.set_images(listed.images)
        self._identification.cancel()
        self._identified.clear()
        self._identify()
        self._on_rate()

    def _identify(self) -> None:
        """Read the photographs that are probably in the corrections and not rated yet, so that their labels are shown.

        Those of other names are identified when they are rated.
        """
        paths = [path for path in self.records.list_unidentified() if path not in self._identified]
        self._identified.update(paths)
        for start in range(0, len(paths), IDENTIFIED_AT_ONCE):
            self._identify_some(paths[start : start + IDENTIFIED_AT_ONCE])

    def _identify_some(self, paths: Sequence[Path]) -> None:
        self.status.begin("loading", "Reading photographs with labels ...")
        self._identification.submit(str(paths[0]), lambda: partial(identify_photographs, paths))

    def _on_digests(self, digests: Mapping[Path, str]) -> None:
        for path, digest in digests.items():
            self._on_identified(path, digest)
        self.list_view.update_states()
        self.diagnosis.refresh()

    def _on_rate(self) -> None:
        unrated = self.records.list_unrated(self.list_model.images)
        if unrated and tasks.is_idle(self.rating):
            self.status.begin("rating", "Rating ...")
            self.rating.start(unrated, self.model.model, self._fingerprint)
        self._refresh()

    def _on_model(self) -> None:
        if self.chosen:
            self.open(self.chosen)

    def _on_rated(self, path: Path, rating: Rating) -> None:
        self.records.set_rating(path, rating)
        self._update_image(path)

    def _on_unreadable(self, path: Path, reason: str) -> None:
        self.records.set_error(path, remove_option_hints(reason))
        self._update_image(path)

    def _update_image(self, path: Path) -> None:
        self.list_model.update_row(path)
        self.list_view.schedule_order()

    def _on_finished(self, done: int, seconds: float) -> None:
        left = len(self.records.list_unrated(self.list_model.images))
        message = f"{format_count(done, 'photograph')} rated in {format_duration(seconds)}."
        next_step = f"{left:,} are not rated yet." if left else "Click one to check its mask."
        self.status.end("rating", f"{message} {next_step}")
        self._refresh()

    def _sort_again(self) -> None:
        """Sort by the current states; from then on, the photographs keep their order while one is under review."""
        self.list_model.keeps_order = False
        self.list_view.update_order()
        self.list_model.keeps_order = self.list_view.path is not None
        self._on_order()

    def _on_order(self) -> None:
        is_outdated = self.list_model.is_outdated
        reason = "" if is_outdated else "The photographs are in this order"
        show_button(self.sort_button, Button("Sort again: predictions or labels have changed since", reason))
        self._show_counts()

    def _on_switched(self, path: Path) -> None:
        image = next((image for image in self.list_model.images if image.path == path), None)
        if image is not None:
            self._open_image(image)

    def _open_image(self, image: LibraryImage) -> None:
        self._open_path(image.path)

    def _open_path(self, path: Path, *, in_series: bool = False) -> None:
        """Open a photograph; from then on, the photographs keep their order until the user sorts again."""
        self.list_view.select_path(path)
        if not self.list_model.keeps_order:
            self.list_model.keeps_order = True
        self.opener.open(path, in_series=in_series)

    def _step(self, direction: int) -> None:
        row = self.list_model.find_index(self.list_view.path).row()
        image = self.list_model.image(self.list_model.index(max(0, row + direction) if row >= 0 else 0))
        if image is not None and image.path != self.list_view.path:
            self._open_image(image)

    def _review(self, action: Callable[[], None]) -> None:
        if self.changes.admits(partial(self._review, action)):
            action()

    def _on_identified(self, path: Path, image_digest: str) -> None:
        self.records.set_digest(path, image_digest)
        self.list_model.update_row(path)

    def _on_stored(self, path: Path, stored: StoredCorrection) -> None:
        if path not in {image.path for image in self.list_model.images}:
            return
        row = self.list_model.find_index(path).row()
        self.records.set_digest(path, stored.image_digest)
        self.changes.add(stored.row)
        self.corrections_store.set_stored(stored)
        total = stored.index.total
        train = f" {self.icons.link('train', 'Train on them')}." if total else ""
        name, count = self.list_model.find_name(path), format_count(total, "image")
        message = f"{name}: {stored.review}. {count} with masks in total.{train}"
        self.changes.show_stored(message)
        if path == self.list_view.path and not self._open_next(row):
            which = "All listed photographs" if self.records.counts[TO_DO] else "All photographs"
            self.status.show_message(f"{which} are reviewed.")
            self._show_actions()

    def _open_next(self, row: int) -> bool:
        """Open the next unreviewed photograph, starting again at the top; return whether there is one.

        ``row``: of the photograph that was just reviewed.
        """
        image = find_next_to_do(self.list_model.rows, row + 1, self.records.find_state)
        if image is not None:
            self._open_image(image)
        return image is not None

    def _on_corrections(self, _: object = None) -> None:
        """Show the states and diagnoses of the corrections, for the reader."""
        self.records.set_rows(self.corrections_store.index.rows, self.settings.reviewer)
        self.list_view.update_states()
        self.list_model.update_texts()
        self._identify()

    def _import_masks(self, masks: Path, photographs: Path, patients: Path | None) -> None:
        into = (self.corrections_store.folder, self.settings.reviewer)
        work = partial(import_masks, masks, photographs, patients, *into)
        self.mask_import.follow(self.start("importing", "Importing masks ...", work, self._on_imported))

    def _on_imported(self, report: MaskImportReport) -> None:
        user_data().corrections_changed.emit(self.corrections_store.folder)
        message = describe_import(report)[0]
        train = f" {self.icons.link('train', 'Train on them')}." if report.added else ""
        self.status.show_message(message + train)
        show_report(self, report)

    def _on_kept_open(self, name: str) -> None:
        self.status.show_message(f"{name} stays open because its corrections are not stored yet.")

    def _on_open_failed(self, path: Path, error: Exception) -> None:
        self._on_unreadable(path, str(error))
        self.status.show_error(describe_failure(error))

    def _on_cancelled(self, task: str) -> None:
        if task == "rating":
            self.rating.cancel()
        elif task == "embedding":
            self.diagnosis.cancel_embedding()
        elif task == "adapting":
            self.diagnosis.cancel_use()
            super()._on_cancelled(task)
        else:
            super()._on_cancelled(task)
