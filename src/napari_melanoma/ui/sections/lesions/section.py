"""The Lesions section of a slide: the table, the edits of the selected lesions, and the tools that draw and refine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QHeaderView, QLabel, QMessageBox, QVBoxLayout

from napari_melanoma.core.formatting import format_class
from napari_melanoma.slides.lesion_edits import (
    merge_lesions,
    refine_lesion,
    remove_lesion,
    set_lesion_class,
    split_lesion,
)
from napari_melanoma.slides.lesions import is_lesion_area
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.lesions.canvas import LesionDrawing, LesionOutlines, label_color
from napari_melanoma.ui.sections.lesions.resolve import describe_lesion, describe_lesions, format_cells, sort_key
from napari_melanoma.ui.session.annotations import REDO_TIP, STEP_TEXTS, UNDO_TIP
from napari_melanoma.ui.session.lesions import LESION_DOCUMENT
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT, OutlineClickTool
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.view_memory import zoom_to_polygons
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.row_table import AnyIndex, Column, RowTable, RowTableModel
from napari_melanoma.ui.widgets.style import WrappedLabel, column, named, row, tool_button

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.slides.lesion_edits import Lesions
    from napari_melanoma.slides.lesions import LesionClass, LesionConfig, LesionMaps, SlideLesion
    from napari_melanoma.slides.outlines import OutlineClick
    from napari_melanoma.ui.session.lesions import LesionState
    from napari_melanoma.ui.session.results import AnalysisResults
    from napari_melanoma.ui.session.slide import SlideSession

    SelectionEdit = Callable[[Lesions, tuple[int, ...], LesionMaps, LesionConfig], Lesions]

TOOLS = {  # on the canvas, which stay active until their button is pressed again; text and tooltip
    "draw": ("Draw", f"Draw a new lesion on the slide; press again to stop ({format_key('slide.draw')})"),
    "refine": ("Refine", f"{CLICK_HINT} ({format_key('slide.click')})"),
}
EDITS = {  # text and tooltip
    "merge": ("Merge", "Merge the selected lesions into one"),
    "split": ("Split", "Split a lesion by a line that you draw across it"),
    "class": ("Class", "Switch the class of the selected lesions between malignant and benign"),
    "remove": ("Remove", "Remove the selected lesions (Delete)"),
    "undo": ("↶", UNDO_TIP),
    "redo": ("↷", REDO_TIP),
}
BUTTON_ROWS = (("draw", "refine", "undo", "redo"), ("merge", "split", "class", "remove"))
CLASS_TIP = "Class of interest: its areas are listed, counted and exported, and its heatmap is shown"
CLASSES = {"": "from the model", "malignant": "malignant", "benign": "benign"}
DRAWING_MODES = {  # name and hint of a tool, by mode of napari's Shapes layer
    "add_polygon_lasso": (
        "freehand",
        "Hold down the mouse button, draw around the area, and release the button where you started.",
    ),
    "add_polygon": ("corner by corner", "Click each corner; finish with a double click or Escape."),
}
REJECTED_OUTLINE = "The outline is not a lesion yet: {} Press Draw again to discard it."
CLASS_COLUMN, AREA_COLUMN = 1, 3
AREA_TITLE, AREA_PX_TITLE = "mm²", "px"
WIDTHS = {0: 32, 2: 50, AREA_COLUMN: 62, 4: 60}
TEXT_DARKER = 160  # in percent: the colors of the outlines as text in the light theme


class LesionsSection(SlideSection):
    """The widgets, connected with the lesions of a slide and with the canvas."""

    documents = (LESION_DOCUMENT,)
    tools = ("draw", "click")
    parts = (LesionOutlines, LesionDrawing)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._document, self._drawing = session.lesions, session.part(LesionDrawing)
        self._shown: LesionState | None = None
        self._clicks = OutlineClickTool(session.services.viewer, self, "clicks")
        self.summary_label = named(WrappedLabel(), "lesion_count", "Number of lesions")
        self.summary_label.setProperty("quiet", True)
        self.table = LesionTable()
        self.buttons = {
            name: tool_button(f"lesion_{name}", tip, tip, text, checkable=name in TOOLS)
            for name, (text, tip) in {**TOOLS, **EDITS}.items()
        }
        self.drawing_panel = DrawingPanel()
        self._class_combo = named(NoWheelComboBox(), "lesion_target", "Class of interest", CLASS_TIP)
        self._class_combo.setPlaceholderText("Choose a class")
        self._class_row = row(QLabel("Areas of"), self._class_combo, stretch=1)
        self._table_area = column(self.table)
        first, second = (row(*(self.buttons[name] for name in names)) for names in BUTTON_ROWS)
        self._edit_rows = column(first, second)
        # Last, what comes and goes
        self.add(self._class_row, self._edit_rows, self._table_area, self.summary_label, self.drawing_panel)
        self.column.addStretch(1)
        session.services.tool_buttons += [self.buttons[name] for name in TOOLS]
        for name, icon in (("draw", "polygon_lasso"), ("refine", "picker")):
            session.services.icons.add(self.buttons[name], icon)
        self.add_history_shortcuts()
        self._connect()
        self._connect_tools()
        self._on_lesions(self._document.value)

    def toggle_tool(self, name: str) -> None:
        """Start drawing or refining, or stop it."""
        self.buttons["draw" if name == "draw" else "refine"].click()

    def _connect(self) -> None:
        session, annotations = self.session, self.session.annotations
        for signal, slot in (
            (self._document.changed, self._on_lesions),
            (self._document.saved, self._on_saved),
            (annotations.changed, self._update_texts),
            (session.selected_lesions.changed, self._on_selection),
            (session.results.changed, self._update_texts),
        ):
            self.follow(signal, slot)
        slots: dict[str, Callable[[], object]] = {
            "merge": partial(self._edit, merge_lesions),
            "class": partial(self._edit, _switch_classes),
            "remove": partial(self._edit, _remove),
            "split": self._on_split,
            "undo": annotations.undo,
            "redo": annotations.redo,
        }
        for name, action in slots.items():
            self.buttons[name].clicked.connect(lambda _=False, action=action: action())
        self._class_combo.activated.connect(
            lambda _: session.results.target_selected.emit(str(self._class_combo.currentData()))
        )
        self.follow(session.services.icons.changed, self._on_theme)
        self._on_theme()
        self.table.chosen.connect(self._on_chosen)
        self.table.key_pressed.connect(lambda _: self._edit(_remove))
        session.part(LesionOutlines).split_line_drawn.connect(self._on_split_line)

    def _on_theme(self) -> None:
        self.table.table_model.is_dark = self.session.services.icons.palette.dark
        self.table.viewport().update()

    def _connect_tools(self) -> None:
        drawing, panel = self._drawing, self.drawing_panel
        drawing.mode, drawing.label = panel.mode, panel.label
        panel.mode_changed.connect(lambda: drawing.set_mode(panel.mode))
        panel.class_changed.connect(lambda: drawing.set_label(panel.label))
        drawing.tool_changed.connect(self._show_drawing)
        drawing.rejected.connect(panel.show_rejection)
        self.buttons["draw"].toggled.connect(self._on_draw)
        self.buttons["refine"].toggled.connect(self._on_refine)
        self._clicks.clicked.connect(self._on_click)
        self._clicks.left.connect(partial(self.buttons["refine"].setChecked, False))
        self.follow(self.session.displayed.changed, lambda _: self.buttons["refine"].setChecked(False))
        self._show_drawing(drawing.tool)

    def _on_lesions(self, state: LesionState | None) -> None:
        """Show other lesions; those that no longer exist are deselected."""
        lesions, target = ((), "") if state is None else (state.lesions, state.source.target)
        selected, known = self.session.selected_lesions, {lesion.index: lesion.polygons for lesion in lesions}
        previous, self._shown = self._shown, state
        if state is not None and previous is not None and not state.has_numbers_of(previous):
            before = {lesion.index: lesion.polygons for lesion in previous.lesions}
            known = {index: outline for index, outline in known.items() if before.get(index) == outline}
        kept = tuple(index for index in selected.value if index in known)
        self.table.show_lesions(lesions, target, kept)
        if kept != selected.value:
            selected.set(kept)
        if state is None:
            self.buttons["refine"].setChecked(False)
        self._update_texts()

    def _on_selection(self, selected: tuple[int, ...]) -> None:
        self.table.select(selected)
        self._update_texts()

    def _update_texts(self, _: object = None) -> None:
        """Update the summary and the buttons that are possible; hide predicted numbers that are not valid."""
        document, results, annotations = self._document, self.session.results.value, self.session.annotations
        has_lesions, count = document.value is not None, len(self.session.selected_lesions.value)
        self._update_class(results, target := "" if document.value is None else document.value.source.target)
        is_lesion = is_lesion_area(target)
        self.drawing_panel.show_classes(is_lesion)
        summary = describe_lesions(document.value, results, is_corrected=document.is_corrected)
        self.summary_label.setText(summary)
        self.summary_label.setVisible(bool(summary) and results.shows_numbers)
        self._table_area.setVisible(results.shows_numbers)
        self.table.setVisible(has_lesions)
        self._edit_rows.setVisible(has_lesions)
        for name in TOOLS:
            self.buttons[name].setEnabled(has_lesions)
        self.buttons["merge"].setEnabled(count > 1)
        self.buttons["split"].setEnabled(count == 1)
        self.buttons["class"].setEnabled(count > 0 and is_lesion)
        self.buttons["remove"].setEnabled(count > 0)
        self.buttons["undo"].setEnabled(annotations.can_undo)
        self.buttons["redo"].setEnabled(annotations.can_redo)

    def _update_class(self, results: AnalysisResults, target: str) -> None:
        """List the classes of the results, and select the one whose areas are listed."""
        heat, background = results.heatmap, (results.content.get("class_map") or {}).get("background")
        classes = [] if heat is None or not results.has_classes else [one for one in heat.classes if one != background]
        if classes != [self._class_combo.itemData(index) for index in range(self._class_combo.count())]:
            self._class_combo.clear()
            for name in classes:
                self._class_combo.addItem(format_class(name), name)
        self._class_combo.setCurrentIndex(self._class_combo.findData(target))
        self._class_row.setVisible(results.shows_numbers and len(classes) > 1)

    def _on_chosen(self, indices: tuple[int, ...]) -> None:
        """Select the lesions of the selected rows, and zoom to a single one."""
        self.session.selected_lesions.set(indices)
        state = self._document.value
        for lesion in () if state is None or len(indices) != 1 else state.lesions:
            if lesion.index in indices:
                zoom_to_polygons(self.session.services.viewer, self.session.slide, lesion.polygons)

    def _edit(self, edit: SelectionEdit) -> None:
        if selected := self.session.selected_lesions.value:
            self._document.edit(lambda lesions, maps, config: edit(lesions, selected, maps, config), selected)

    def _on_split(self) -> None:
        """Let the user draw a line across the selected lesion."""
        self.session.part(LesionOutlines).start_split()

    def _on_split_line(self, line: NDArray[np.float64]) -> None:
        selected = self.session.selected_lesions.value
        if len(selected) == 1:
            self._edit(lambda lesions, indices, maps, config: split_lesion(lesions, indices[0], line, maps, config))

    def _on_draw(self, on: bool) -> None:
        """Start or stop drawing; ask before an outline that is not a lesion yet is discarded."""
        drawing = self._drawing
        if on == bool(drawing.tool):
            return
        if not on and drawing.has_rejected_outline:
            question, details = "Discard the outline that you drew?", f"It is not a lesion yet: {drawing.rejection}"
            box = create_question(self.session.services.window, "drop_outline", question, details, "Slide")
            box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole).setObjectName("drop")
            box.setDefaultButton(box.addButton("Keep", QMessageBox.ButtonRole.RejectRole))
            pressed = exec_question(box)
            if pressed is None or pressed.objectName() != "drop":
                self._show_drawing(drawing.tool)
                return
        drawing.set_tool("draw" if on else "")

    def _show_drawing(self, tool: str) -> None:
        self.buttons["draw"].setChecked(bool(tool))
        self.drawing_panel.setVisible(bool(tool))

    def _on_refine(self, on: bool) -> None:
        """Start or stop refining the outlines of lesions by clicks; each click is one undo step."""
        session = self.session
        if not on:
            self._clicks.stop()
            session.services.status.end_message(CLICK_HINT)
        elif self._document.value is None:
            self.buttons["refine"].setChecked(False)
        else:
            keys = {"Control-Z": session.annotations.undo, "Control-Shift-Z": session.annotations.redo}
            self._clicks.start(session.slide, keys)
            session.services.status.show_message(CLICK_HINT)

    def _on_click(self, click: OutlineClick) -> None:
        selected = self.session.selected_lesions.value
        self._document.edit(
            lambda lesions, maps, config: refine_lesion(lesions, selected, click, maps, config), selected
        )

    def _on_saved(self) -> None:
        state, services = self._document.value, self.session.services
        if state is not None:
            folder, text = state.source.folder, services.status.text
            step = f"{text} " if text.startswith(STEP_TEXTS) else ""  # what was undone stays stated
            services.status.show_message(f"{step}Saved in {services.icons.link(folder.as_uri(), folder.name)}.")


def _remove(lesions: Lesions, selected: tuple[int, ...], maps: LesionMaps, config: LesionConfig) -> Lesions:
    return reduce(remove_lesion, selected, lesions)


def _switch_classes(lesions: Lesions, selected: tuple[int, ...], maps: LesionMaps, config: LesionConfig) -> Lesions:
    labels = {lesion.index: lesion.label for lesion in lesions}
    for index in selected:
        lesions = set_lesion_class(lesions, index, "benign" if labels[index] == "malignant" else "malignant")
    return lesions


class LesionTableModel(RowTableModel["SlideLesion", int]):
    """Table model of lesions; ``target``: class of the probabilities; ``is_dark``: whether the theme is."""

    columns: tuple[Column, ...] = (
        Column("#", "Number: malignant lesions first, the largest first"),
        Column(
            "Class",
            "Malignant or benign, if the model distinguishes them; an asterisk marks lesions that you drew or changed",
        ),
        Column(
            "Prob.",
            "Probability that the lesion is malignant, for benign lesions too; if the model does not distinguish "
            "these, of the class that the heatmap shows",
            largest_first=True,
        ),
        Column(AREA_TITLE, "Area; in mm² if the slide has a scale", largest_first=True),
        Column("Tissue", "Share of the slide's tissue", largest_first=True),
    )

    def __init__(self) -> None:
        super().__init__()
        self.target = ""
        self.is_dark = True

    def set_unit(self, *, has_scale: bool) -> None:
        """Name the unit of the areas in the title of their column."""
        title = AREA_TITLE if has_scale else AREA_PX_TITLE
        *first, area, last = type(self).columns
        self.columns = (*first, area._replace(title=title), last)

    def row_id(self, row: SlideLesion) -> int:
        return row.index

    def sort_key(self, row: SlideLesion, column: int) -> tuple[bool, object]:
        return sort_key(row, column)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return text, color, alignment or tooltip of a cell."""
        lesion, is_class = self.rows[index.row()], index.column() == CLASS_COLUMN
        if role == Qt.ItemDataRole.DisplayRole:
            return format_cells(lesion)[index.column()]
        if role == Qt.ItemDataRole.ForegroundRole and is_class:
            color = label_color(lesion.label)
            return color if self.is_dark else color.darker(TEXT_DARKER)
        if role == Qt.ItemDataRole.TextAlignmentRole and not is_class:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return describe_lesion(lesion, self.target)
        return None


