"""The lesions of the displayed slide: detection, edits with undo, outlines in a layer, and the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import QHeaderView

from napari_melanoma.core.formatting import format_class
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shape_layers import LineWidthUpdater, line_width
from napari_melanoma.ui.viewer.shortcuts import is_delete_key
from napari_melanoma.ui.widgets.edited_document import DocumentState, SlideDocument
from napari_melanoma.ui.widgets.job import JobFunction
from napari_melanoma.ui.widgets.row_table import ROW_PX, VISIBLE_ROWS, RowTable
from napari_melanoma.ui.widgets.style import named

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.lesion_edits import Lesions
    from napari_melanoma.slides.lesions import LesionClass, LesionConfig, LesionMaps, SlideLesion
    from napari_melanoma.slides.outline_clicks import OutlineClick
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

MAX_OUTLINES = 400  # drawn rings; napari becomes slow with more


class SlideLesions(SlideDocument["LesionFindings"]):
    """Detect, edit, save and draw the lesions of slides.

    An edit runs in the background, because edited lesions are measured on the maps of the slide; it is applied to the
    result of the previous edit. Unlike notes, edits are saved only on request, because they change the results of an
    analysis. ``saved``: the folder of saved lesions.
    """

    saved = Signal(object)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._slide: ViewerSlide | None = None
        # Edited lesions of classes that were selected before, by identity of the slide, folder and class
        self._other_class_findings: dict[tuple[str, Path, str], LesionFindings] = {}
        self._folders: dict[str, Path] = {}  # folder of the shown results, by identity of the slide
        self._edit_count = 0  # gives each edit its own key in the queue
        LineWidthUpdater(viewer, self)

    @property
    def findings(self) -> LesionFindings | None:
        """Lesions of the displayed slide; None before they were detected or read."""
        return self.state

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._slide = slide
        self._display(None if slide is None else slide.identity)

    def find(self, folder: Path, target: str, threshold: float) -> None:
        """Detect the lesions of a class at a threshold, as an undo step; manual edits are kept."""
        slide = self._slide
        if slide is not None:
            self._folders[slide.identity] = folder
            config = make_lesion_config(threshold)

            def prepare() -> JobFunction:
                previous = self._states.get(slide.identity)
                if previous is not None and previous.target != target:
                    if previous.history.past or previous.has_manual_edits:
                        self._other_class_findings[slide.identity, previous.folder, previous.target] = previous
                    previous = self._other_class_findings.pop((slide.identity, folder, target), None)
                return partial(recompute_findings, slide, folder, target, config, previous)

            self._submit(slide.identity, prepare, self._on_found)

    def read(self, folder: Path, target: str, config: LesionConfig) -> None:
        """Read and show the saved lesions with all edits; if none were saved, detect the lesions."""
        slide = self._slide
        if slide is not None:
            self._folders[slide.identity] = folder
            work = partial(read_findings, slide, folder, target, config)
            self._submit(slide.identity, lambda: work, self._on_found)

    def edit(self, edit: LesionEdit) -> None:
        """Edit the lesions."""
        self._change(partial(apply_edit, edit))

    def clear(self, identity: str) -> None:
        """Remove the lesions of a slide that was closed or is analyzed again."""
        self._states.pop(identity, None)
        self._other_class_findings = {
            key: findings for key, findings in self._other_class_findings.items() if key[0] != identity
        }
        self._folders.pop(identity, None)  # so that results of pending work are ignored
        if self._slide is not None and self._slide.identity == identity:
            layer = slide_layers.find_layer(self._viewer, self._slide, "lesions")
            if layer is not None:
                self._viewer.layers.remove(layer)
            self.changed.emit(None)

    def lesion_at(self, point: tuple[float, float]) -> int | None:
        """Return the number of the lesion at a (row, column) in pixels of the finest level; None if there is none."""
        from napari_melanoma.core.polygons import points_within

        lesions = () if self.findings is None else self.findings.lesions
        return next((lesion.index for lesion in lesions if points_within([point], lesion.polygons).any()), None)

    def save(self) -> None:
        """Write the lesions to their results folder."""
        findings = self.findings
        if findings is not None:
            self._submit_step(f"{findings.identity} save", findings.identity, save_findings)

    def _change(self, step: Callable[[LesionFindings], LesionFindings]) -> None:
        findings = self.findings
        if findings is not None:
            self._edit_count += 1
            self._submit_step(f"change {self._edit_count}", findings.identity, step)

    def _submit_step(self, key: str, identity: str, step: Callable[[LesionFindings], LesionFindings]) -> None:
        """Queue a step, which is applied to the result of the previous one."""

        def prepare() -> JobFunction | None:
            findings = self._states.get(identity)
            return None if findings is None else lambda run: step(findings)

        self._submit(key, prepare, self._on_found)

    def _on_found(self, findings: LesionFindings) -> None:
        previous = self._states.get(findings.identity)
        if self._folders.get(findings.identity) != findings.folder or findings is previous:
            return
        self._states[findings.identity] = findings
        slide = self._slide
        if slide is None or slide.identity != findings.identity:
            return
        if previous is None or previous.history.current is not findings.history.current:
            _draw_outlines(self._viewer, slide, findings)
        self.changed.emit(findings)
        if findings.saved and previous is not None and not previous.saved:
            self.saved.emit(findings.folder)


@dataclass(frozen=True, kw_only=True)
class LesionFindings(DocumentState["LesionState"]):
    """The lesions of a slide with their history.

    ``size``: height and width of the slide in pixels. ``target``: class of the probabilities. ``stored``: the state in
    the results folder; None before lesions were saved.
    """

    size: tuple[int, int]
    target: str
    stored: LesionState | None = None

    @property
    def saved(self) -> bool:
        """Whether these lesions are stored; also after the steps since then were undone."""
        current, stored = self.history.current, self.stored
        return stored is not None and current.lesions is stored.lesions and current.config == stored.config

    @property
    def is_recomputed(self) -> bool:
        """Whether the last step, which can be undone, was detection at another threshold."""
        return self.history.current.is_recomputed

    @property
    def lesions(self) -> Lesions:
        """The current lesions."""
        return self.history.current.lesions

    @property
    def config(self) -> LesionConfig:
        """The thresholds at which the lesions were detected."""
        return self.history.current.config

    @property
    def has_manual_edits(self) -> bool:
        """Whether lesions were drawn, changed or removed manually."""
        from napari_melanoma.slides.lesion_edits import manual_lesions

        current = self.history.current
        return bool(manual_lesions(current.lesions) or current.removed)

    @property
    def is_corrected(self) -> bool:
        """Whether lesions were edited since the threshold was last changed."""
        return not self.is_recomputed and (bool(self.history.past) or self.has_manual_edits)


def _draw_outlines(viewer: Viewer, slide: ViewerSlide, findings: LesionFindings) -> None:
    """Replace the drawn outlines."""
    layer = slide_layers.find_layer(viewer, slide, "lesions")
    if layer is not None:
        layer.data = []
    rings = findings.history.current.rings
    if not rings:
        return
    layer = slide_layers.get_or_add_layer(viewer, slide, "lesions", _create_layer)
    layer.add_polygons(
        [ring for _, _, ring in rings],
        edge_width=line_width(viewer, slide, "lesions"),
        edge_color=[(BENIGN if label == "benign" else MALIGNANT).name() for _, label, _ in rings],
        face_color="transparent",
    )


def _create_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)


HYSTERESIS = 0.2  # a lesion extends to where the probability is this much below the threshold
LesionEdit = Callable[["Lesions", "LesionMaps", "LesionConfig"], "Lesions"]
LesionRing = tuple[int, str, "NDArray[np.float64]"]  # number and class of the lesion, vertices (point, 2)


@dataclass(frozen=True)
class LesionState:
    """Lesions with the thresholds at which they were detected, and lesions that were removed manually.

    ``removed`` is None if it is not known, as for lesions that were read from a file. ``is_recomputed``: whether the
    step to this state was detection at another threshold. ``rings``: what is drawn, in (row, column) from the center
    of the first pixel.
    """

    lesions: Lesions
    config: LesionConfig
    removed: Lesions | None = None
    is_recomputed: bool = False
    rings: Sequence[LesionRing] = field(default=(), compare=False)


def make_lesion_config(threshold: float) -> LesionConfig:
    """Return the thresholds of lesions for an upper threshold."""
    from napari_melanoma.slides.lesions import LesionConfig

    return LesionConfig(high=threshold, low=max(0.0, round(threshold - HYSTERESIS, 4)))


def _list_rings(lesions: Lesions) -> list[LesionRing]:
    """List the rings to draw: outlines and holes of lesions, at most ``MAX_OUTLINES``."""
    import numpy as np

    rings = (
        (lesion, ring) for lesion in lesions for polygon in lesion.polygons for ring in (polygon.outer, *polygon.holes)
    )
    return [
        (lesion.index, lesion.label, np.asarray(ring, np.float64) - 0.5) for lesion, ring in islice(rings, MAX_OUTLINES)
    ]


def _make_state(lesions: Lesions, config: LesionConfig, removed: Lesions | None = None) -> LesionState:
    return LesionState(lesions, config, removed, rings=_list_rings(lesions))


def _read_lesion_maps(folder: Path, target: str, size: tuple[int, int]) -> LesionMaps:
    from napari_melanoma.slides.saved_results import read_lesion_maps

    return read_lesion_maps(folder, target, size)


def compute_findings(
    slide: ViewerSlide, folder: Path, target: str, config: LesionConfig, run: RunContext
) -> LesionFindings:
    """Detect the lesions of a slide."""
    from napari_melanoma.slides.lesions import find_lesions

    lesions = find_lesions(_read_lesion_maps(folder, target, slide.size), config)
    history = History(_make_state(lesions, config))
    return LesionFindings(slide.identity, history, folder, size=slide.size, target=target)


def recompute_findings(
    slide: ViewerSlide,
    folder: Path,
    target: str,
    config: LesionConfig,
    previous: LesionFindings | None,
    run: RunContext,
) -> LesionFindings:
    """Detect the lesions of a slide at other thresholds, and apply the manual edits of previous lesions to them."""
    from napari_melanoma.slides.lesion_edits import apply_edits

    findings = compute_findings(slide, folder, target, config, run)
    if previous is None or (previous.folder, previous.target) != (folder, target):
        return findings
    # Start from the edited state, not from a result at another threshold, at which some edits may have had no effect
    edited = previous.history.past[-1] if previous.is_recomputed else previous.history.current
    maps = _read_lesion_maps(folder, target, slide.size)
    removed = _find_removed(edited, maps)
    current = _make_state(apply_edits(findings.lesions, edited.lesions, removed, maps, config), config, removed)
    past = previous.history.past[:-1] if previous.is_recomputed else previous.history.past
    history = History(replace(current, is_recomputed=True), (*past, replace(edited, removed=removed)))
    return replace(findings, history=history, stored=previous.stored)


def _find_removed(state: LesionState, maps: LesionMaps) -> Lesions:
    """Return the manually removed lesions; if they are not known, those that detection would add."""
    from napari_melanoma.slides.lesion_edits import removed_lesions
    from napari_melanoma.slides.lesions import find_lesions

    if state.removed is not None:
        return state.removed
    return removed_lesions(find_lesions(maps, state.config), state.lesions, maps)


def read_findings(
    slide: ViewerSlide, folder: Path, target: str, config: LesionConfig, run: RunContext
) -> LesionFindings:
    """Read the saved lesions; if none were saved, detect the lesions."""
    from napari_melanoma.slides.lesion_files import read_lesions

    lesions = read_lesions(folder)
    if lesions is None:
        return compute_findings(slide, folder, target, config, run)
    state = _make_state(lesions, config)
    if not lesions:  # to distinguish "none detected" from "all removed"
        state = replace(state, removed=_find_removed(state, _read_lesion_maps(folder, target, slide.size)))
    return LesionFindings(slide.identity, History(state), folder, size=slide.size, target=target, stored=state)


def apply_edit(edit: LesionEdit, findings: LesionFindings) -> LesionFindings:
    """Edit lesions, as a step that can be undone."""
    from napari_melanoma.slides.lesion_edits import removed_lesions

    maps = _read_lesion_maps(findings.folder, findings.target, findings.size)
    lesions = edit(findings.lesions, maps, findings.config)
    removed = removed_lesions((*_find_removed(findings.history.current, maps), *findings.lesions), lesions, maps)
    return replace(findings, history=findings.history.push(_make_state(lesions, findings.config, removed)))


def save_findings(findings: LesionFindings) -> LesionFindings:
    """Write the lesions to their results folder, and return the findings as saved."""
    from napari_melanoma.slides.lesion_files import save_lesions

    is_corrected = findings.is_corrected or findings.has_manual_edits
    save_lesions(findings.folder, findings.lesions, findings.config, corrected=is_corrected)
    return replace(findings, stored=findings.history.current)


def make_merge_edit(indices: Collection[int]) -> LesionEdit:
    """Return an edit that merges lesions into one."""
    from napari_melanoma.slides.lesion_edits import merge_lesions

    selected = tuple(indices)
    return lambda lesions, maps, config: merge_lesions(lesions, selected, maps, config)


def make_remove_edit(indices: Collection[int]) -> LesionEdit:
    """Return an edit that removes lesions."""
    from napari_melanoma.slides.lesion_edits import remove_lesion

    selected = tuple(indices)
    return lambda lesions, maps, config: reduce(remove_lesion, selected, lesions)


def make_class_edit(indices: Collection[int]) -> LesionEdit:
    """Return an edit that switches lesions between malignant and benign."""
    from napari_melanoma.slides.lesion_edits import set_lesion_class

    selected = tuple(indices)

    def change(lesions: Lesions, maps: LesionMaps, config: LesionConfig) -> Lesions:
        labels = {lesion.index: lesion.label for lesion in lesions}
        for index in selected:
            lesions = set_lesion_class(lesions, index, "benign" if labels[index] == "malignant" else "malignant")
        return lesions

    return change


def make_split_edit(index: int, line: NDArray[np.float64]) -> LesionEdit:
    """Return an edit that splits a lesion along a line.

    ``line``: float64 (point, 2), (row, column) vertices in pixels of the finest level.
    """
    from napari_melanoma.slides.lesion_edits import split_lesion

    return lambda lesions, maps, config: split_lesion(lesions, index, line, maps, config)


def make_draw_edit(outline: Polygon, label: str) -> LesionEdit:
    """Return an edit that adds a drawn lesion.

    ``outline``: in pixels of the finest level. ``label``: ``malignant`` or ``benign``; empty to predict the class.
    """
    from napari_melanoma.slides.lesion_edits import add_lesion

    lesion_class: LesionClass | None = "malignant" if label == "malignant" else "benign" if label else None
    return lambda lesions, maps, config: add_lesion(lesions, [outline], maps, config, lesion_class)


def make_refine_edit(indices: Collection[int], click: OutlineClick) -> LesionEdit:
    """Return an edit that refines the lesion in or next to which the user clicks; ``indices``: preferred lesions."""
    from napari_melanoma.slides.lesion_edits import refine_lesion

    selected = tuple(indices)
    return lambda lesions, maps, config: refine_lesion(lesions, selected, click, maps, config)


AnyIndex = QModelIndex | QPersistentModelIndex
COLUMNS = ("#", "class", "p", "area", "tissue")
COLUMN_TIPS = (
    "Number: malignant lesions first, the largest first",
    "Malignant or benign, if the model distinguishes them; an asterisk marks lesions that you drew or changed",
    "Probability that the lesion is malignant, for benign lesions too; if the model does not distinguish these, of the "
    "class that the heatmap shows",
    "Area; in mm² if the slide has a scale",
    "Share of the slide's tissue",
)
LARGEST_FIRST = ("p", "area", "tissue")  # columns that the first click on their title sorts in descending order
MALIGNANT, BENIGN = QColor("#e0673a"), QColor("#3f9bd8")  # distinguishable with color vision deficiency


class LesionTableModel(QAbstractTableModel):
    """Table model of lesions."""

    def __init__(self) -> None:
        super().__init__()
        self.lesions: tuple[SlideLesion, ...] = ()
        self.target = ""  # class of the probabilities

    def set_lesions(self, lesions: Sequence[SlideLesion]) -> None:
        """Replace the lesions."""
        self.beginResetModel()
        self.lesions = tuple(lesions)
        self.endResetModel()

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Return the number of lesions."""
        return 0 if parent.isValid() else len(self.lesions)

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        """Return the number of columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, index: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:  # noqa: N802
        """Return title or tooltip of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{COLUMN_TIPS[index]} (click to sort; a third click restores the order)"
        if role == Qt.ItemDataRole.InitialSortOrderRole:
            return int(COLUMNS[index] in LARGEST_FIRST)  # Qt expects its ascending or descending order as a number
        return COLUMNS[index] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return text, color, alignment or tooltip of a cell."""
        lesion = self.lesions[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _format_cell(lesion, index.column())
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            return BENIGN if lesion.label == "benign" else MALIGNANT
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() != 1:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return describe_lesion(lesion, self.target)
        return None


class LesionTable(RowTable):
    """Table of lesions; several can be selected.

    ``lesion_activated``: the ``SlideLesion`` that is selected alone. ``remove_requested``: the selected lesions are to
    be removed.
    """

    lesion_activated = Signal(object)
    remove_requested = Signal()
    selection_changed = Signal()

    def __init__(self) -> None:
        self.table_model = LesionTableModel()
        super().__init__(self.table_model)
        named(self, "lesion_table", "Lesions of the slide").setToolTip("")
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.sortIndicatorChanged.connect(self._on_sort)
        self._lesions: tuple[SlideLesion, ...] = ()  # in the original order
        self.show_lesions(())

    @property
    def selected(self) -> list[int]:
        """Numbers of the selected lesions, from top to bottom."""
        rows = sorted({index.row() for index in self.selectionModel().selectedRows()})
        return [self.table_model.lesions[row].index for row in rows]

    def show_lesions(self, lesions: Sequence[SlideLesion]) -> None:
        """Show lesions in the current sort order; lesions that were shown before stay selected."""
        selected, header = self.selected, self.horizontalHeader()
        self._silent = True
        self._lesions = tuple(lesions)
        is_descending = header.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder
        self.table_model.set_lesions(sort_lesions(lesions, header.sortIndicatorSection(), descending=is_descending))
        for row, lesion in enumerate(self.table_model.lesions):
            if lesion.index in selected:
                self._select(row, QItemSelectionModel.SelectionFlag.Select)
        self._silent = False
        height = self.horizontalHeader().sizeHint().height() + ROW_PX * min(max(len(lesions), 1), VISIBLE_ROWS) + 4
        self.setFixedHeight(height)
        self.selection_changed.emit()

    def select_lesion(self, index: int) -> None:
        """Select the row of a lesion, without zooming to it."""
        for row, lesion in enumerate(self.table_model.lesions):
            if lesion.index == index:
                self._silent = True
                self._select(row, QItemSelectionModel.SelectionFlag.ClearAndSelect)
                self.scrollTo(self.table_model.index(row, 0))
                self._silent = False
                self.selection_changed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Request removal with Delete."""
        if is_delete_key(event) and self.selected:
            self.remove_requested.emit()
        else:
            super().keyPressEvent(event)

    def _select(self, row: int, flag: QItemSelectionModel.SelectionFlag) -> None:
        self.selectionModel().select(self.table_model.index(row, 0), flag | QItemSelectionModel.SelectionFlag.Rows)

    def _on_sort(self, column: int, order: Qt.SortOrder) -> None:
        self.show_lesions(self._lesions)

    def _on_selection(self, *_: object) -> None:
        if not self._silent:
            self.selection_changed.emit()
        super()._on_selection()

    def _activate_selected(self) -> None:
        selected = self.selected
        if len(selected) == 1:
            self.lesion_activated.emit(
                next(lesion for lesion in self.table_model.lesions if lesion.index == selected[0])
            )


