"""The controls of the Slide dock and their layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.core.formatting import shorten_name
from napari_melanoma.reports.export_formats import FORMATS
from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.session.run_status import SlideRunPanel
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.slide.context import SlideContext
from napari_melanoma.ui.slide.model_picker import SlideModelPicker
from napari_melanoma.ui.slide.options import SlideOptionsController
from napari_melanoma.ui.slide.run_manager import SlideRunManager
from napari_melanoma.ui.slide.scale_panel import SlideScalePanel
from napari_melanoma.ui.slide.slide_picker import SlideMetadataLabel, SlidePicker
from napari_melanoma.ui.viewer.docking import DeferredWidgets, DockPlacement
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, describe_set_scale
from napari_melanoma.ui.widgets.dock_layout import (
    MARGIN_PX,
    AnswerCard,
    DockParts,
    SummarySection,
    lay_out_dock,
    menu_button,
)
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.file_drop import FileDropHandler, Welcome
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import (
    CollapsibleSection,
    KeptRoom,
    ThemedIcons,
    WrappedLabel,
    column,
    fill_column,
    form_layout,
    named,
    row,
    scroll_area,
    section,
    section_title,
    state_label,
    tool_button,
)

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.slides.options import SlideOptions

IMPORT = "import"  # the entry of the menu that imports outlines
ANALYZE_KEY, VIEW_KEY = format_key("slide.analyse"), format_key("slide.analyse_view")
ROWS_PX = 7  # between two rows
HOSTED = "hosted"  # property of the frames of sections that were added
DEFAULT_SECTIONS = ("Paint", "Measure", "Depth", "Report", "Regions")  # with those of plug-ins
RESULT_SECTIONS = ("Heatmap", "Lesions")
ANALYSIS_SECTIONS = (*RESULT_SECTIONS, "Risk")


class SlideWelcome(Welcome):
    """Drop area for slides, with links to open a file or the sample slide."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__(icons)
        named(self, "welcome", "Drop a slide here", "Slides as SVS, NDPI, MRXS, DICOM, OME-TIFF, OME-Zarr ...")

    def _update_text(self) -> None:
        open_, sample = self._icons.link("open", "open one"), self._icons.link("sample", "try the sample slide")
        self._label.setText(
            f"<p style='font-size: 14pt'>Drop a slide here,</p><p style='font-size: 11pt'>{open_}, or {sample}.</p>"
        )


class ResultChoice(QWidget):
    """Choice between the results of the whole slide and of the view; ``activated``: index of the selected ones."""

    activated = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        tip = "Which results are shown; both are stored separately"
        self._combo = named(NoWheelComboBox(), "slide_scope", "Results of", tip)
        self._combo.addItems(("the whole slide", "the view"))
        self._combo.activated.connect(self.activated)
        fill_column(self, row(QLabel("Results of"), self._combo, stretch=1))
        self.hide()

    @property
    def text(self) -> str:
        """What is selected; empty if there is nothing to choose."""
        return "" if self.isHidden() else f"results of {self._combo.currentText()}"

    def show_view(self, is_view: bool) -> None:
        """Select the results of the view, or of the whole slide."""
        self._combo.setCurrentIndex(int(is_view))


