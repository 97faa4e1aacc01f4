"""The page Diagnosis of the Review dock: label photographs by keys while a classifier is adapted to the labels."""

from __future__ import annotations

import math
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QInputDialog, QPushButton, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.models import DEFAULT_CLASSIFIER
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.ui.library.diagnosis_list import TITLE, BasePicker, DiagnosisChips
from napari_melanoma.ui.library.dock import LibraryDock
from napari_melanoma.ui.library.resolve import (
    INFORMATIVE,
    UNCERTAINTY,
    LibraryImage,
    ReviewRecords,
    describe_live,
    describe_outcome,
)
from napari_melanoma.ui.library.review_photographs import ReviewChanges, ReviewOpener
from napari_melanoma.ui.library.review_queues import EmbeddingQueue, RatingQueue
from napari_melanoma.ui.session.corrections_store import CorrectionsIndex, CorrectionsStore, StoredLabel
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer.photographs import is_photograph
from napari_melanoma.ui.viewer.shortcuts import add_number_shortcuts, add_shortcut, format_key
from napari_melanoma.ui.viewer.view_memory import get_current_picture
from napari_melanoma.ui.widgets.charts import CurvePoint, SmallCurve
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.model_picker import store_used_model
from napari_melanoma.ui.widgets.report_writer import run_command
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import at_end
from napari_melanoma.ui.widgets.style import (
    column,
    fill_column,
    named,
    row,
    scroll_area,
    show_text,
    state_label,
    tool_button,
)
from napari_melanoma.ui.worker_client import WorkerClient

if TYPE_CHECKING:
    from napari_melanoma.core.headline import Headline
    from napari_melanoma.data.corrections import CorrectionChange
    from napari_melanoma.runs.labeling import AdaptationChoice, LabelFit, Labeling, LabelingState, LearningCurve
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

NO_MASK, MASK_NOT_STORED = ", without a mask", "; mask not stored"  # the latter if it is in view
NO_READER = "Enter your name or initials: {diagnosis} of {name} is then stored."
NOT_SIGNED = "No reader was entered. The diagnosis of {name} was not stored: press the key again."
READER_TEXT = "Name or initials stored with your diagnoses:"
NOT_SHOWN = "Select a photograph in the list to label it."
REJECTED = "{name} is marked as not valid (rejected). The diagnosis was not stored: accept its mask first, or undo."
DISAGREE = "The readers disagree: it is left out of the fit until they agree, or a diagnosis is entered."
NOT_VALID = "Its prediction is marked as not valid; a photograph that shows no skin is left out of the fit."
USE = "Use my model"
NO_DETAIL = "The learning curve and intervals appear here once labels are fitted."
STARTING = "Press the number of the diagnosis of the photograph in view. Predictions appear once features are computed."
FOLDERS = "review/labeled_folders"  # whose diagnoses were labeled
MAX_FOLDERS, SUMMARY_LINES = 50, 3
PAUSE_MS = 3000  # without a new label, after which what the button would do is computed, which takes as long


class ReviewParts(NamedTuple):
    """The parts of the Review dock that the page uses."""

    records: ReviewRecords
    opener: ReviewOpener
    store: CorrectionsStore
    changes: ReviewChanges
    rating: RatingQueue
    client: WorkerClient
    open_path: Callable[..., None]  # Path, ``in_series``


class KeyedLabel(NamedTuple):
    """A diagnosis as it was given for the photograph in view, before it is stored.

    ``patient``: as in ``ReviewDecision``. ``is_valid``: whether its prediction is valid. ``no_mask``: what the message
    states about its mask.
    """

    path: Path
    source: LayerPhotographSource
    patient: str
    diagnosis: str
    drawn: str
    is_valid: bool
    no_mask: str


class SelectionOutcome(NamedTuple):
    """What a selection of a model has reported, the name of the installed model, and what it was selected for.

    ``name``: None if none was installed. ``labels``: the classifier, the corrections folder and its rows of the
    listed photographs when the selection began.
    """

    summary: Mapping[str, Any]
    name: str | None
    labels: object


