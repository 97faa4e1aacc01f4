"""The lists of data sets in the Train dock, with the numbers of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QShowEvent
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QMessageBox, QVBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, MelanomaError
from napari_melanoma.core.files import FileStamp, file_stamp
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.paths import expand_user, trust_folder
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.runs.shipped_recipes import DataKind

NO_CORRECTIONS = "None yet. Correct a mask in the Lesion dock and press Add to corrections there."
INDENT_PX = 20  # aligns the description with the text of the check box above it
NO_REPLAY = "Optional: what the model was trained on, so that it forgets nothing."


class DataTable(NamedTuple):
    """The table of a data set: its folder, and its version when it was read, None if it was not."""

    folder: str
    stamp: FileStamp | None = None


@dataclass(frozen=True)
class UsableImages:
    """Numbers of images that can be used, and of their patients, or lesions or areas where patients are unknown."""

    images: int = 0
    patients: int = 0


@dataclass(frozen=True)
class DataSetCounts:
    """Numbers of images in a data set.

    ``masked``: images with a mask that are not rejected or waiting for review. ``whole``: those that can be used
    without their mask. ``needs_masks``: which of both the recipe uses. ``tiles``: description of the tile size, empty
    for other data. ``slides``: whether the images are whole slides. ``stamp``: version of the table; None if there is
    none.
    """

    folder: Path
    stamp: FileStamp | None = None
    images: int = 0
    masked: UsableImages = UsableImages()
    whole: UsableImages = UsableImages()
    needs_masks: bool = True
    corrected: int = 0
    unreviewed: int = 0
    rejected: int = 0
    tiles: str = ""
    slides: bool = False

    @property
    def usable(self) -> int:
        """Number of images that the recipe can use."""
        return (self.masked if self.needs_masks else self.whole).images

    @property
    def patients(self) -> int:
        """Number of patients of the usable images."""
        return (self.masked if self.needs_masks else self.whole).patients

    @property
    def kind(self) -> DataKind:
        """The kind of data, as of a recipe."""
        return "slides" if self.slides else "tiles" if self.tiles else "photographs"

    @property
    def size(self) -> str:
        """The number of usable images."""
        if self.slides:
            return f"{format_count(self.images, 'slide')} of {format_count(self.patients, 'patient')}"
        if self.tiles:
            return f"{format_count(self.usable, 'tile')} of slides, {self.tiles}"
        return f"{format_count(self.usable, 'image')}{' with masks' if self.needs_masks else ''}"

    @property
    def details(self) -> str:
        """The other numbers as one line; empty without any."""
        if self.slides:
            return ""
        if not self.usable:
            return "no image with a mask yet" if self.needs_masks else "no image that is not rejected"
        parts = []
        if self.corrected:
            parts.append(f"{self.corrected:,} corrected")
        if self.patients < self.usable:  # otherwise patients are unknown, or have one image each
            parts.append(f"{self.patients:,} patients or {'areas' if self.tiles else 'lesions'}")
        if self.unreviewed:
            parts.append(f"{self.unreviewed:,} to review")
        return ", ".join(parts)


def count_images(folder: Path, *, may_be_empty: bool = False) -> DataSetCounts:
    """Count the images of a data set; all counts are zero if it is empty and ``may_be_empty``."""
    from napari_melanoma.data.corrections import Corrections
    from napari_melanoma.data.dataset import find_table, read_dataset, select_not_rejected, select_trainable
    from napari_melanoma.training.whole_slides import bag_samples, is_slide_dataset

    if may_be_empty and not Corrections(folder).rows():
        return DataSetCounts(folder)
    check_is_folder(folder)
    stamp = file_stamp(find_table(folder))  # before it is read, so that a later change is noticed
    if is_slide_dataset(folder):
        slides = bag_samples(folder, pending=True)
        count = _count_usable(slides)
        return DataSetCounts(folder, stamp, images=len(slides), masked=count, whole=count, slides=True)
    samples = read_dataset(folder)
    return DataSetCounts(
        folder,
        stamp,
        images=len(samples),
        masked=_count_usable(select_trainable(samples)),
        whole=_count_usable(select_not_rejected(samples)),
        corrected=sum(sample.review == "corrected" for sample in samples),
        unreviewed=sum(sample.review == "unreviewed" for sample in samples),
        rejected=sum(sample.review == "rejected" for sample in samples),
        tiles=_describe_tiles(folder),
    )


def _count_usable(samples: Sequence[Sample]) -> UsableImages:
    return UsableImages(len(samples), len({sample.group for sample in samples}))


def _describe_tiles(folder: Path) -> str:
    """Describe the size of tiles; empty for photographs."""
    from napari_melanoma.slides.tile_sets import read_tile_set

    tiles = read_tile_set(folder)
    return "" if tiles is None else f"{tiles.tile.side_px} px at {tiles.tile.mpp:g} µm"


def check_is_folder(folder: Path) -> None:
    """Raise an error if a path is not a folder."""
    if folder.is_dir():
        return
    if folder.exists():
        raise DataSetError(f"{folder} is a file. A data set is a folder with dataset.csv: select that folder.")
    raise DataSetError(f"{folder} was not found: it was moved, or its disk is not connected.")


def data_set_folder(path: Path) -> Path:
    """Return the absolute folder of a data set, also if its CSV file was selected or dropped."""
    folder = path.parent if path.suffix.lower() == ".csv" else path
    return expand_user(folder).absolute()


@dataclass(frozen=True)
class OutsideFiles:
    """Files outside the folder of a data set that its table names; the user must confirm that they are used.

    ``reason``: the error that applies if the user declines. ``files``: a description for the user.
    """

    reason: Exception
    files: str


class DataSetRow(QWidget):
    """One data set: a check box, details of its images, and a button that removes it from the list."""

    toggled = Signal(bool)
    removed = Signal()

    def __init__(self, folder: Path, icons: ThemedIcons, is_corrections: bool) -> None:
        super().__init__()
        self.folder = folder
        self.counts: DataSetCounts | None = None  # None until counted
        self.is_corrections = is_corrections
        self._ticked = False
        self._needs_masks = True
        self.error = ""  # why the data set cannot be read
        self.name = name = "Corrections" if self.is_corrections else folder.name
        self._tip = "The masks corrected in the Lesion dock" if self.is_corrections else str(folder)
        self.check = named(QCheckBox(name), f"use {name}", f"Use {name}", self._tip)
        self._description = WrappedLabel()
        self._description.hide()
        self._description.setProperty("quiet", True)
        self._description.setObjectName(f"about {name}")
        self._description.setContentsMargins(INDENT_PX, 0, 0, 0)
        self._remove_button = tool_button(
            f"remove {name}", f"Remove {name} from the list", f"Remove {name} from the list; its files are kept"
        )
        icons.add(self._remove_button, "delete_shape")
        self._remove_button.setVisible(not self.is_corrections)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(0)
        grid.addWidget(self.check, 0, 0)
        grid.addWidget(self._remove_button, 0, 1)
        grid.addWidget(self._description, 1, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        self.check.toggled.connect(self._on_toggled)
        self._remove_button.clicked.connect(self.removed)

    @property
    def is_used(self) -> bool:
        """Whether it is ticked and has usable images, or has not been counted yet."""
        return self._ticked and (self.counts is None or self.counts.usable > 0)

    @property
    def is_ticked(self) -> bool:
        """Whether the user has ticked it, even if the check box shows no tick because there are no usable images."""
        return self._ticked

    @is_ticked.setter
    def is_ticked(self, ticked: bool) -> None:
        self._ticked = ticked
        self._update_check_box()

    def set_needs_masks(self, needs_masks: bool) -> None:
        """Set whether the recipe uses only images with a mask."""
        self._needs_masks = needs_masks
        if self.counts is not None and not self.error:
            self.show_counts(self.counts)

    def show_counts(self, counts: DataSetCounts) -> None:
        self.counts = counts = replace(counts, needs_masks=self._needs_masks)
        self.error = ""
        self._update_check_box()
        empty = self.is_corrections and not counts.images
        self.check.setToolTip(f"{self._tip}\n{counts.size}")
        self._set_description(NO_CORRECTIONS if empty else counts.details, fault=False)

    def show_error(self, message: str) -> None:
        """Show why the data set cannot be read; it stays ticked."""
        self.counts, self.error = DataSetCounts(self.folder), message
        self._update_check_box()
        self._set_description(message, fault=True)

    def _update_check_box(self) -> None:
        usable = self.counts is None or self.counts.usable > 0 or bool(self.error)
        self.check.setEnabled(usable)
        self.check.blockSignals(True)
        self.check.setChecked(self._ticked and usable)
        self.check.blockSignals(False)

    def _on_toggled(self, on: bool) -> None:
        self._ticked = on
        self.toggled.emit(on)

    def _set_description(self, text: str, *, fault: bool) -> None:
        self._description.setText(text)
        self._description.setVisible(bool(text))
        self._description.setProperty("quiet", not fault)
        self._description.setProperty("fault", fault)
        self._description.style().unpolish(self._description)
        self._description.style().polish(self._description)


class DataSetList(QWidget):
    """List of data sets for one purpose; the list and the ticks are stored in the settings.

    ``corrections``: folder of the corrections, which are the first data set and cannot be removed.
    """

    changed = Signal()
    failed = Signal(object)  # the exception

    def __init__(
        self, name: str, title: str, settings: DockSettings, icons: ThemedIcons, corrections: Path | None = None
    ) -> None:
        super().__init__()
        named(self, name, title)
        self.setToolTip("")
        self._settings = settings
        self._icons = icons
        self._needs_masks = True
        self._rows: dict[Path, DataSetRow] = {}
        self._unverified: set[Path] = set()  # added but not counted yet; hidden until it is clear that they can be used
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(3)
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_counted)
        self._corrections = corrections
        stored = {Path(folder): bool(used) for folder, used in settings.get(f"train/{name}", dict[str, bool]()).items()}
        if corrections is not None:
            stored = {corrections: True} | stored
        for folder, used in stored.items():
            self._add_row(folder, used)

    @property
    def folders(self) -> list[Path]:
        """The folders of the used data sets, in the order of the list."""
        return [folder for folder, row in self._rows.items() if row.is_used]

    @property
    def has_uncounted(self) -> bool:
        """Whether a ticked data set has not been counted yet."""
        return any(row.is_ticked and row.counts is None for row in self._rows.values())

    @property
    def errors(self) -> list[str]:
        """Why ticked data sets cannot be read: a training without them would be another one than that shown."""
        return [f"{row.name}: {row.error}" for row in self._rows.values() if row.is_ticked and row.error]

    @property
    def rows(self) -> list[DataSetRow]:
        return list(self._rows.values())

    def set_needs_masks(self, needs_masks: bool) -> None:
        """Set whether the recipe uses only images with a mask, on which it depends which data sets are used."""
        if needs_masks != self._needs_masks:
            self._needs_masks = needs_masks
            for data_row in self._rows.values():
                data_row.set_needs_masks(needs_masks)
            self.changed.emit()

    def choose_folder(self) -> None:
        choose_folder(self, "data_dialog", "Folder with dataset.csv", None, self._on_chosen)

    def add(self, paths: Sequence[Path], *, used: bool = True) -> None:
        """Add folders to the list, where they appear once counted; set the tick of those that are listed already."""
        for path in paths:
            folder = data_set_folder(path)
            if folder not in self._rows:
                self._unverified.add(folder)
                self._add_row(folder, used)
            else:
                self._rows[folder].is_ticked = used
                self.recount(folder)
                self._on_toggled()

    def select_only(self, folders: Sequence[Path]) -> None:
        """Tick only these data sets, and add those that are not listed, also if they cannot be read."""
        selected = [data_set_folder(folder) for folder in folders]
        for folder, data_row in self._rows.items():
            data_row.is_ticked = folder in selected
        for folder in selected:
            if folder not in self._rows:
                self._add_row(folder, True)
        self.recount()
        self._on_toggled()

    def set_corrections_folder(self, folder: Path) -> None:
        """Set the folder of the corrections, and count them again."""
        previous, self._corrections = self._corrections, folder
        if previous != folder and previous is not None:
            self._remove(previous)
            self._remove(folder)
            self._add_row(folder, True)
        else:
            self.recount(folder)

    def recount(self, folder: Path | None = None) -> None:
        """Count one data set again, or all, because files may have changed."""
        for path in [folder] if folder else list(self._rows):
            self._latest.submit(str(path), partial(_create_count_job, path, path == self._corrections))

    def _add_row(self, folder: Path, used: bool) -> None:
        is_corrections = folder == self._corrections
        row = DataSetRow(folder, self._icons, is_corrections)
        row.set_needs_masks(self._needs_masks)
        row.is_ticked = used
        row.toggled.connect(self._on_toggled)
        row.removed.connect(partial(self._remove, folder))
        self._rows[folder] = row
        self._layout.insertWidget(0 if is_corrections else -1, row)
        if folder in self._unverified:
            row.hide()
        self.recount(folder)

    def _remove(self, folder: Path) -> None:
        row = self._rows.pop(folder, None)
        self._unverified.discard(folder)
        if row is not None:
            row.hide()
            row.deleteLater()
            self._on_toggled()

    def _on_chosen(self, folder: Path) -> None:
        self.add([folder])

    def _on_toggled(self, on: bool = False) -> None:
        ticked = {str(folder): row.is_ticked for folder, row in self._rows.items() if folder not in self._unverified}
        self._settings.set(f"train/{self.objectName()}", ticked)
        self.changed.emit()

    def _on_counted(self, result: tuple[Path, DataSetCounts | OutsideFiles | Exception]) -> None:
        folder, counts = result
        row = self._rows.get(folder)
        if row is None:
            return
        if isinstance(counts, OutsideFiles) and row.is_ticked:
            self._confirm_outside_files(folder, counts)
        elif isinstance(counts, DataSetCounts):
            row.show_counts(counts)
            row.show()
            self._unverified.discard(folder)
        else:
            self._reject(folder, counts.reason if isinstance(counts, OutsideFiles) else counts)
            return
        self._on_toggled()

    def _reject(self, folder: Path, reason: Exception) -> None:
        """Remove a data set that was just added, or show the error in its row."""
        if folder in self._unverified:
            self._remove(folder)
            self.failed.emit(reason)
        elif folder in self._rows:
            self._rows[folder].show_error(str(reason))
            self._on_toggled()

    def _confirm_outside_files(self, folder: Path, outside: OutsideFiles) -> None:
        """Ask whether files outside the data set may be used; consent is valid until napari is closed."""
        box = QMessageBox(QMessageBox.Icon.Warning, "Files outside the data set", outside.files, parent=self.window())
        box.setObjectName("outside_dialog")
        box.setTextFormat(Qt.TextFormat.PlainText)  # file names are not markup
        box.setInformativeText("Use them only if you trust the data set. They are only read, never changed.")
        use = box.addButton("Use These Files", QMessageBox.ButtonRole.AcceptRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))

        def on_finished() -> None:
            if box.clickedButton() is use:
                trust_folder(folder)
                self.recount(folder)
            else:
                self._reject(folder, outside.reason)

        box.finished.connect(on_finished)
        box.finished.connect(box.deleteLater)
        box.open()


def _create_count_job(folder: Path, may_be_empty: bool) -> JobFunction:
    """Return a job that counts the images of a folder; its result is the folder with the counts or the error."""

    def count(run: RunContext) -> tuple[Path, DataSetCounts | OutsideFiles | Exception]:
        from napari_melanoma.data.dataset import OutsideFolderError, describe_outside_files

        try:
            return folder, count_images(folder, may_be_empty=may_be_empty)
        except OutsideFolderError as error:
            return folder, OutsideFiles(error, describe_outside_files(folder))
        except MelanomaError as error:
            return folder, error

    return count


class DataPicker(QWidget):
    """Two lists of data sets: training data, and earlier data, which preserve the performance of the starting model."""

    changed = Signal()
    failed = Signal(object)  # the exception

    def __init__(self, settings: ReviewSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self.training_list = DataSetList("learn_from", "Training data sets", settings, icons, settings.corrections)
        self.replay_list = DataSetList("replay_data", "Earlier data sets", settings, icons)
        self._hint = quiet_label(NO_REPLAY)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for title, name, data_list, tip in (
            ("Training data", "add_data", self.training_list, "Add a folder with dataset.csv, or drop one on the dock"),
            (
                "Earlier data",
                "add_replay",
                self.replay_list,
                "Add earlier training data of the model, to preserve its performance on them (optional)",
            ),
        ):
            add = tool_button(name, f"Add a data set to: {title}", tip)
            icons.add(add, "plus")
            add.clicked.connect(data_list.choose_folder)
            layout.addWidget(row(QLabel(title), add, stretch=0))
            layout.addWidget(data_list)
            data_list.changed.connect(self._on_changed)
            data_list.failed.connect(self.failed)
        layout.addWidget(self._hint)
        user_data().corrections_changed.connect(self._on_corrections)
        self.setAcceptDrops(True)
        self._on_changed()

    @property
    def datasets(self) -> tuple[str, ...]:
        return tuple(str(folder) for folder in self.training_list.folders)

    @property
    def tables(self) -> tuple[DataTable, ...]:
        """The tables of the used training data, in the versions that were counted."""
        used = (row for row in self.training_list.rows if row.is_used)
        return tuple(DataTable(str(row.folder), None if row.counts is None else row.counts.stamp) for row in used)

    @property
    def facts(self) -> list[str]:
        """The name and the size of each used data set."""
        used = (row for row in self.training_list.rows if row.is_used)
        return [row.name if row.counts is None else f"{row.name}: {row.counts.size}" for row in used]

    @property
    def replay_data(self) -> tuple[str, ...]:
        return tuple(str(folder) for folder in self.replay_list.folders)

    @property
    def has_uncounted(self) -> bool:
        """Whether a ticked data set has not been counted yet."""
        return self.training_list.has_uncounted or self.replay_list.has_uncounted

    @property
    def errors(self) -> list[str]:
        """Why ticked data sets cannot be read."""
        return [*self.training_list.errors, *self.replay_list.errors]

    @property
    def kinds(self) -> frozenset[DataKind]:
        """Kinds of the used training data that are counted."""
        return frozenset(row.counts.kind for row in self.training_list.rows if row.is_used and row.counts is not None)

    @property
    def is_empty(self) -> bool:
        """Whether the list of training data has no entries except empty corrections."""
        return not any(
            row.counts is None or row.counts.images or not row.is_corrections for row in self.training_list.rows
        )

    def select(self, datasets: Sequence[str], replay: Sequence[str]) -> None:
        """Tick only the data sets of a recipe."""
        self.training_list.select_only([Path(name) for name in datasets])
        self.replay_list.select_only([Path(name) for name in replay])

    def set_needs_masks(self, needs_masks: bool) -> None:
        """Set whether the recipe uses only images with a mask."""
        for data_list in (self.training_list, self.replay_list):
            data_list.set_needs_masks(needs_masks)

    def recount(self) -> None:
        """Count every data set again, because files may have changed."""
        self.training_list.recount()
        self.replay_list.recount()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Accept files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Add folders to the list onto which they are dropped."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        onto_replay = self.replay_list.geometry().top() - self.fontMetrics().height() * 2 < event.position().y()
        event.acceptProposedAction()
        (self.replay_list if onto_replay else self.training_list).add(paths)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Count the corrections again, because another dock may have added some."""
        super().showEvent(event)
        self._on_corrections()

    def _on_corrections(self, folder: object = None) -> None:
        self.training_list.set_corrections_folder(self._settings.corrections)

    def _on_changed(self) -> None:
        self._hint.setVisible(not self.replay_list.rows)
        self.changed.emit()