def sort_lesions(lesions: Sequence[SlideLesion], column: int, *, descending: bool) -> tuple[SlideLesion, ...]:
    """Sort lesions by a column, unknown values last; ``column``: -1 for the original order."""
    if not 0 <= column < len(COLUMNS):
        return tuple(lesions)
    values = [
        (lesion.index, lesion.label, lesion.class_probability, lesion.area_px, lesion.tissue_share)[column]
        for lesion in lesions
    ]
    is_unknown = [isinstance(value, float) and math.isnan(value) for value in values]
    sorted_rows = [row for row, unknown in enumerate(is_unknown) if not unknown]
    sorted_rows.sort(key=lambda row: values[row], reverse=descending)
    return tuple(lesions[row] for row in (*sorted_rows, *(row for row, unknown in enumerate(is_unknown) if unknown)))


def class_of_probability(lesion: SlideLesion, target: str = "") -> str:
    """Return the class to which ``class_probability`` of a lesion refers: ``malignancy`` for benign lesions too."""
    return "malignancy" if math.isfinite(lesion.malignancy) else format_class(target or lesion.label)


def describe_lesion(lesion: SlideLesion, target: str = "") -> str:
    """Describe a lesion in several lines."""
    probabilities = {class_of_probability(lesion, target): lesion.class_probability}
    probabilities |= {f"{format_class(target)} (mean of the heatmap)": lesion.probability} if target else {}
    lines = [
        f"lesion {lesion.index}: {format_class(lesion.label)}, {lesion.origin}",
        *(
            f"probability of {name} {'unknown' if math.isnan(value) else f'{value:.3f}'}"
            for name, value in probabilities.items()
        ),
    ]
    if lesion.area_mm2 is not None and lesion.perimeter_mm is not None:
        lines += [f"area {lesion.area_mm2:.3g} mm², perimeter {lesion.perimeter_mm:.3g} mm"]
    if lesion.height_mm is not None and lesion.width_mm is not None:
        lines += [f"{lesion.height_mm:.3g} x {lesion.width_mm:.3g} mm, fills {100 * lesion.extent:.0f} % of that box"]
    return "\n".join([*lines, f"{_format_percent(lesion.tissue_share)} of the tissue"])


def format_area(lesion: SlideLesion) -> str:
    """Return the area of a lesion with its unit."""
    return f"{lesion.area_px:,.0f} px" if lesion.area_mm2 is None else f"{lesion.area_mm2:.3g} mm²"


def _format_cell(lesion: SlideLesion, column: int) -> str:
    """Return the text of a cell."""
    mark = "" if lesion.origin == "found" else " *"
    cells = (
        str(lesion.index),
        format_class(lesion.label) + mark,
        "–" if math.isnan(lesion.class_probability) else f"{lesion.class_probability:.2f}",
        format_area(lesion),
        _format_percent(lesion.tissue_share),
    )
    return cells[column]


def _format_percent(share: float) -> str:
    """Format a share as percent with two significant digits."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
