"""The controls of the Slide dock in their places: options in and out, nothing started."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_melanoma.ui.slide.analysis import SlideRunPanel
from napari_melanoma.ui.slide.exporting import export_button
from napari_melanoma.ui.slide.heatmap import HeatControls
from napari_melanoma.ui.slide.lesions import LesionTable
from napari_melanoma.ui.slide.magnification import Magnification, Rotation
from napari_melanoma.ui.slide.measuring import SlideScale
from napari_melanoma.ui.slide.models import SlideModelPicker
from napari_melanoma.ui.slide.options import SlideAdvanced
from napari_melanoma.ui.slide.overview import Overview, TileStrip
from napari_melanoma.ui.slide.picker import SlideFacts, SlidePicker
from napari_melanoma.ui.slide.places import Places
from napari_melanoma.ui.slide.tissue import TissueSection
from napari_melanoma.ui.viewer.docking import Docking, Waiting
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.widgets.look import (
    Connections,
    ThemedIcons,
    Words,
    form,
    named,
    quiet,
    row,
    scrolling,
    section,
    tool,
)
from napari_melanoma.ui.widgets.settings import Settings
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.validity import ValidityNotice
from napari_melanoma.ui.widgets.welcome import FileDrops, Welcome

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.reading.slide import SlideInfo

ANALYSE_KEY, VIEW_KEY, SAVE_KEY = (shown_key(f"slide.{name}") for name in ("analyse", "analyse_view", "save"))
EDITS = {
    "draw": ("draw", f"Draw a new lesion on the slide; press again to end ({shown_key('slide.draw')})"),
    "merge": ("merge", "Make one lesion of those that are selected"),
    "split": ("split", "Draw a line across a lesion in the picture: it is cut there"),
    "class": ("class", "Say that the selected lesions are of the other class"),
    "remove": ("remove", "Drop the selected lesions (Delete)"),
    "undo": ("undo", "Take back the last change of lesions"),
    "redo": ("redo", "Do again what was taken back"),
}
ROWS_PX = 7  # between two rows of the dock
NO_LESIONS = "No lesions yet: analyse the slide."
EMPTY = "Nothing is analysed yet. The heatmap appears here while the analysis runs, and sharpens."


class SlideWelcome(Welcome):
    """An area for slides, with links that do what they say: ``open`` and ``sample``."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__(icons)
        named(self, "welcome", "Drop a slide here", "SVS, NDPI, MRXS, DICOM, OME-TIFF, OME-Zarr ...: one or several")

    def _say(self) -> None:
        """Write the invitation in the colours of the theme."""
        open_, sample = self._icons.link("open", "open one"), self._icons.link("sample", "try the sample slide")
        self._words.setText(
            f"<p style='font-size: 14pt'>Drop a slide here,</p><p style='font-size: 11pt'>{open_}, or {sample}.</p>"
        )