class LesionTable(RowTable["SlideLesion", int]):
    """Table of lesions; several can be selected."""

    table_model: LesionTableModel

    def __init__(self) -> None:
        super().__init__(LesionTableModel(), least_rows=1)
        named(self, "lesion_table", "Lesions of the slide").setToolTip("")
        header = self.horizontalHeader()
        header.setMinimumSectionSize(24)
        for number, width in WIDTHS.items():
            header.resizeSection(number, width)
        header.setSectionResizeMode(CLASS_COLUMN, QHeaderView.ResizeMode.Stretch)

    def show_lesions(self, lesions: Sequence[SlideLesion], target: str, selected: Sequence[int]) -> None:
        """Show lesions; ``target``: class of the probabilities."""
        self.table_model.target = target
        self.table_model.set_unit(has_scale=all(one.area_mm2 is not None for one in lesions))
        self.show_rows(lesions, selected)


class DrawingPanel(QFrame):
    """Select the class and the drawing tool of the next lesion; hidden while no lesion is drawn."""

    class_changed = Signal()
    mode_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "notice", "Draw a lesion").setToolTip("")
        tip = "Class of the drawn lesion. 'from the model' uses the predicted probability of the tiles that it covers."
        self._classes = named(NoWheelComboBox(), "draw_class", "Class of the drawn lesion", tip)
        for value, text in CLASSES.items():
            self._classes.addItem(text, value)
        self._tools = named(NoWheelComboBox(), "draw_tool", "How to draw", "How to draw")
        for mode, (text, _) in DRAWING_MODES.items():
            self._tools.addItem(text, mode)
        self._hint_label = named(WrappedLabel(), "draw_hint", "How to draw")  # a plain one is squeezed
        self._hint_label.setProperty("quiet", True)
        self._hint_label.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.setSpacing(4)
        self._class_row = row(QLabel("Class"), self._classes, stretch=1)
        layout.addWidget(self._class_row)
        layout.addWidget(row(QLabel("Draw"), self._tools, stretch=1))
        layout.addWidget(self._hint_label)
        self._classes.currentIndexChanged.connect(self.class_changed)
        self._tools.currentIndexChanged.connect(self._on_tool)
        self.show_rejection("")
        self.hide()

    @property
    def label(self) -> LesionClass | None:
        """Malignant or benign; None for the class that the model predicts."""
        label: LesionClass | None = self._classes.currentData() or None
        return label

    def show_classes(self, shown: bool) -> None:
        """Offer to choose malignant or benign, or use the class of the listed areas."""
        self._class_row.setVisible(shown)
        if not shown:
            self._classes.setCurrentIndex(0)

    @property
    def mode(self) -> str:
        """Mode of napari's Shapes layer."""
        return str(self._tools.currentData())

    def show_rejection(self, reason: str) -> None:
        """Show why an outline is not a lesion yet; if ``reason`` is empty, show how to draw."""
        hint = f"{DRAWING_MODES[self.mode][1]} Hold the space bar to pan. Press Draw again to stop."
        self._hint_label.setText(REJECTED_OUTLINE.format(reason) if reason else hint)

    def _on_tool(self, _: int) -> None:
        self.show_rejection("")
        self.mode_changed.emit()