class DiagnosisPage(QWidget):
    """Stores diagnoses of the photograph in view, and shows what the classifier learns from them.

    ``mode_button``: shows the page, which is active then. ``details``: the learning curve and intervals, which take the
    place of the list on request. ``_skipped``: photographs that were shown and not labeled; they come last.
    """

    updated = Signal()  # a new order, or new labels
    details_requested = Signal(bool)

    def __init__(self, dock: LibraryDock, parts: ReviewParts) -> None:
        super().__init__()
        named(self, "diagnosis_page", TITLE).setToolTip("")
        self._dock, self._parts, self._settings = dock, parts, dock.settings
        self._live_predictions = dock.workspace.live_predictions
        at_end(self, partial(self._live_predictions.set, {}))
        self.state: LabelingState | None = None
        self.curve: LearningCurve | None = None
        self._choice: AdaptationChoice | None = None  # what *Use my model* would choose
        self._images: Sequence[LibraryImage] = ()
        self._labelings: dict[tuple[str, Path], Labeling] = {}  # used in the threads of the queue
        self._fitted: object = None  # what the state was computed from
        self._fitted_labels: object = None  # among that, what a model is selected for
        self._state_labels: object = None  # those of the state
        self._curve_labels: object = None  # those of the learning curve
        self._unsigned: KeyedLabel | None = None  # until the reader has entered a name
        self._skipped: set[Path] = set()
        self._undone: Path | None = None  # to which the list is scrolled once its new position is known
        self._given: set[Path] = set()  # labeled, but not in the order yet
        self._shown: Path | None = None
        self._following: tuple[Path, list[Path], Path] | None = None  # in view, listed then, and chosen to follow it
        self._detail = ""  # intervals, on request
        self.embeddings = EmbeddingQueue(parts.client, parts.rating, dock.status, self)
        self._outcome: SelectionOutcome | None = None  # of the last selection
        self._processes: list[subprocess.Popen[str]] = []  # of the selection
        self._queue = LatestJobQueue(self)
        self._timer = DebounceTimer(self)
        self._choice_timer = DebounceTimer(self, PAUSE_MS)
        self._choice_timer.setObjectName("choice_pause")
        self._next_timer = DebounceTimer(self, PAUSE_MS)
        self._create_widgets()
        self._connect()
        self.class_list.show_model(self.model.model)
        self._show_reader()
        self._show_texts()

    def restore(self) -> None:
        """Show the page if it was shown last; call it once it is in its layout."""
        if self._settings.is_section_open("diagnosis", default=False):
            self.mode_button.click()

    @property
    def is_active(self) -> bool:
        """Whether diagnoses are labeled: the page is shown."""
        return bool(self.mode_button.isChecked())

    # The widgets.

    def _create_widgets(self) -> None:
        icons = self._dock.icons
        tip = "Label diagnoses with the number keys, while a classifier is adapted to them"
        self.mode_button = tool_button("mode_diagnosis", TITLE, tip, TITLE, checkable=True)
        self.model = BasePicker(icons)
        self.model.select_stored(self._settings.get("review/classifier", DEFAULT_CLASSIFIER))
        self.class_list = DiagnosisChips(self._settings, icons)
        self.reader_button = tool_button("label_reader", "Reader", "Name that is stored with your diagnoses", "Reader")
        undo_tip = f"Undo the last diagnosis ({format_key('review.undo')} in this dock)"
        self.undo_button = tool_button("undo_label", "Undo the last diagnosis", undo_tip, "Undo")
        self.summary = state_label("label_answer", "What was learned from the labels", lines=SUMMARY_LINES)
        self.use_button = named(QPushButton(USE), "use_adapted", USE)
        self.chart = SmallCurve(icons, "label_curve", "Probability of the true diagnosis", "labels")
        self._details_label = state_label("label_details", "Intervals", quiet=True)
        self.details = scroll_area(details := column(self.chart, self._details_label), "label_details_area")
        details.layout().addStretch(1)
        self._notice_label = state_label("label_notice", "Why the labels are not fitted", quiet=True)
        tip = "Show the learning curve and intervals in place of the list"
        self._more = tool_button("more_labels", "More: the learning curve, and intervals", tip, "More", checkable=True)
        acts = row(self.use_button, self.undo_button, self._more, stretch=0)
        # What comes and goes is first, as the lower end of the page stays in place
        fill_column(self, self._notice_label, self.summary, self.class_list, acts)

    def _connect(self) -> None:
        dock, parts = self._dock, self._parts
        self.class_list.chosen.connect(self.label)
        self.reader_button.clicked.connect(self._edit_reader)
        user_data().reader_changed.connect(self._on_reader)
        self.undo_button.clicked.connect(parts.changes.undo)
        self.use_button.clicked.connect(self.use)
        self.model.changed.connect(self._on_model)
        add_number_shortcuts(dock, "review.classes", self._on_key)
        self._class_keys = add_number_shortcuts(dock, "review.class_keys", self._on_key)
        dock.placement.front_changed.connect(self._update_keys)
        parts.opener.changed.connect(self._update_keys)
        dock.connections.connect(dock.viewer.layers.selection.events.active, self._update_keys)
        add_shortcut(dock, "review.undo", parts.changes.undo)
        self.mode_button.toggled.connect(self._on_active)
        self._more.toggled.connect(self._show_details)
        self._timer.timeout.connect(self.refresh)
        self._choice_timer.timeout.connect(self._start_choice)
        self._next_timer.timeout.connect(self._choose_next)
        self.use_button.installEventFilter(self)
        self._queue.succeeded.connect(self._on_job)
        self._queue.failed.connect(self._on_failed)
        parts.store.changed.connect(self.refresh)
        parts.store.undone.connect(self._on_undone)
        parts.opener.shown.connect(self._on_shown)
        parts.opener.classifier_changed.connect(self._show_texts)
        for signal in (
            parts.opener.identified,
            parts.opener.open_failed,
            parts.rating.rated,
            parts.rating.rating_failed,
        ):
            signal.connect(lambda *_: self._timer.start())
        parts.rating.finished.connect(lambda *_: self.refresh())
        self.embeddings.advanced.connect(self.refresh)
        self.embeddings.failed.connect(
            lambda error: dock.status.end("embedding", f"Diagnoses are stored, but not fitted: {error}")
        )
        parts.store.failed.connect(self._on_not_stored)
        self.model.failed.connect(lambda error: dock.status.show_message(str(error)))
        dock.destroyed.connect(self._queue.cancel)

    def _show_reader(self) -> None:
        self.reader_button.setText(self._settings.reviewer or "not set")

    def _on_reader(self, _: str) -> None:
        """Store the diagnosis that waits for the name of its reader."""
        self._show_reader()
        self._given.clear()  # by the previous reader
        unsigned, self._unsigned = self._unsigned, None
        if unsigned is not None and self._settings.reviewer:
            self._store(unsigned)
        elif unsigned is not None:
            self._report_unsigned(unsigned)
        self.refresh()

    def _edit_reader(self, *, text: str = READER_TEXT) -> None:
        dialog = named(QInputDialog(self.window()), "label_reader_dialog", "Reader")
        dialog.setWindowTitle(TITLE)
        dialog.setLabelText(text)
        dialog.setTextValue(self._settings.reviewer)
        dialog.textValueSelected.connect(self.set_reader)
        dialog.rejected.connect(self._on_reader_declined)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_reader_declined(self) -> None:
        unsigned, self._unsigned = self._unsigned, None
        if unsigned is not None:
            self._report_unsigned(unsigned)

    def _report_unsigned(self, label: KeyedLabel) -> None:
        self._dock.status.show_until(NOT_SIGNED.format(name=self._find_name(label.path)), self._parts.opener.shown)

    def set_reader(self, name: str) -> None:
        """Label as another reader, whose diagnoses are kept apart."""
        from napari_melanoma.depth.readings import MODEL_READER, RESERVED_READER_NAME

        if name.strip().lower() == MODEL_READER:
            self._edit_reader(text=f"{RESERVED_READER_NAME}\n{READER_TEXT}")
        else:
            self._settings.reviewer = name  # shown by the signal of all docks

    # The labels.

    def _on_key(self, number: int) -> None:
        if self.is_active:
            self.label(number)

    def _update_keys(self, event: object = None) -> None:
        """Let the digits label in the whole window while photographs are labeled.

        Wherever the focus is, they would otherwise select tools of napari, such as the eraser of the mask.
        """
        picture = get_current_picture(self._dock.viewer)
        is_slide = picture is not None and not is_photograph(picture[0])  # where digits magnify
        is_labeling = self.is_active and self._dock.placement.in_front and not is_slide
        contexts = Qt.ShortcutContext.WidgetWithChildrenShortcut, Qt.ShortcutContext.WindowShortcut
        for shortcut in self._class_keys:
            shortcut.setContext(contexts[is_labeling])

    def label(self, number: int) -> None:
        """Store the diagnosis with a number for the photograph in view, and open the next one."""
        opener, changes, classes = self._parts.opener, self._parts.changes, self.class_list.classes
        if number > len(classes) or not changes.admits(partial(self.label, number), number):
            return
        session = opener.session
        listed = {image.path for image in self._images}
        if session is None or session.path is None or session.path not in listed or not opener.is_shown:
            self._dock.status.show_until(NOT_SHOWN, opener.shown)
            return
        path = session.path
        stored = self._parts.store.index.rows.get(self._parts.records.find_digest(path), {})
        if stored.get("review") == "rejected":
            self._dock.status.show_until(REJECTED.format(name=self._find_name(path)), opener.shown)
            return
        label = self._make_label(session, path, classes[number - 1])
        changes.record_number(number)
        if self._settings.reviewer:
            self._store(label)
        else:
            self._unsigned = label
            self._dock.status.show_until(
                NO_READER.format(name=self._find_name(path), diagnosis=label.diagnosis), user_data().reader_changed
            )
            self._edit_reader()

    def _make_label(self, session: PhotographSession, path: Path, diagnosis: str) -> KeyedLabel:
        from napari_melanoma.data.diagnosis_labels import DRAWN

        drawn = DRAWN if path == self._find_drawn() else ""
        prediction = None if session.prediction is None else session.prediction.prediction
        is_valid = prediction is None or prediction.validity.valid
        no_mask = NO_MASK if session.masked_lesion is None else MASK_NOT_STORED
        patient = session.workspace.find_patient_id(path)
        return KeyedLabel(path, session.source, patient, diagnosis, drawn, is_valid, no_mask)

    def _find_name(self, path: Path) -> str:
        return self._dock.list_model.find_name(path)

    def _store(self, keyed: KeyedLabel) -> None:
        """Store a diagnosis by the reader, and open the next photograph."""
        from napari_melanoma.data.diagnosis_labels import DiagnosisLabel

        label = DiagnosisLabel(keyed.diagnosis, self._settings.reviewer, drawn=keyed.drawn)
        on_labeled = partial(self._on_labeled, keyed, label.reader)
        self._parts.store.label(keyed.source, keyed.path, label, on_labeled, keyed.patient)
        self._given.add(keyed.path)
        session = self._parts.opener.session
        if session is not None and session.path == keyed.path:  # otherwise, the user has opened another one
            self._shown = None  # it is not skipped
            self._open_next(keyed.path)

    def _find_drawn(self) -> Path | None:
        """Return the next photograph in the random order; None if it is not known."""
        state = self.state
        drawn = () if state is None else (path for path in state.order if path in state.drawn - self._given)
        return next(iter(drawn), None)

    def _open_next(self, path: Path) -> None:
        """Open the photograph to label after the one that was just labeled.

        The order is that of the previous fit, so that the next photograph is known in advance.
        """
        following = self._find_following(path)
        if following is not None:
            self._parts.open_path(following, in_series=True)
            self._prefetch_after(following)

    def _find_following(self, path: Path) -> Path | None:
        """Return the photograph to label after the one in view; it is not changed after it was read in advance.

        Until the user pauses: only then would reading another one, by the order of a new fit, delay no label.
        """
        listed = [image.path for image in self._dock.list_model.rows]
        if self._following is not None and self._following[:2] == (path, listed):
            chosen = self._following[2]
            if chosen not in self._given and (self.state is None or chosen in self.state.order):
                return chosen
        found = self.find_next(path)
        self._following = None if found is None else (path, listed, found)
        return found

    def find_next(self, path: Path) -> Path | None:
        """Return the photograph to label after another one; None if all are labeled."""
        listed = [image.path for image in self._dock.list_model.rows]
        rank = listed.index(path) + 1 if path in listed else 0
        is_informative = self._dock.list_model.query.sort == INFORMATIVE
        order = listed if self.state is None else self.state.order
        waiting = set(order) - self._given - {path}
        ordered = order if is_informative else [*listed[rank:], *listed[:rank]]
        return next((one for one in ordered if one in waiting), None)

    def _on_labeled(self, keyed: KeyedLabel, reader: str, stored: StoredLabel) -> None:
        from napari_melanoma.data.diagnosis_labels import read_diagnoses

        records, label = self._parts.records, read_diagnoses(stored.row)
        records.set_digest(keyed.path, stored.row["image_sha256"])
        self._parts.changes.add(stored.row)
        own = next(one.diagnosis for one in label if one.reader == reader)
        no_mask = "" if stored.row.get("mask_path") else keyed.no_mask
        parts = [f"{self._find_name(keyed.path)}: {own} stored by {reader}{no_mask}."]
        if not stored.row.get("diagnosis"):
            others = ", ".join(f"{one.reader or 'before'}: {one.diagnosis}" for one in label if one.reader != reader)
            parts += [f"{others}.", DISAGREE]
        if not keyed.is_valid:
            parts.append(NOT_VALID)
        self._parts.changes.show_stored(f"{' '.join(parts)} {self._dock.icons.link('undo_label', 'Undo')}")
        self._parts.store.set_index(stored.index)
        user_data().corrections_changed.emit(stored.index.folder)

    def _on_not_stored(self, error: Exception) -> None:
        """Offer the photographs whose diagnoses could not be stored again."""
        self._given.clear()

    def _on_undone(self, change: CorrectionChange | None, index: CorrectionsIndex) -> None:
        """Open the photograph whose last change was undone, so that another diagnosis can be given."""
        if change is None:
            self._dock.status.show_briefly("Nothing to undo.")
            return
        digest = change.row.get("image_sha256", "")
        found = (one.path for one in self._images if digest and self._parts.records.find_digest(one.path) == digest)
        path = next(found, None)
        diagnosis = index.rows.get(digest, {}).get("diagnosis", "")
        text = f"{change.image_id if path is None else self._find_name(path)}: the last change was undone."
        self._dock.status.show_message(f"{text} Its diagnosis is {diagnosis}." if diagnosis else text)
        if self.is_active and path is not None:
            self._given.discard(path)
            self._shown, self._undone = None, path
            self._parts.open_path(path)

    def _on_shown(self, path: Path) -> None:
        previous, self._shown = self._shown, path
        if previous is not None and previous != path and self.state is not None and previous in self.state.order:
            self._skipped.add(previous)
        self._skipped.discard(path)
        self._mark_own_class()
        self._prefetch_after(path)

    def _choose_next(self) -> None:
        """Choose the next photograph again, by the order of the last fit."""
        self._following = None
        self._prefetch_after(self._shown)

    def _prefetch_after(self, path: Path | None) -> None:
        """Read the photograph in advance that will be opened when this one is labeled."""
        following = None if path is None or not self.is_active else self._find_following(path)
        if following is not None:
            self._parts.opener.prefetch(following)

    def _mark_own_class(self) -> None:
        """Select the class of the photograph in view; none without a label by this reader."""
        self.class_list.mark(self._parts.records.find_own(self._shown))

    # Embeddings and fit.

    def set_images(self, images: Sequence[LibraryImage]) -> None:
        """Label other photographs."""
        self._images = images
        self._skipped.clear()
        self._given.clear()
        self.embeddings.clear()
        self._choice_timer.stop()
        self._next_timer.stop()
        self._following = None
        for key in ("fit", "curve", "choice"):  # of the previous photographs
            self._queue.stop(key)
        self.state, self.curve, self._choice = None, None, None
        self._fitted, self._fitted_labels, self._shown, self._undone = None, None, None, None
        self._parts.records.set_order(())
        diagnoses = (row.get("diagnosis") for row in self._parts.store.index.rows.values())
        self.class_list.set_used(Counter(filter(None, diagnoses)))
        self._mark_own_class()
        self._remember_folder()
        self.refresh()
        self._show_texts()

    def _remember_folder(self) -> None:
        """Remember that diagnoses of the folder are labeled, so that its embeddings continue when it is next opened."""
        folders = self._settings.get(FOLDERS, list[str]())
        if self.is_active and self._images:
            chosen = [str(path) for path in self._dock.chosen]
            self._settings.set(FOLDERS, list(dict.fromkeys([*chosen, *folders]))[:MAX_FOLDERS])

    @property
    def is_used(self) -> bool:
        """Whether diagnoses of the photographs are labeled: the page was shown for them, or one has a label."""
        if self.is_active or {str(path) for path in self._dock.chosen} & {*self._settings.get(FOLDERS, list[str]())}:
            return True
        found = (self._parts.records.find_digest(image.path) for image in self._images)
        rows = (self._parts.store.index.rows.get(digest, {}) for digest in found)
        return any(row.get("diagnosis") or row.get("diagnosis_labels") for row in rows)

    def refresh(self) -> None:
        """Fit again, unless nothing has changed, in the background."""
        if not self._images or not self.is_used:
            return
        records, store = self._parts.records, self._parts.store
        rows, reader, model = store.index.rows, self._settings.reviewer, self.model.model
        found = [(one.path, records.find_digest(one.path), one.path in self._skipped) for one in self._images]
        # An unreadable one is not offered; as the next in the random order, it would block those after it
        photographs = [one for one in found if one[0] not in records.errors or one[1] in rows]
        inputs = photographs, rows, reader, model, store.folder, self.embeddings.done
        if inputs == self._fitted:
            return
        listed = {digest: rows[digest] for _, digest, _ in photographs if digest in rows}
        self._fitted, self._fitted_labels = inputs, (model, store.folder, listed)
        self._choice_timer.stop()
        for key in ("curve", "choice"):
            self._queue.stop(key)
        work = partial(_update, self._labelings, (model, store.folder), photographs, rows, reader)
        self._queue.submit("fit", lambda: work)

    def _on_job(self, result: tuple[str, Any]) -> None:
        kind, value = result
        if kind == "curve":
            self.curve, self._curve_labels = value, self._fitted_labels
        elif kind == "choice":
            self._choice = value
        else:
            state, texts = value
            self._show_state(state, texts)
            self._choice = None  # of other labels
            if state.fit is not None and self.is_active:
                self._queue.submit("curve", lambda: partial(_measure_curve, state.fit))
                self._choice_timer.start()
            if state.fit is None or self._curve_labels != self._fitted_labels:
                self.curve = None  # of other labels
        self._show_texts()

    def _start_choice(self) -> None:
        fit = None if self.state is None else self.state.fit
        if fit is not None:
            self._queue.submit("choice", lambda: partial(_preview_choice, fit))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Compute what the button would do as soon as the user approaches it."""
        if watched is self.use_button and event.type() in (QEvent.Type.Enter, QEvent.Type.FocusIn):
            self._choice_timer.flush()
        return False

    def _show_state(self, state: LabelingState, texts: Mapping[Path, str]) -> None:
        """Show labels, order and predictions, and compute the embeddings that are missing."""
        self.state, self._state_labels = state, self._fitted_labels
        self._given &= {*state.order}
        self._parts.records.set_order(dict.fromkeys((*state.order, *state.labels)))
        ordered = (*state.order, *state.labels, *state.missing)
        missing = {path: state.missing[path] for path in ordered if path in state.missing}
        self._live_predictions.set(texts if self.is_active else {})
        self.updated.emit()
        if self._undone == self._dock.list_view.path:
            self._dock.list_view.select_path(self._undone)
        self._undone = None
        self._mark_own_class()
        self._next_timer.start()
        self.embeddings.set_photographs(state.model, self._parts.store.folder, missing, len(self._images))

    def _on_failed(self, error: Exception) -> None:
        self.state = None
        self.embeddings.clear()
        self.summary.setText(str(error))
        self._dock.status.show_message(f"Diagnoses are stored, but not fitted: {error}")

    def cancel_embedding(self) -> None:
        """Stop computing embeddings until the folder is opened or the page is shown again."""
        self.embeddings.stopped = True
        self._dock.status.end("embedding", "Canceled.")

    def _on_model(self) -> None:
        self._settings.set("review/classifier", self.model.model)
        self.state, self.curve, self._choice = None, None, None
        self.embeddings.clear()
        self.class_list.show_model(self.model.model)
        self.refresh()
        self._show_texts()

    def _on_active(self, is_active: bool) -> None:
        """Order by what to label next while the page is shown; only offer it once a photograph is open."""
        is_informative = self._dock.list_model.query.sort == INFORMATIVE
        if self._dock.list_view.path is None and is_active != is_informative:
            self._sort(INFORMATIVE if is_active else UNCERTAINTY)
        elif is_active and not is_informative:
            link = self._dock.icons.link("informative", "Show the most informative first")
            self._dock.status.show_error(f"The photographs keep their order. {link}.")  # until the user acts
        self._settings.set_section_open("diagnosis", is_active)
        if is_active:
            self._fitted = None
            self.embeddings.clear()
            self._remember_folder()
            self.refresh()
        else:
            self._live_predictions.set({})
        self._update_keys()
        self._show_texts()

    def sort_informative(self) -> None:
        """Order by what to label next."""
        self._sort(INFORMATIVE)

    def _sort(self, key: str) -> None:
        combo = self._dock.sort_combo
        combo.setCurrentIndex(list(self._dock.sort_keys).index(key))
        combo.activated.emit(combo.currentIndex())

    def _show_texts(self) -> None:
        from napari_melanoma.runs.labeling_answer import describe_choice, describe_labels

        state, shown = self.state, self._describe_outcome()
        is_ready = state is not None and state.fit is not None
        choice = None if state is None else describe_choice(state, self._choice)
        tip = "Compare the shipped model with adapted ones, and use the adapted one if it is measured to be better"
        self.use_button.setEnabled(is_ready and not self._processes)
        known = f"{tip}.\n{choice.statement}" if choice is not None and choice.text else tip
        self.use_button.setToolTip(known if is_ready else "More labels are needed")
        sentences, self._detail = [STARTING], ""
        if shown is not None:  # the decision, with its reason
            sentences, self._detail = [shown.statement], shown.detail
        elif state is not None and choice is not None:
            shown = describe_labels(state, self.curve)
            sentences = [shown.text, choice.text]
            self._detail = ". ".join(filter(None, [*shown.parts, choice.statement, shown.detail]))
        self.summary.setText(" ".join(f"{text.rstrip('.')}." for text in sentences if text))
        self._show_details()

    def _show_details(self, _: object = None) -> None:
        """Show the curve and intervals in place of the list on request, and why there is no fit."""
        self.chart.show_points(() if self.curve is None else list_points(self.curve))
        show_text(self._details_label, self._detail or NO_DETAIL)
        show_text(self._notice_label, "" if self.state is None else self.state.notice)
        self.details_requested.emit(self.is_active and self._more.isChecked())

    # The selection.

    def use(self) -> None:
        """Choose the adaptation in a process of its own, and use the model if it is measured to be better."""
        if self.state is None:
            return
        work = partial(_adapt, self.state.model, self._parts.store.folder, self.state.images, self._processes)
        on_adapted = partial(self._on_adapted, self._state_labels)
        self._dock.start(
            "adapting", "Comparing the shipped model with adapted ones ...", work, on_adapted
        ).finished.connect(self._show_texts)
        self.use_button.setEnabled(False)

    def cancel_use(self) -> None:
        """End the process of the selection."""
        for process in self._processes:
            process.kill()

    def _on_adapted(self, labels: object, outcome: tuple[dict[str, Any], BundleInfo | None]) -> None:
        summary, bundle = outcome
        self._outcome = SelectionOutcome(summary, None if bundle is None else bundle.name, labels)
        if bundle is not None:
            store_used_model(bundle.name)
            user_data().models_changed.emit(bundle.name)
        self._show_texts()

    def _describe_outcome(self) -> Headline | None:
        if self._outcome is None or self._outcome.labels != self._fitted_labels:
            return None
        summary, name, _ = self._outcome
        return describe_outcome(summary, name, is_used=name == self._parts.opener.classifier)


def _update(
    opened: dict[tuple[str, Path], Labeling],
    key: tuple[str, Path],
    photographs: Sequence[tuple[Path, str, bool]],
    rows: Mapping[str, Mapping[str, str]],
    reader: str,
    run: RunContext,
) -> tuple[str, tuple[LabelingState, dict[Path, str]]]:
    """Fit the labels by a classifier (name and corrections folder in ``key``); ``opened``: the latest one."""
    from napari_melanoma.runs.labeling import FolderPhotograph, Labeling

    if key not in opened:
        opened.clear()
        opened[key] = Labeling(*key)
    state = opened[key].update([FolderPhotograph(*one) for one in photographs], rows, reader, run)
    return "state", (state, {path: describe_live(state, path) for path in state.shipped})


def _measure_curve(fit: LabelFit, run: RunContext) -> tuple[str, LearningCurve | None]:
    return "curve", fit.measure_curve(run)


def _preview_choice(fit: LabelFit, run: RunContext) -> tuple[str, AdaptationChoice]:
    return "choice", fit.preview_choice(run)


def _adapt(
    model: str, folder: Path, images: Sequence[str], processes: list[subprocess.Popen[str]], run: RunContext
) -> tuple[dict[str, Any], BundleInfo | None]:
    """Run the command that adapts a model to some photographs, and install the result if it is measured to be better.

    ``images``: the ids of the photographs in the corrections ``folder``.
    """
    from napari_melanoma.core.processes import python_command
    from napari_melanoma.models.bundle import read_bundle
    from napari_melanoma.models.installed_bundles import install_bundle

    with tempfile.TemporaryDirectory() as temporary:
        out, chosen = Path(temporary, f"{model}-adapted"), Path(temporary, "photographs.txt")
        chosen.write_text("\n".join(images), "utf-8")
        command = python_command("adapt", model, str(folder), "--only", str(chosen), "--out", str(out), "--json")
        summary = run_command(command, processes, run)
        return summary, install_bundle(read_bundle(out), out.name) if summary.get("bundle") else None


def list_points(curve: LearningCurve) -> list[CurvePoint]:
    """Return the probability of the true diagnosis, exp(-log loss), by the number of labels."""
    points = []
    for count, loss in zip(curve.labels, curve.losses, strict=True):
        low, high = (loss.low, loss.high) if loss.has_interval else (loss.mean, loss.mean)
        points.append(CurvePoint(count, math.exp(-loss.mean), math.exp(-high), min(1.0, math.exp(-low))))
    return points