class SlideControls(QWidget):
    """What a user sees of the Slide dock."""

    exporting = Signal(str)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "slide_dock", "Slide")
        self.setToolTip("")
        self._wanted = False  # whether what works on a slide is shown, or about to be
        self.settings = Settings()
        self.connections = Connections()
        Docking(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.notice = named(Words(), "at_work", "Slides that are being analysed")
        self.notice.setToolTip("")
        self.notice.hide()
        self.welcome = SlideWelcome(self.icons)
        self.picker = SlidePicker(viewer, self.icons, self.connections)
        self.scale = SlideScale(viewer, self.settings)
        self.facts = SlideFacts()
        self.overview = Overview(self.icons)
        self.magnification = Magnification()
        self.rotation = Rotation()
        self.places = Places(self.icons)
        self.tissue = TissueSection()
        self.model = SlideModelPicker(self.icons)
        self.analyse = named(QPushButton("Analyse"), "primary", "Analyse")
        self.analyse_view = tool("analyse_view", "Analyse what is in view", "", "in view")
        self.run_panel = SlideRunPanel()
        self.heat = HeatControls(self.settings)
        self.strip = TileStrip()
        self.empty = named(quiet(EMPTY), "no_heatmap", "No heatmap yet")
        self.answer = named(Words(), "slide_answer", "Answer about the slide")
        self.cautions = named(Words(), "slide_cautions", "What to know before trusting the answer")
        self.cautions.setProperty("fault", True)
        self.count = named(quiet(NO_LESIONS), "lesion_count", "How many lesions")
        self.table = LesionTable()
        self.edits = {name: tool(f"lesion_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        self.edits["draw"].setCheckable(True)
        for name, arrow in (("undo", "↶"), ("redo", "↷")):
            self.edits[name].setText(arrow)
        self.save = named(QPushButton("Save"), "save", "Save the lesions")
        self.export = export_button(self.exporting.emit)
        self.folder = tool("save_folder", "Choose the folder", "Choose the folder for results", "folder ...")
        self.status = StatusLine(self.icons)
        self.waiting = Waiting(self)
        self._lay_out()
        self.advanced = SlideAdvanced(self)
        self.drops = FileDrops(self, self.waiting.aside)
        self.icons.apply()

    def options(self, info: SlideInfo) -> SlideOptions:
        """Give the options as the controls show them."""
        from napari_melanoma.ui.slide.lesions import config_at

        size, usual = info.pixel_size, self.advanced.options()
        given = size is not None and size.source in ("given", "ruler")
        here = {
            "model": self.model.model,
            "mpp": size.x_um if given and size is not None else None,
            "tissue": usual.tissue.model_copy(update={"method": self.tissue.method}),
            "lesions": config_at(self.heat.threshold),
        }
        return usual.model_copy(update=here)

    def set_options(self, options: SlideOptions) -> None:
        """Show options; nothing is started."""
        self.model.model = options.model
        self.tissue.method = options.tissue.method
        self.heat.threshold = options.lesions.high
        self.advanced.show(options)

    def show_slide(self, known: bool) -> None:
        """Show what works on a slide, or the invitation to open one."""
        self.welcome.setVisible(not known)
        # A bar that comes and goes changes the width, on which heights depend, on which the bar depends.
        always, needed = Qt.ScrollBarPolicy.ScrollBarAlwaysOn, Qt.ScrollBarPolicy.ScrollBarAsNeeded
        self._scroll.setVerticalScrollBarPolicy(always if known else needed)
        self._show_work(known and not self.waiting.is_opening)
        self._files.setVisible(known)

    def show_analyse(self, why_not: str, again: bool) -> None:
        """Show whether the slide can be analysed, and why not where it cannot."""
        self.analyse.setEnabled(not why_not)
        self.analyse.setText("Analyse again" if again else "Analyse")
        does = "Find tissue, ask the model about each tile, find the lesions; you can go on working"
        self.analyse.setToolTip(why_not or f"{does} ({ANALYSE_KEY})")
        self.analyse_view.setEnabled(not why_not)
        beside = "Only what is in view; its results are kept beside those of the whole slide"
        self.analyse_view.setToolTip(why_not or f"{beside} ({VIEW_KEY})")

    def show_found(self, heat: bool, lesions: bool) -> None:
        """Show the parts that are about something that is there."""
        self.empty.setVisible(not heat)
        self._heat_part.setVisible(heat)
        self.table.setVisible(lesions)
        self._edit_row.setVisible(lesions)
        self.edits["draw"].setVisible(lesions)
        if not lesions:
            self.count.setText(NO_LESIONS)

    def _show_numbers(self, shown: bool) -> None:
        """Show what was predicted, or fold it away where it is not valid."""
        for part in (self._numbers, self.count):
            part.setVisible(shown)
        self.strip.show_values(shown)

    def _show_work(self, works: bool) -> None:
        """Show what works on a slide: from the top in several turns, for Qt takes long to show so many widgets."""
        if works and not self._wanted:
            self.waiting.then(*(partial(self._show_group, group) for group in (self._work, *self._groups)))
        elif not works:
            for group in (self._work, *self._groups):
                group.hide()
        self._wanted = works

    def _show_group(self, group: QWidget) -> None:
        group.setVisible(self._wanted)

    def _lay_out(self) -> None:
        """Put everything in its place: what is long scrolls, Save and the status line stay in sight."""
        self._work = self._working_part()
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(self.notice)
        column.addWidget(self.welcome)
        column.addStretch(1)
        self._work.hide()
        self.waiting.hold(self._work, lambda work: column.insertWidget(2, work))
        for group, folds in zip(self._groups, self._folded, strict=True):
            group.hide()
            for fold in folds:
                self.waiting.hold(fold, group.layout().addWidget)
        self._scroll = scrolling(page, "slide_scroll")
        self._files = row(self.save, self.export, self.folder, stretch=0)
        foot = QWidget()
        below = QVBoxLayout(foot)
        below.setContentsMargins(6, 0, 6, 6)
        below.addWidget(self._files)
        below.addWidget(self.status)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(4)
        whole.addWidget(self._scroll, 1)
        whole.addWidget(foot)

    def _working_part(self) -> QWidget:
        models = QWidget()
        rows = form(models)
        label = QLabel("model")
        rows.addRow(label, self.model)
        folds = (
            section(
                "Overview",
                "overview_section",
                _column(self.overview, self.magnification, self.rotation, self.places),
                self.settings,
                True,
            ),
            section("What the file says", "facts_section", self.facts, self.settings, False),
            section("Tissue", "slide_tissue_section", self.tissue, self.settings, False),
        )
        self._heat_part = _column(self.heat, self.strip)
        draw, *others = self.edits.values()
        self._edit_row = row(*others)
        self._edit_row.layout().setSpacing(2)
        self._make_later_folds()
        self.validity = ValidityNotice(self.icons, "slide", self.answer)
        self._numbers = _column(self.table)
        self.validity.shown.connect(self._show_numbers)
        lesions = _column(self.cautions, row(self.count, draw, stretch=0), self._numbers, self._edit_row)
        results = (
            self.validity,
            section("Heatmap", "slide_heatmap_section", _column(self.empty, self._heat_part), self.settings, True),
            section("Lesions", "slide_lesions_section", lesions, self.settings, True),
            self.relation_fold,
        )
        buttons = row(self.analyse, self.analyse_view, stretch=0)
        self.analyse_view.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self._folded: tuple[tuple[QWidget, ...], ...] = (
            (self.worklist_fold, *folds, self.measure_fold, self.beside_fold),
            (models, self.options_fold, buttons, self.run_panel),
            (*results, self.depth_fold, self.risk_fold, self.regions_fold),
        )
        self._groups = tuple(_column(spacing=ROWS_PX) for _ in self._folded)
        self.icons.fold(*(one for group in self._folded for one in group if isinstance(one, QCollapsible)))
        return _column(self.picker, self.scale, *self._groups, spacing=ROWS_PX)

    def _make_later_folds(self) -> None:
        """Make the folds that are filled when they are first opened."""
        self.worklist_fold = section("Slides of a folder", "slide_worklist_section", _column(), self.settings, False)
        self.measure_fold = section("Measure", "slide_measure_section", _column(), self.settings, False)
        self.beside_fold = section("Side by side", "slide_beside_section", _column(), self.settings, False)
        self.options_fold = section("Options", "slide_options_section", _column(), self.settings, False)
        self.depth_fold = section("Depth", "slide_depth_section", _column(), self.settings, False)
        self.risk_fold = section("Risk", "slide_risk_section", _column(), self.settings, False)
        self.regions_fold = section("Regions", "slide_regions_section", _column(), self.settings, False)
        self.relation_fold = section("Area and probability", "slide_relation_section", _column(), self.settings, False)


def _column(*widgets: QWidget, spacing: int = 5) -> QWidget:
    """Put widgets below each other."""
    part = QWidget()
    column = QVBoxLayout(part)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(spacing)
    for widget in widgets:
        column.addWidget(widget)
    return part