class SlideControls(SectionDock):
    """The widgets of the Slide dock.

    ``export_requested``: kind of the export (``EXPORTS``), or ``IMPORT``. ``report_requested``, ``folder_requested``:
    other entries of the menu *Share*. ``visibility_changed``: the results of the slide are hidden, or shown again.
    """

    export_requested = Signal(str)
    report_requested = Signal()
    folder_requested = Signal()
    visibility_changed = Signal()
    name = "slide"
    first_sections = ("Paint",)
    _grouped_widgets: tuple[tuple[QWidget, ...], ...]
    _groups: tuple[QWidget, ...]

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "slide_dock", "Slide")
        self.setToolTip("")
        self._is_work_visible = False  # whether the controls for a slide are shown, or will be shown shortly
        self._is_slide_hidden = False  # such as by a photograph: the results of the slide are hidden, too
        self.settings = DockSettings()
        self.connections = Connections(self)
        DockPlacement(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.notice = named(WrappedLabel(), "at_work", "Slides that are being analyzed")
        self.notice.setToolTip("")
        self.notice.hide()
        self.welcome = SlideWelcome(self.icons)
        self.picker = SlidePicker(viewer, self.icons, self.connections)
        self.scale_panel = SlideScalePanel(viewer, self.settings)
        self.metadata_label = SlideMetadataLabel()
        self.model_picker = SlideModelPicker(self.icons)
        self.analyze_button = named(QPushButton("Analyze"), "primary", "Analyze")
        self.analyze_view_button = tool_button("analyse_view", "Analyze the view", "", "View only")
        self.answer = AnswerCard("slide_answer", "Findings of the slide", lines=3)
        self.blocker_label = state_label("analysis_blocker", "Why the slide cannot be analyzed", quiet=True)
        self.blocker_label.hide()
        self.result_choice = ResultChoice()
        self.run_panel = SlideRunPanel()
        self.save_button = named(QPushButton("Save"), "save", "Save the lesions")
        self.share_button = create_share_button(self)
        self.status = StatusLine(self.icons)
        self.waiting = DeferredWidgets(self)
        self.run_manager = SlideRunManager(self, self.settings)
        self.context = SlideContext(
            self,
            viewer,
            settings=self.settings,
            icons=self.icons,
            connections=self.connections,
            status=self.status,
            waiting=self.waiting,
            run_manager=self.run_manager,
        )
        self.context.tool_buttons.append(self.picker.scale_button)
        self._lay_out()
        self.options_controller = SlideOptionsController(
            self.options_section, self.model_picker, self.settings, self.icons
        )
        self.drops = FileDropHandler(self, self.waiting.holder)
        self.icons.apply()

    def get_options(self, session: SlideSession) -> SlideOptions:
        """Return the options that the controls show for a slide, with its patient data."""
        from napari_melanoma.ui.session.lesions import make_lesion_config

        size, options = session.slide.info.pixel_size, self.options_controller.get_options()
        values = {
            "model": self.model_picker.model,
            **describe_set_scale(size),
            "tissue": options.tissue.model_copy(update={"method": session.tissue.value.method}),
            "lesions": make_lesion_config(session.heatmap_display.value.threshold),
            "patient": session.patient_data.row,
        }
        return options.model_copy(update=values)

    def show_slide_controls(self, has_slide: bool, *, is_known: bool) -> None:
        """Show the controls for a slide, or the drop area.

        ``is_known``: its results were found, which decides the sections. Those of a previous slide stay until then.
        """
        self.welcome.setVisible(not has_slide)
        self._head.setVisible(has_slide and not self.waiting.is_opening)
        # A scroll bar that appears only when needed changes width and height of the content, and may flicker.
        always, needed = Qt.ScrollBarPolicy.ScrollBarAlwaysOn, Qt.ScrollBarPolicy.ScrollBarAsNeeded
        self.content_scroll.setVerticalScrollBarPolicy(always if has_slide else needed)
        is_open = has_slide and not self.waiting.is_opening
        self._work_area.setVisible(is_open)
        self._set_work_visible(is_open and (is_known or self._is_work_visible))
        self._files.setVisible(has_slide)

    def list_tabs(self) -> dict[str, tuple[QWidget, ...]]:
        """Return the parts of the dock that each tab of the reading mode shows, by the title of section or group."""
        views, (prediction, heatmap, lesions, *others) = self._grouped_widgets
        tabs: dict[str, tuple[QWidget, ...]] = {"Slide": (self.picker,)}
        tabs |= {section_title(part): (part,) for part in views}
        tabs |= {"Analysis": (*self._act, self.options_section), "Results": (prediction, heatmap, lesions)}
        return tabs | {section_title(part): (part,) for part in others}

    def list_places(self) -> dict[str, QWidget]:
        """Return the frames of the sections by title, from top to bottom."""
        parts = (part for group in self._grouped_widgets for part in group)
        frames = {section_title(part): part for part in parts if isinstance(part, CollapsibleSection)}
        return {**frames, "Prediction": self.prediction_area}

    def list_default(self) -> set[str]:
        """Return the titles of the sections that are always shown.

        Those of an analysis are among them on a sample slide, and with the first model that is not a demonstration.
        """
        session = self.context.session
        is_sample = session is not None and session.location.is_phantom
        added = {title for title, frame in self.list_places().items() if frame.property(HOSTED) is True}
        analysis = ANALYSIS_SECTIONS if is_sample or self.model_picker.has_own_models else ()
        if session is not None and (session.location.is_analyzed or session.location.is_view_analyzed):
            analysis = (*analysis, *RESULT_SECTIONS)  # before the results are read: nothing is inserted later
        return {*DEFAULT_SECTIONS, *added, *analysis}

    def add_section(self, frame: CollapsibleSection) -> None:
        """Add a section below the others, which stay where they are."""
        self.icons.add_sections(frame)
        *others, last = self._grouped_widgets
        frame.setProperty(HOSTED, True)
        self._grouped_widgets = (*others, (*last, frame))
        self.waiting.add_widget(frame, self._groups[-1].layout().addWidget)
        self.waiting.run_after()

    def update_analyze_buttons(self, blocker: str, has_results: bool) -> None:
        """Enable the buttons to analyze; ``blocker``: why the slide cannot be analyzed, empty if it can."""
        self.analyze_button.setEnabled(not blocker)
        self.analyze_button.setText("Analyze again" if has_results else "Analyze")
        action = "Detect tissue, predict each tile and detect lesions, in the background"
        self.analyze_button.setToolTip(blocker or f"{action} ({ANALYZE_KEY})")
        self.analyze_view_button.setEnabled(not blocker)
        action = "Analyze only the view; its results are stored next to those of the whole slide"
        self.analyze_view_button.setToolTip(blocker or f"{action} ({VIEW_KEY})")

    def show_folder(self, folder: Path) -> None:
        """State where the results of the slide are, in the entry that chooses the folder."""
        entry = self.share_button.menu().findChild(QAction, "save_folder")
        entry.setToolTip(f"Choose the folder for results. Those of this slide: {folder}")

    def show_setup(self) -> None:
        """State the model, its options and the choice of results in the line above their controls."""
        count = self.options_controller.change_count
        options = "" if not count else "1 option changed" if count == 1 else f"{count} options changed"
        self.setup_rows.set_summary(
            (shorten_name(Path(self.model_picker.model).name), options, self.result_choice.text)
        )

    def _set_work_visible(self, visible: bool) -> None:
        """Show the controls for a slide group by group, because Qt takes long to show so many widgets."""
        if visible and not self._is_work_visible:
            self.waiting.run_after(*(partial(self._show_group, group) for group in self._groups))
        elif not visible:
            for group in self._groups:
                group.hide()
        self._is_work_visible = visible

    def _show_group(self, group: QWidget) -> None:
        group.setVisible(self._is_work_visible and not (self._is_slide_hidden and group is self._groups[-1]))

    def show_visibility(self, slide: ViewerSlide | None) -> None:
        """Hide the results of a slide that is not in view, such as behind a photograph."""
        is_hidden = slide is not None and not slide.is_shown
        if is_hidden == self._is_slide_hidden:
            return
        self._is_slide_hidden = is_hidden
        if is_hidden:
            self.status.clear()  # the message is about the slide
        self.visibility_changed.emit()
        self._show_group(self._groups[-1])

    @property
    def is_slide_hidden(self) -> bool:
        """Whether the displayed slide is hidden, such as by a photograph."""
        return self._is_slide_hidden

    def show_head(self, *, only_answer: bool) -> None:
        """Show what is above the sections, or the answer only, while tabs have the other parts."""
        for area in (self._subject_area, self._act_area):
            area.setVisible(not only_answer)

    def _lay_out(self) -> None:
        """Lay out the dock: the sections scroll, and everything else is pinned."""
        self._create_head()
        self._work_area = self._create_work_area()
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(MARGIN_PX, 2, MARGIN_PX, MARGIN_PX)
        column.addWidget(self.welcome)
        column.addStretch(1)
        self._work_area.hide()
        self.waiting.add_widget(self._work_area, lambda work: column.insertWidget(1, work))
        for group, parts in zip(self._groups, self._grouped_widgets, strict=True):
            group.hide()
            for part in parts:
                self.waiting.add_widget(part, group.layout().addWidget)
        self.choice.update()
        self.content_scroll = scroll_area(page, "slide_scroll")
        self._files = row(self.save_button, self.share_button, stretch=0)
        self.body = QWidget()
        layout = DockParts(
            self.content_scroll,
            subject=(self._subject_area,),
            act=(self._act_area,),
            answer=(self.answer,),
            notices=(self.scale_panel, self.blocker_label, self.run_panel, self.notice, self.picker.warning_label),
            footer=(self._files, self.status),
        )
        self._head, _ = lay_out_dock(self.body, layout)
        self._head.hide()
        whole = QHBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.body)

    def _create_head(self) -> None:
        """Create what is pinned above the sections, but the answer."""
        models = QWidget()
        form_layout(models).addRow(QLabel("Model"), self.model_picker)
        self.options_section = section("Options", "slide_options_section", None, self.settings, False)
        self.setup_rows = SummarySection(
            "Model and options", "slide_setup", self.settings, column(models, self.result_choice)
        )
        if not self.setup_rows.is_expanded:
            self.options_section.hide()
        self.setup_rows.toggled.connect(self._on_setup_toggled)
        self.icons.add_sections(self.options_section, self.setup_rows)
        buttons = row(self.analyze_button, self.analyze_view_button, stretch=0)
        self.analyze_view_button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self._act = (self.setup_rows, buttons)
        self._subject_area, self._act_area = column(), column(spacing=2)
        self.waiting.add_widget(self.picker, self._subject_area.layout().addWidget)
        for part in self._act:
            self.waiting.add_widget(part, self._act_area.layout().addWidget)
        self.picker.visibility_changed.connect(lambda: self.show_visibility(self.picker.slide))

    def _create_work_area(self) -> QWidget:
        self.overview_section = section("Overview", "overview_section", None, self.settings, True)
        sections = (
            self.overview_section,
            section("File metadata", "facts_section", self.metadata_label, self.settings, False),
            section("Tissue", "slide_tissue_section", None, self.settings, False),
        )
        self._create_lazy_sections()
        views = (self.display_section, self.measurement_section, self.side_by_side_section)
        self.prediction_area = KeptRoom()  # of warnings about the results
        results = (
            self.prediction_area,
            section("Heatmap", "slide_heatmap_section", None, self.settings, True),
            section("Lesions", "slide_lesions_section", None, self.settings, True),
        )
        self._grouped_widgets = (
            (self.paint_section, *sections, *views),
            # Last, a section that appears when its file has been read
            (*results, self.depth_section, self.synoptic_section, self.regions_section, self.risk_section),
        )
        self._groups = tuple(column(spacing=ROWS_PX) for _ in self._grouped_widgets)
        self.icons.add_sections(
            *(part for group in self._grouped_widgets for part in group if isinstance(part, CollapsibleSection)),
        )
        self.choice = SectionChoice(self)
        return column(self.options_section, *self._groups, row(self.choice.button), spacing=ROWS_PX)

    def _on_setup_toggled(self, is_open: bool) -> None:
        """Show the options first in the scroll area while the line that sums them up is open."""
        self.options_section.setVisible(is_open)
        if is_open:
            self.content_scroll.verticalScrollBar().setValue(0)

    def _create_lazy_sections(self) -> None:
        """Create the sections that are filled when they are first opened."""
        self.paint_section = section("Paint", "slide_paint_section", None, self.settings, False)
        self.measurement_section = section("Measure", "slide_measure_section", None, self.settings, False)
        self.display_section = section("Display", "slide_display_section", None, self.settings, False)
        self.side_by_side_section = section("Side by side", "slide_side_by_side_section", None, self.settings, False)
        self.depth_section = section("Depth", "slide_depth_section", None, self.settings, False)
        self.synoptic_section = section("Report", "slide_synoptic_section", None, self.settings, False)
        self.risk_section = section("Risk", "slide_risk_section", None, self.settings, False)
        self.regions_section = section("Regions", "slide_regions_section", None, self.settings, False)


def create_share_button(controls: SlideControls) -> QToolButton:
    """Create the button with the menu of all that leaves the dock, or is read into it."""
    exports = {
        f"export_{kind}": (f"{one.title}...", partial(controls.export_requested.emit, kind))
        for kind, one in FORMATS.items()
    }
    entries: dict[str, tuple[str, Callable[[], object]] | None] = {
        "slide_report": ("Report...", controls.report_requested.emit),
        "above_exports": None,
        **exports,
        "below_exports": None,
        f"export_{IMPORT}": (
            "Import outlines (GeoJSON, DICOM SR)...",
            partial(controls.export_requested.emit, IMPORT),
        ),
        "save_folder": ("Folder for results...", controls.folder_requested.emit),
    }
    return menu_button("share", "Share", "", entries)
