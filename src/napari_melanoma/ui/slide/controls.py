"""The controls of the Slide dock and their layout."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMenu, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.reports.export_formats import FORMATS
from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.session.run_status import NO_SLIDE, RUNNING, SlideRunPanel
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.slide.context import SlideContext
from napari_melanoma.ui.slide.model_picker import SlideModelPicker
from napari_melanoma.ui.slide.options import SlideOptionsController
from napari_melanoma.ui.slide.run_manager import SlideRunManager
from napari_melanoma.ui.slide.scale_panel import SlideScalePanel
from napari_melanoma.ui.slide.slide_picker import SlideMetadataLabel, SlidePicker
from napari_melanoma.ui.viewer.docking import DeferredWidgets, DockPlacement
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, describe_set_scale, slide_display_name
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.file_drop import FileDropHandler, Welcome
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import (
    READING,
    CollapsibleSection,
    KeptRoom,
    ThemedIcons,
    WrappedLabel,
    column,
    fill_column,
    form_layout,
    named,
    quiet_label,
    remember_height,
    row,
    scroll_area,
    section,
    section_title,
    show_text,
    tool_button,
)

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.slides.options import SlideOptions

IMPORT = "import"  # the entry of the export menu
ANALYZE_KEY, VIEW_KEY = format_key("slide.analyse"), format_key("slide.analyse_view")
ROWS_PX = 7  # between two rows
HOSTED = "hosted"  # property of the frames of sections that were added
DEFAULT_SECTIONS = ("Paint", "Measure", "Depth", "Report", "Regions")  # with those of plug-ins
RESULT_SECTIONS = ("Heatmap", "Lesions")
ANALYSIS_SECTIONS = ("Analysis", *RESULT_SECTIONS, "Risk")


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
        fill_column(self, row(QLabel("results of"), self._combo, stretch=1))
        self.hide()

    def show_view(self, is_view: bool) -> None:
        """Select the results of the view, or of the whole slide."""
        self._combo.setCurrentIndex(int(is_view))


class SlideControls(SectionDock):
    """The widgets of the Slide dock; ``export_requested``: kind of the export (``EXPORTS``), or ``IMPORT``."""

    export_requested = Signal(str)
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
        self.blocker_label = named(quiet_label(), "analysis_blocker", "Why the slide cannot be analyzed")
        self.blocker_label.setTextFormat(Qt.TextFormat.PlainText)
        self.analyze_view_button = tool_button("analyse_view", "Analyze the view", "", "view only")
        self.result_choice = ResultChoice()
        self.run_panel = SlideRunPanel()
        self.save_button = named(QPushButton("Save"), "save", "Save the lesions")
        self.export_button = create_export_button(self.export_requested.emit)
        self.folder_button = tool_button(
            "save_folder", "Choose the folder", "Choose the folder for results", "folder ..."
        )
        self.report_button = tool_button(
            "slide_report", "Report", "Write a report of what is stored for the slide (HTML, optionally PDF)", "Report"
        )
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
        # A scroll bar that appears only when needed changes width and height of the content, and may flicker.
        always, needed = Qt.ScrollBarPolicy.ScrollBarAlwaysOn, Qt.ScrollBarPolicy.ScrollBarAsNeeded
        self.content_scroll.setVerticalScrollBarPolicy(always if has_slide else needed)
        is_open = has_slide and not self.waiting.is_opening
        self._reading_label.setVisible(not (is_known or self._is_work_visible))
        self._work_area.setVisible(is_open)
        self._set_work_visible(is_open and (is_known or self._is_work_visible))
        self._files.setVisible(has_slide)

    def list_tabs(self) -> dict[str, tuple[QWidget, ...]]:
        """Return the parts of the dock that each tab of the reading mode shows, by the title of section or group."""
        views, analysis, (prediction, heatmap, lesions, *others) = self._grouped_widgets
        tabs: dict[str, tuple[QWidget, ...]] = {"Slide": (self.picker, self.scale_panel)}
        tabs |= {section_title(part): (part,) for part in views}
        tabs |= {"Analysis": analysis, "Results": (prediction, heatmap, lesions)}
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
        """Enable the buttons to analyze.

        ``blocker``: why the slide cannot be analyzed, which disables them and is stated below them, except a run, which
        has its own place; empty if it can.
        """
        show_text(self.blocker_label, "" if blocker in (RUNNING, NO_SLIDE) else blocker)
        self.analyze_button.setEnabled(not blocker)
        self.analyze_button.setText("Analyze again" if has_results else "Analyze")
        action = "Detect tissue, predict each tile and detect lesions, in the background"
        self.analyze_button.setToolTip(blocker or f"{action} ({ANALYZE_KEY})")
        self.analyze_view_button.setEnabled(not blocker)
        action = "Analyze only the view; its results are stored next to those of the whole slide"
        self.analyze_view_button.setToolTip(blocker or f"{action} ({VIEW_KEY})")

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
        if slide is not None:
            name, show = html.escape(slide_display_name(slide.info)), self.icons.link("show", "Show the slide")
            self.hidden_notice.setText(f"'{name}' is hidden, and so are its results. {show}.")
        self.hidden_notice.setVisible(is_hidden)
        self._show_group(self._groups[-1])

    def _lay_out(self) -> None:
        """Lay out the controls in a scroll area, with Save and the status line below it."""
        self._work_area = self._create_work_area()
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(6, 6, 6, 6)
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
        self._files = row(self.save_button, self.export_button, self.report_button, self.folder_button, stretch=0)
        foot = QWidget()
        below = QVBoxLayout(foot)
        below.setContentsMargins(6, 0, 6, 6)
        below.addStretch(0)
        for widget in (self.notice, self.hidden_notice, self.picker.warning_label, self._files, self.status):
            below.addWidget(widget)  # texts that come and go move nothing here
        self.body = QWidget()
        rows = QVBoxLayout(self.body)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        rows.addWidget(self.content_scroll, 1)
        rows.addWidget(foot)
        whole = QHBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self.body)

    def _create_work_area(self) -> QWidget:
        models = QWidget()
        rows = form_layout(models)
        label = QLabel("model")
        rows.addRow(label, self.model_picker)
        self.overview_section = section("Overview", "overview_section", None, self.settings, True)
        sections = (
            self.overview_section,
            section("File metadata", "facts_section", self.metadata_label, self.settings, False),
            section("Tissue", "slide_tissue_section", None, self.settings, False),
        )
        self._create_lazy_sections()
        views = (self.display_section, self.measurement_section, self.side_by_side_section)
        self.prediction_area = KeptRoom()
        remember_height(self.prediction_area, "slide_prediction", self.settings)
        results = (
            self.prediction_area,
            section("Heatmap", "slide_heatmap_section", None, self.settings, True),
            section("Lesions", "slide_lesions_section", None, self.settings, True),
        )
        buttons = column(
            row(self.analyze_button, self.analyze_view_button, stretch=0), self.blocker_label, self.result_choice
        )
        self.analyze_view_button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        analysis = column(models, self.options_section, buttons, self.run_panel, spacing=ROWS_PX)
        self.analysis_section = section("Analysis", "slide_analysis_section", analysis, self.settings, True)
        self._grouped_widgets = (
            (self.paint_section, *sections, *views),
            (self.analysis_section,),
            # Last, a section that appears when its file has been read
            (*results, self.depth_section, self.synoptic_section, self.regions_section, self.risk_section),
        )
        self._groups = tuple(column(spacing=ROWS_PX) for _ in self._grouped_widgets)
        self.icons.add_sections(
            self.options_section,
            *(part for group in self._grouped_widgets for part in group if isinstance(part, CollapsibleSection)),
        )
        self.hidden_notice = named(WrappedLabel(), "slide_hidden", "Hidden slide")
        self.hidden_notice.setToolTip("")
        self.hidden_notice.hide()
        self.hidden_notice.linkActivated.connect(lambda _: self.picker.show_selected())
        self.picker.visibility_changed.connect(lambda: self.show_visibility(self.picker.slide))
        self.choice = SectionChoice(self)
        self._reading_label = named(quiet_label(READING), "slide_reading", "State of the slide")
        parts = (self.picker, self.scale_panel, self._reading_label, *self._groups, row(self.choice.button))
        return column(*parts, spacing=ROWS_PX)

    def _create_lazy_sections(self) -> None:
        """Create the sections that are filled when they are first opened."""
        self.paint_section = section("Paint", "slide_paint_section", None, self.settings, False)
        self.measurement_section = section("Measure", "slide_measure_section", None, self.settings, False)
        self.display_section = section("Display", "slide_display_section", None, self.settings, False)
        self.side_by_side_section = section("Side by side", "slide_side_by_side_section", None, self.settings, False)
        self.options_section = section("Options", "slide_options_section", None, self.settings, False)
        self.depth_section = section("Depth", "slide_depth_section", None, self.settings, False)
        self.synoptic_section = section("Report", "slide_synoptic_section", None, self.settings, False)
        self.risk_section = section("Risk", "slide_risk_section", None, self.settings, False)
        self.regions_section = section("Regions", "slide_regions_section", None, self.settings, False)


def create_export_button(on_export: Callable[[str], None]) -> QToolButton:
    """Create the button with its menu; ``on_export``: called with the kind of the export, or with ``IMPORT``."""
    button = tool_button("export", "Export", text="Export")
    menu = QMenu(button)
    entries = {kind: f"{one.title} ..." for kind, one in FORMATS.items()}
    for kind, text in {**entries, IMPORT: "Import outlines (GeoJSON, DICOM SR) ..."}.items():
        if kind == IMPORT:
            menu.addSeparator()
        action = menu.addAction(text)
        action.setObjectName(f"export_{kind}")
        action.triggered.connect(lambda _=False, kind=kind: on_export(kind))
    menu.setToolTipsVisible(True)
    button.setMenu(menu)
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    return button
