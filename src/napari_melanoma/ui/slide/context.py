"""The context that the sections of the Slide dock share: the displayed slide, its texts and case, and services."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QMainWindow, QWidget

from napari_melanoma.core.geometry import format_scale
from napari_melanoma.slides.reading.slide import NOT_STATED, SlideInfo
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.slide.run_manager import SlideRunManager
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer.camera import find_main_window
from napari_melanoma.ui.viewer.docking import DeferredWidgets
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.status_line import StatusLine, remove_option_hints
from napari_melanoma.ui.widgets.style import ThemedIcons

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.session.slide import SlideSession


class SlideContext(QObject):
    """The displayed slide, and the services and signals that all sections share.

    ``reader_changed``: the new name of the reader, entered in one of the sections. ``flush_requested``: sections must
    apply what is being typed and save pending changes. ``class_key_pressed``: the number of the class to use with the
    active tool. ``analysis_requested``: the name of a model to analyze the slide with. ``slide_requested``: the file of
    a slide to display. ``scale_requested``: the scale is to be set. ``section_requested``: the title of a section to
    show. ``tool_requested``: the name of a tool to start or stop.
    """

    flush_requested = Signal()
    reader_changed = Signal(str)
    class_key_pressed = Signal(int)
    analysis_requested = Signal(str)
    slide_requested = Signal(object)  # Path
    scale_requested = Signal()
    section_requested = Signal(str)
    tool_requested = Signal(str)

    def __init__(
        self,
        dock: QWidget,
        viewer: Viewer,
        *,
        settings: DockSettings,
        icons: ThemedIcons,
        connections: Connections,
        status: StatusLine,
        waiting: DeferredWidgets,
        run_manager: SlideRunManager,
    ) -> None:
        super().__init__(dock)
        user_data().reader_changed.connect(self.reader_changed)
        self.dock, self.viewer, self.workspace = dock, viewer, Workspace.of(viewer)
        self.settings, self.icons, self.connections = settings, icons, connections
        self.status, self.waiting, self.run_manager = status, waiting, run_manager
        self.slide: ViewerSlide | None = None
        self.session: SlideSession | None = None  # of the displayed slide; None until its results were searched
        self.reading: Shared[bool] = Shared(False)  # whether the reading mode is on
        self.tool_buttons: list[QAbstractButton] = []  # of the tools on the canvas: checked while a tool is active

    @property
    def reader(self) -> str:
        """Name of the reader, as entered in any section; empty if not given."""
        return self.settings.reader

    def set_reader(self, name: str) -> None:
        """Store the name of the reader, and show it in all sections; that of the model is refused."""
        from napari_melanoma.depth.readings import MODEL_READER, RESERVED_READER_NAME  # a dock opens without it

        if name.lower() == MODEL_READER:
            self.reader_changed.emit(self.reader)
            self.status.show_until(RESERVED_READER_NAME, self.reader_changed)
        elif name != self.reader:
            self.settings.reader = name

    @property
    def window(self) -> QWidget:
        return self.dock.window()

    @property
    def main_window(self) -> QMainWindow | None:
        """The viewer's window, also if the dock floats; None until the dock is in a window."""
        return find_main_window(self.dock)

    @property
    def pixel_ratio(self) -> float:
        """Screen pixels along each logical pixel, which is the unit of napari's zoom and canvas size."""
        return float((self.main_window or self.window).devicePixelRatioF())

    @property
    def location(self) -> SlideResultLocation | None:
        """Location of the results of the whole slide; None until it was found."""
        return None if self.session is None else self.session.location

    def save_notes(self, location: SlideResultLocation) -> None:
        self.run_manager.save_notes(location)

    def store_pending(self) -> None:
        """Store what is being typed and pending changes, before the files of the slide are exported."""
        self.flush_requested.emit()
        self.run_manager.flush_notes()

    def follow_scale(self, location: SlideResultLocation) -> bool:
        """Use the stored scale of the displayed slide if another program has changed it; return whether it has."""
        self.run_manager.flush_notes()
        slide = self.slide
        if slide is None or location.notes_file.read_scale() == location.notes.pixel_size:
            return False
        self.run_manager.find_results(slide.info, slide.identity, location.notes)
        return True

    @property
    def result_location(self) -> SlideResultLocation | None:
        """Location of the shown results, which are those of the whole slide or of the view; None until it was found."""
        return None if self.session is None else self.session.result_location


MAX_WORD_LENGTH = 18  # letters that fit in half the width of a dock
SCALE_SOURCES = {"ruler": "from a ruler, set {}", "given": "set {}"}


def list_slide_facts(info: SlideInfo, *, is_scale_known: bool = True, scale_reader: str = "") -> list[str]:
    """Describe a slide: scale, magnification, size, kind and format.

    ``is_scale_known``: whether the scale is that of the file because the user has set no other one. ``scale_reader``:
    who set it; empty if unknown.
    """
    size = info.pixel_size if is_scale_known else None
    if size is None:
        scale = "no scale" if is_scale_known else ""
    else:
        origin = SCALE_SOURCES.get(size.source, "").format(f"by {scale_reader}" if scale_reader else "on this computer")
        scale = f"{format_scale(size.y_um, size.x_um)} µm/px" + (f" ({origin})" if origin else "")
    full = info.levels[0]
    facts = [scale, "" if info.magnification is None else f"{info.magnification:g}x"]
    if info.kind == "fluorescence":
        count = len(info.channels)
        facts.append(f"fluorescence, {count} channel{'' if count == 1 else 's'}")
    if size is not None:
        facts.append(f"{full.width * size.x_um / 1000:.3g} x {full.height * size.y_um / 1000:.3g} mm")
    facts.append(f"{full.width:,} x {full.height:,} px")
    return [fact for fact in (*facts, info.format) if fact]


def list_slide_warnings(info: SlideInfo) -> list[str]:
    """List the warnings about a slide, without those about its scale if the user has set the scale."""
    warnings = [remove_option_hints(warning) for warning in info.warnings if warning not in info.scale_warnings]
    scale_warnings = [remove_option_hints(warning) for warning in info.scale_warnings if warning != NOT_STATED]
    is_set = info.pixel_size is not None and info.pixel_size.source in SCALE_SOURCES
    return warnings if is_set else [*warnings, *scale_warnings]


def add_line_breaks(text: str) -> str:
    """Allow line breaks in long words, such as paths, so that they do not widen the dock."""
    parts = re.split(r"(?<=[._\-/\[\]:;,|=])", text)
    return "\u200b".join(
        part[start : start + MAX_WORD_LENGTH] for part in parts for start in range(0, len(part), MAX_WORD_LENGTH)
    )


def is_same_slide(path: Path, opened: Path | None) -> bool:
    """Return whether ``opened`` is the slide at ``path``, which may also be the folder of a DICOM slide's files."""
    return opened is not None and opened.absolute() in (path.absolute(), path.absolute() / opened.name)
