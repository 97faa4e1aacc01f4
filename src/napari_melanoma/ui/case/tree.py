"""The tree of the lesions and images of a case, and the edits of the parts that are selected in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QObject, QRect, QSize, Qt, Signal
from qtpy.QtGui import QDropEvent, QIcon, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
)

from napari_melanoma.case import model
from napari_melanoma.case.model import Case, CaseImage, CaseLesion, number_lesions
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.formatting import distinct_names, format_count
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.data.body_sites import site_columns, site_title, site_word
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.ui.sections.prediction import format_headline, format_short_verdict
from napari_melanoma.ui.viewer.shortcuts import is_delete_key
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.widgets.style import named

if TYPE_CHECKING:
    from napari_melanoma.case.results import CaseLesionPrediction
    from napari_melanoma.depth.synoptic import SynopticAnswer
    from napari_melanoma.ui.case.controller import CaseController

ROW_ROLE = Qt.ItemDataRole.UserRole + 1
COLUMNS = ("Lesion, image", "Content, state")
MAX_COLUMN_PX, CELL_PX = 100, 14  # of the second column, in which longer texts wrap; beside a text
PICTURE_PX = 28
ROW_PX = PICTURE_PX + 4
MAX_ROWS, MIN_ROWS = 9, 3  # visible rows of this height
DROP_PX = 12  # below them, to drop images for a new lesion
EXPANDED_UP_TO = 8  # up to this number of lesions, all are expanded at first
NO_LESION, NEW_LESION = "loose", "new"  # ids of the row of unassigned images, and of a lesion to be added
SHORT_MODALITIES = {"tbp_tile": "total body", "wsi": "slide"}


def format_modality(image: CaseImage) -> str:
    """Format the modality of an image, such as ``dermoscopic``."""
    return SHORT_MODALITIES.get(image.modality, image.modality) or "modality unknown"


def format_site(lesion: CaseLesion) -> str:
    """Format the site of a lesion, such as ``Left upper back``."""
    return site_title(site_word(lesion.site, lesion.sub_site), lesion.laterality)


@dataclass(frozen=True)
class CaseRow:
    """Content of a row: its texts by column, the tooltip, the file of an image, and the rows of a lesion's images.

    The texts are a name and the date of an image, and the content, such as a diagnosis, and the state; a line each.
    """

    id: str
    texts: tuple[str, str]
    tip: str = ""
    path: Path | None = None
    rows: tuple[CaseRow, ...] = ()


def create_rows(
    case: Case,
    missing: Collection[str] = (),
    predictions: Mapping[str, CaseLesionPrediction] | None = None,
    outdated: Collection[str] = (),
) -> tuple[CaseRow, ...]:
    """Create the rows of a case: lesions, then unassigned images.

    ``missing``: ids of images without a file. ``predictions``: the current ones, by lesion id. ``outdated``: ids of
    lesions with an outdated prediction.
    """
    numbers, predictions = number_lesions(case), predictions or {}
    names = distinct_names([image.path for _, image in case.iterate_images()])
    rows = []
    for lesion in case.lesions:
        number, prediction = numbers[lesion.id], predictions.get(lesion.id)
        tips = [f"Lesion {number}{f', label {lesion.label}' if lesion.label not in ('', number) else ''}"]
        diagnosis = load_taxonomy("diagnosis").title(lesion.diagnosis) if lesion.diagnosis else ""
        content = diagnosis or format_count(len(lesion.images), "image")
        state = "outdated" if lesion.id in outdated else ""
        if prediction is not None:
            state = format_short_verdict(prediction.prediction)
            tips += [format_headline(prediction.prediction), *prediction.prediction.validity.cautions]
            if prediction.prediction.validity.valid and prediction.outlier and prediction.outlier.is_outlier:
                state = f"outlier · {state}"
        elif state:
            tips.append("The case has changed since its prediction: press Classify.")
        texts = f"{number}  {format_site(lesion)}", _join_lines(content, state)
        children = tuple(_create_image_row(image, names, missing) for image in lesion.images)
        rows.append(CaseRow(lesion.id, texts, "\n".join((*tips, content)), rows=children))
    if case.images:
        unassigned = tuple(_create_image_row(image, names, missing) for image in case.images)
        count = format_count(len(unassigned), "image")
        rows.append(CaseRow(NO_LESION, ("Not assigned", count), "Drag each to its lesion.", rows=unassigned))
    return tuple(rows)


def _create_image_row(image: CaseImage, names: Mapping[Path, str], missing: Collection[str]) -> CaseRow:
    is_missing = image.id in missing
    state = "missing" if is_missing else "✎ corrected" if image.correction else "analyzed" if image.results else ""
    tip = f"{image.path}\n{'The file is missing.' if is_missing else 'Double click or press Enter to open it.'}"
    texts = _join_lines(names[image.path], image.taken_on), _join_lines(format_modality(image), state)
    return CaseRow(image.id, texts, tip, None if is_missing else image.path)


def _join_lines(*lines: str) -> str:
    return "\n".join(filter(None, lines))


class CaseTree(QTreeWidget):
    """Tree of lesions and images; emits signals for the user's actions and does not change the case itself."""

    current_changed = Signal()
    opened = Signal(str)  # id of an image
    moved = Signal(object, str, int)  # ids of images, id of the target lesion, position among its images or -1
    removed = Signal(object)  # ids of lesions and images
    dropped = Signal(object, str)  # paths of files, id of the target lesion or ""

    def __init__(self, find_thumbnail: Callable[[Path], QPixmap | None]) -> None:
        super().__init__()
        named(self, "case_tree", "Lesions and images").setToolTip("")
        self._rows: tuple[CaseRow, ...] = ()
        self._updating = False
        self.setItemDelegateForColumn(0, _ThumbnailDelegate(find_thumbnail, self))
        self.setHeaderLabels(list(COLUMNS))
        self.setWordWrap(True)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names of files
        self.header().setMinimumSectionSize(40)
        self.header().setStretchLastSection(False)
        self.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setIconSize(QSize(PICTURE_PX, PICTURE_PX))
        self.setIndentation(12)
        self.setExpandsOnDoubleClick(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragDrop)
        self.setDefaultDropAction(Qt.DropAction.MoveAction)
        self.itemDoubleClicked.connect(self._activate)
        self.itemExpanded.connect(self._fit_height)
        self.itemCollapsed.connect(self._fit_height)
        self.currentItemChanged.connect(lambda *_: None if self._updating else self.current_changed.emit())

    @property
    def current_id(self) -> str:
        """Id of the current row, or ""."""
        item = self.currentItem()
        return "" if item is None else row_of_item(item).id

    @property
    def selected_ids(self) -> list[str]:
        """Ids of the selected rows, from top to bottom."""
        return [row_of_item(item).id for item in self.iterate_items() if item.isSelected()]

    @property
    def selected_images(self) -> list[str]:
        """Ids of the selected images, from top to bottom."""
        images = {image.id for row in self._rows for image in row.rows}
        return [name for name in self.selected_ids if name in images]

    def set_editable(self, is_editable: bool) -> None:
        """Accept files, and images that are moved, only if the case can be changed."""
        self.setAcceptDrops(is_editable)

    def show_rows(self, rows: tuple[CaseRow, ...], current: str = "") -> None:
        """Set the rows; expansion, selection and scroll position are kept if possible.

        ``current``: id of the row to select; empty to keep the selection.
        """
        if rows == self._rows and not current:
            return
        target, selected = current or self.current_id, {current} if current else set(self.selected_ids)
        scroll_position = self.verticalScrollBar().value()
        expanded = {row_of_item(item).id: item.isExpanded() for item in self.iterate_items() if item.parent() is None}
        self._rows, self._updating = rows, True
        self.clear()
        self.addTopLevelItems([_create_item(row) for row in rows])
        self._fit_columns()
        for item in self.iterate_items():
            name = row_of_item(item).id
            item.setExpanded(expanded.get(name, len(rows) <= EXPANDED_UP_TO))
            if name == target:
                self.setCurrentItem(item)
        for item in self.iterate_items():
            item.setSelected(row_of_item(item).id in selected)
        self._updating = False
        self._fit_height()
        self.verticalScrollBar().setValue(scroll_position)
        if current and self.currentItem() is not None:
            self.scrollToItem(self.currentItem())
        if self.current_id != target or current:
            self.current_changed.emit()

    def _fit_columns(self) -> None:
        """Give diagnoses and states the width and the rows the height that they need, and the names the rest."""
        metrics = self.fontMetrics()
        lines = [COLUMNS[1], *(line for item in self.iterate_items() for line in item.text(1).splitlines())]
        width = min(max(map(metrics.horizontalAdvance, lines)), MAX_COLUMN_PX)
        self.setColumnWidth(1, width + CELL_PX)
        for item in self.iterate_items():
            box = metrics.boundingRect(QRect(0, 0, width + 1, 0), Qt.TextFlag.TextWordWrap, item.text(1))
            item.setSizeHint(0, QSize(0, max(ROW_PX, 2 * metrics.height() + 2, box.height() + 2)))

    def iterate_items(self) -> Iterator[QTreeWidgetItem]:
        """Yield each lesion followed by its images."""
        for index in range(self.topLevelItemCount()):
            if (item := self.topLevelItem(index)) is not None:
                yield item
                yield from (item.child(n) for n in range(item.childCount()))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Open with Enter, remove with Delete."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if (item := self.currentItem()) is not None:
                self._activate(item)
        elif is_delete_key(event):
            self.removed.emit([name for name in self.selected_ids if name != NO_LESION])
        else:
            super().keyPressEvent(event)

    def mimeTypes(self) -> list[str]:  # noqa: N802 - Qt's name
        """Accept files, too."""
        return [*super().mimeTypes(), "text/uri-list"]

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Emit where images or files were dropped; the rows change only with the case."""
        lesion, position = self._drop_target(event)
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self.dropped.emit(paths, "" if lesion == NO_LESION else lesion)
        elif event.source() is self and self.selected_images:
            event.setDropAction(Qt.DropAction.CopyAction)  # else Qt would remove the rows after a move
            event.accept()
            self.moved.emit(self.selected_images, lesion, position)
        else:
            event.ignore()
        self.setState(QAbstractItemView.State.NoState)
        self.viewport().update()

    def _drop_target(self, event: QDropEvent) -> tuple[str, int]:
        """Return the id of the lesion under the mouse, or "", and the position among its images, or -1."""
        item = self.itemAt(event.position().toPoint())
        if item is None:
            return "", -1
        parent = item.parent()
        if parent is None:
            return row_of_item(item).id, -1
        below = self.dropIndicatorPosition() == QAbstractItemView.DropIndicatorPosition.BelowItem
        preceding = {row_of_item(parent.child(n)).id for n in range(parent.indexOfChild(item) + below)}
        return row_of_item(parent).id, len(preceding - set(self.selected_images))

    def _fit_height(self) -> None:
        """Fit the height to the rows, within limits."""
        if self._updating:
            return
        shown = [item for item in self.iterate_items() if item.parent() is None or item.parent().isExpanded()]
        rows_px = sum(item.sizeHint(0).height() for item in shown)
        height = min(max(rows_px, MIN_ROWS * ROW_PX), MAX_ROWS * ROW_PX) + self.header().sizeHint().height() + DROP_PX
        if self.minimumHeight() != height:
            self.setFixedHeight(height)

    def _activate(self, item: QTreeWidgetItem) -> None:
        if item.parent() is not None:
            self.opened.emit(row_of_item(item).id)
        else:
            item.setExpanded(not item.isExpanded())


def row_of_item(item: QTreeWidgetItem) -> CaseRow:
    """Return the content of a row."""
    row: CaseRow = item.data(0, ROW_ROLE)
    return row


def _create_item(row: CaseRow) -> QTreeWidgetItem:
    """Create an item with its children."""
    item = QTreeWidgetItem(list(row.texts))
    item.setData(0, ROW_ROLE, row)
    for column in range(len(COLUMNS)):
        item.setToolTip(column, row.tip)
    if row.rows:
        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsDragEnabled)
    item.addChildren([_create_item(child) for child in row.rows])
    return item


class _ThumbnailDelegate(QStyledItemDelegate):
    """Adds the thumbnail of an image, which is read when its row is first visible."""

    def __init__(self, find_thumbnail: Callable[[Path], QPixmap | None], parent: CaseTree) -> None:
        super().__init__(parent)
        self._find_thumbnail = find_thumbnail

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:  # noqa: N802 - Qt's name
        """Set the icon of an image."""
        super().initStyleOption(option, index)
        row = index.data(ROW_ROLE)
        picture = None if not isinstance(row, CaseRow) or row.path is None else self._find_thumbnail(row.path)
        if picture is not None:
            option.features |= QStyleOptionViewItem.ViewItemFeature.HasDecoration
            option.icon = QIcon(picture)
            option.decorationSize = QSize(PICTURE_PX, PICTURE_PX)


class CaseEditor(QObject):
    """Applies edits of the controls to the case."""

    message = Signal(str)
    lesion_added = Signal(str)

    def __init__(self, controller: CaseController, tree: CaseTree, parent: QObject) -> None:
        super().__init__(parent)
        self._controller, self._tree = controller, tree

    def set_patient(self, name: str, text: str) -> None:
        """Set a field of the patient."""
        description = f"patient's {name.replace('_', ' ')}"
        self._edit(lambda case: model.set_patient(case, **{name: text}), description, f"patient {name}")

    def set_part(self, name: str, text: str) -> None:
        """Set a field of the selected lesion or image."""
        part, lesion = self._tree.current_id, self._current_lesion
        change: Callable[..., Case] = model.set_image if lesion is None else model.set_lesion
        target = "the image" if lesion is None else self._name_lesion(part)
        description = f"{name.replace('_', ' ')} of {target}"
        self._edit(lambda case: change(case, part, **{name: text}), description, f"{part} {name}")

    def set_finding(self, lesion: str, name: str, answer: SynopticAnswer | None) -> None:
        """Set a field of the synoptic report of a lesion, which may not be selected; None makes it unknown."""
        reader, when = DockSettings().reader, utc_time()
        description = f"{FIELDS_BY_NAME[name].label.lower()} of {self._name_lesion(lesion)}"
        self._edit(lambda case: model.set_lesion_answers(case, lesion, {name: answer}, reader, when), description)

    def confirm_finding(self, name: str) -> None:
        """Accept a finding that was imported as that of the reader."""
        lesion = self._current_lesion
        answer = None if lesion is None else lesion.form.answer(name)
        if lesion is not None and answer is not None:
            self.set_finding(lesion.id, name, answer.confirm())

    def revert_patient(self, name: str) -> None:
        """Undo the edits of a field whose value has become invalid."""
        self._controller.revert(f"patient {name}")

    def revert_part(self, name: str) -> None:
        """Undo the edits of a field whose value has become invalid."""
        self._controller.revert(f"{self._tree.current_id} {name}")

    def set_site(self, site: str, laterality: str) -> None:
        """Set the site of the selected lesion."""
        lesion = self._current_lesion
        if lesion is not None:
            values = dict(zip(("site", "sub_site", "laterality"), (*site_columns(site), laterality), strict=True))
            text = f"{self._name_lesion(lesion.id).capitalize()}: {site_title(site, laterality)}"
            if self._edit(lambda case: model.set_lesion(case, lesion.id, **values), text):
                self.message.emit(f"{text}.")

    def add_lesion(self) -> None:
        """Add a lesion, and select it."""
        case = self._edit(model.add_lesion, "new lesion")
        if case is not None:
            self.lesion_added.emit(case.lesions[-1].id)

    def move(self, images: Sequence[str], lesion: str, position: int = -1) -> None:
        """Move images to a lesion, to a new lesion, or to the unassigned images.

        ``lesion``: id of a lesion, ``NEW_LESION`` or "" for a new lesion, ``NO_LESION`` for none. ``position``: among
        the images of the lesion; -1 for the end.
        """
        is_new = lesion in ("", NEW_LESION)

        def move_all(case: Case) -> Case:
            case = model.add_lesion(case) if is_new else case
            target = case.lesions[-1].id if is_new else lesion.replace(NO_LESION, "")
            return model.move_images(case, images, target, None if position < 0 else position)

        count = format_count(len(images), "image")
        case = self._edit(move_all, f"{count} moved")
        if case is None:
            return
        if is_new:
            self.lesion_added.emit(case.lesions[-1].id)
        target = "a new lesion" if is_new else "no lesion" if lesion == NO_LESION else self._name_lesion(lesion)
        self.message.emit(f"{count} moved to {target}.")

    def remove(self, parts: Sequence[str]) -> None:
        """Remove lesions and images from the case."""
        case = self._controller.case
        lesions = set() if case is None else {lesion.id for lesion in case.lesions}
        existing = lesions | (set() if case is None else {image.id for _, image in case.iterate_images()})
        parts = [part for part in dict.fromkeys(parts) if part in existing]

        def remove_all(case: Case) -> Case:
            for part in parts:
                case = model.remove_lesion(case, part) if part in lesions else model.remove_image(case, part)
            return case

        if parts:
            lesion_count = sum(part in lesions for part in parts)
            counts = {"image": len(parts) - lesion_count, "lesion": lesion_count}
            removed = " and ".join(format_count(count, noun) for noun, count in counts.items() if count)
            if len(parts) == lesion_count == 1:
                removed = self._name_lesion(parts[0])
            if self._edit(remove_all, f"{removed} removed"):
                self.message.emit(f"Removed from the case: {removed}. The files are kept; Ctrl+Z undoes it.")

    @property
    def _current_lesion(self) -> CaseLesion | None:
        case, current = self._controller.case, self._tree.current_id
        return None if case is None else next((lesion for lesion in case.lesions if lesion.id == current), None)

    def _name_lesion(self, lesion: str) -> str:
        case = self._controller.case
        return "" if case is None else f"lesion {number_lesions(case).get(lesion, '')}"

    def _edit(self, change: Callable[[Case], Case], description: str, key: str = "") -> Case | None:
        """Edit the case and return it; None if it is unchanged.

        ``description``, ``key``: as for ``CaseController.edit``.
        """
        case = self._controller.case
        if case is None or not self._controller.is_editable:
            return None
        try:
            edited = change(case)
        except (ConfigError, InputError) as error:  # an invalid value, or a signed report
            self.message.emit(describe_failure(error))
            return None
        except KeyError:  # the selected part no longer exists, as after a double click on a button
            return None
        return edited if self._controller.edit(edited, description, key) else None
