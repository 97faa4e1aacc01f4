"""Widgets to select the displayed slide and to show its metadata, and the opener of slides."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.samples.catalog import shorten_credit
from napari_melanoma.slides.notes import SlideNotes
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.ui.session.photograph_opener import LayerData, NoPhotograph, PhotographOpener
from napari_melanoma.ui.slide.context import (
    add_line_breaks,
    is_same_slide,
    list_slide_facts,
    list_slide_warnings,
)
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.photographs import METADATA_KEY, get_credit
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, list_slides, refresh_when_loaded, slide_display_name
from napari_melanoma.ui.viewer.view_memory import (
    fit_view,
    hide_other_pictures,
    restore_view,
)
from napari_melanoma.ui.widgets.dock_layout import FactsLine
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import (
    ThemedIcons,
    WrappedLabel,
    fill_column,
    named,
    row,
    tool_button,
)

if TYPE_CHECKING:
    from napari.utils.events import Event
    from napari.viewer import Viewer


# Properties that are not listed: sizes of levels and associated images, which are shown in other rows
REDUNDANT_PROPERTIES = ("openslide.level", "openslide.associated", "openslide.region")


class SlidePicker(QWidget):
    """Combo box of the open slides, with buttons such as previous, next, fit, scale, reading mode and close."""

    changed = Signal()
    scale_toggled = Signal(bool)
    close_requested = Signal()
    visibility_changed = Signal()

    def __init__(self, viewer: Viewer, icons: ThemedIcons, connections: Connections) -> None:
        super().__init__()
        self._viewer, self._connections = viewer, connections
        self.find_notes: Callable[[str], SlideNotes | None] = lambda identity: None  # None until they were searched
        self._current_slide: tuple[object, ...] | None = None  # what identifies the shown slide, see update_description
        next_key, previous_key = format_key("slide.next"), format_key("slide.previous")
        tip = f"Select a slide: it is shown, the others are hidden ({next_key}, {previous_key})"
        self.combo = named(NoWheelComboBox(), "slide", "Slide", tip)
        self.combo.elide_mode = Qt.TextElideMode.ElideMiddle  # names often differ only at their end
        self.combo.setProperty("holds_names", True)
        self._previous = tool_button("previous_slide", "Previous slide", f"Previous slide ({previous_key})")
        self._next = tool_button("next_slide", "Next slide", f"Next slide ({next_key})")
        self.scale_button = tool_button(
            "scale", "Scale", "Scale: set the pixel size by a number or a ruler", checkable=True
        )
        self.fit_button = tool_button("fit_slide", "Fit", f"Fit: show the whole slide ({format_key('fit')})")
        self.fit_button.clicked.connect(lambda: fit_view(viewer))
        icons.add(self.fit_button, "home")
        for button, icon in ((self._previous, "left_arrow"), (self._next, "right_arrow"), (self.scale_button, "line")):
            icons.add(button, icon)
        close_key = format_key("slide.close")
        tip = f"Reading mode: the slide fills the window ({format_key('slide.reading')})"
        self.reading_button = tool_button("reading_mode", "Reading mode", tip)
        icons.add(self.reading_button, "pop_out")
        self.close_button = tool_button(
            "close_slide", "Close", f"Close the slide; all edits are kept ({close_key})", "✕"
        )
        self.close_button.clicked.connect(lambda: self.close_requested.emit())
        self._facts = FactsLine("slide_about", "Description of the slide")
        self.warning_label = named(WrappedLabel(), "slide_warnings", "Warnings about the slide")
        self.warning_label.setProperty("fault", True)
        self.warning_label.setToolTip("")
        self.warning_label.hide()
        buttons = (self.fit_button, self.scale_button, self.reading_button, self.close_button)
        fill_column(
            self,
            row(self.combo, self._previous, self._next, *buttons, stretch=0),
            self._facts,
            spacing=2,
        )
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            connections.connect(emitter, self._on_layers)
        connections.connect(viewer.layers.selection.events.active, self._on_active)
        self.combo.activated.connect(self.show_selected)
        self._previous.clicked.connect(lambda: self.step(-1))
        self._next.clicked.connect(lambda: self.step(1))
        self.scale_button.toggled.connect(self.scale_toggled)

    @property
    def slide(self) -> ViewerSlide | None:
        """The selected slide; None if no slide is open."""
        return slide_layers.find_slide(self._viewer, self.combo.currentData())

    def step(self, direction: int) -> None:
        """Show the next (1) or previous (-1) slide, starting again at the other end of the list."""
        if self.combo.count():
            self.combo.setCurrentIndex((self.combo.currentIndex() + direction) % self.combo.count())
            self.show_selected()

    def select_slide(self, identity: str) -> None:
        index = self.combo.findData(identity)
        if index >= 0:
            self.combo.setCurrentIndex(index)
            self.show_selected()

    def select_file(self, path: Path) -> bool:
        """Show the slide of a file if it is open; return whether it is."""
        for index in range(self.combo.count()):
            identity = self.combo.itemData(index)
            if is_same_slide(path, Path(identity)):
                self.select_slide(identity)
                return True
        return False

    def refresh(self) -> None:
        """List the open slides, and select a new slide if there is one."""
        slides = slide_layers.list_slides(self._viewer)
        listed = [self.combo.itemData(index) for index in range(self.combo.count())]
        new = [slide.identity for slide in slides if slide.identity not in listed]
        selected = previous = self.combo.currentData()
        if [slide.identity for slide in slides] != listed:
            self.combo.clear()
            for slide in slides:
                self.combo.addItem(slide_display_name(slide.info), slide.identity)
                self.combo.setItemData(self.combo.count() - 1, slide.identity, Qt.ItemDataRole.ToolTipRole)
        identities = [slide.identity for slide in slides]
        selected = new[-1] if new else selected if selected in identities else next(reversed(identities), None)
        self.combo.setCurrentIndex(self.combo.findData(selected))
        for slide in slides:
            if slide.identity in new:
                for layer in slide.layers:
                    self._connections.connect(layer.events.visible, self._on_visible)
                refresh_when_loaded(slide.slide, slide.layers)
        if new or (previous is not None and previous not in identities):
            self.show_selected()
        self.update_description()

    def update_description(self) -> None:
        """Show description and warnings of the selected slide, and emit ``changed`` if it is another slide."""
        slide = self.slide
        info = None if slide is None else slide.info
        notes = None if slide is None else self.find_notes(slide.identity)
        is_known, reader = notes is not None, "" if notes is None else notes.scale_reader
        facts = [] if info is None else list_slide_facts(info, is_scale_known=is_known, scale_reader=reader)
        credit = "" if slide is None else get_credit(slide.layers[0])
        self._facts.set_facts((*facts, shorten_credit(credit)))
        if credit:
            self._facts.setToolTip("\n".join((*facts, credit)))
        warnings = list_slide_warnings(info) if info is not None and is_known else []
        self.warning_label.setText("\n".join(f"{warning[:1].upper()}{warning[1:]}" for warning in warnings))
        self.warning_label.setVisible(bool(warnings))
        several = self.combo.count() > 1
        self._previous.setVisible(several)
        self._next.setVisible(several)
        self.scale_button.setEnabled(slide is not None)
        self.fit_button.setEnabled(slide is not None)
        self.reading_button.setEnabled(slide is not None)
        self.close_button.setEnabled(slide is not None)
        # Also update for a slide that was closed and opened again, and when napari adds another channel.
        current = None if slide is None else (slide.identity, slide.slide, len(slide.layers))
        if current != self._current_slide:
            self._current_slide = current
            self.scale_button.setChecked(False)
            self.changed.emit()

    def _on_layers(self, event: Event) -> None:
        self.refresh()

    def _on_active(self, event: Event) -> None:
        index = self.combo.findData(slide_layers.find_slide_identity(self._viewer, event.value) or "")
        if index >= 0 and index != self.combo.currentIndex():
            self.combo.setCurrentIndex(index)
            slide = self.slide
            if slide is not None and not slide.is_shown:  # the dock is about to show its results
                self.show_selected()
            self.update_description()

    def _on_visible(self, event: Event) -> None:
        """Select the only visible slide if the selected slide was hidden."""
        slide = self.slide
        visible = [one for one in slide_layers.list_slides(self._viewer) if one.is_shown]
        if slide is not None and not slide.is_shown and len(visible) == 1:
            self.combo.setCurrentIndex(self.combo.findData(visible[0].identity))
            self.update_description()
        self.visibility_changed.emit()

    def show_selected(self, index: int = 0) -> None:
        slide = self.slide
        if slide is not None:
            slide_layers.show_only(self._viewer, slide)
            hide_other_pictures(self._viewer, tuple(slide.layers))
            restore_view(self._viewer, tuple(slide.layers))
        self.update_description()


class SlideMetadataLabel(WrappedLabel):
    """Metadata of the file in two columns; names, but does not show, images that may identify the patient."""

    def __init__(self) -> None:
        super().__init__()
        named(self, "slide_facts", "File metadata").setToolTip("")
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def show_info(self, info: SlideInfo | None) -> None:
        if info is None:
            self.setText("")
            return
        levels = ", ".join(
            f"1:{level.downsample:g}" + (" (computed)" if level.is_computed else "") for level in info.levels
        )
        properties = {
            name: value for name, value in info.properties.items() if not name.startswith(REDUNDANT_PROPERTIES)
        }
        rows = {"levels": levels, "channels": ", ".join(info.channels), **properties}
        if info.kind == "brightfield":
            rows.pop("channels")
        lines = (
            f"<tr><td style='padding-right: 8px'><i>{html.escape(add_line_breaks(name))}</i></td>"
            f"<td>{html.escape(add_line_breaks(str(value)))}</td></tr>"
            for name, value in rows.items()
        )
        names = html.escape(", ".join(info.associated))
        skipped = f"<p>Not opened because they may identify the patient: {names}.</p>" if names else ""
        self.setText(f"<table>{''.join(lines)}</table>{skipped}")


SUFFIXES = (
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".qptiff"),
    *(".czi", ".vsi", ".isyntax", ".i2syntax"),
    *(".tif", ".tiff", ".dcm", ".png", ".jpg", ".jpeg"),
)


class SlideOpener(PhotographOpener):
    """Open slides and the sample slide, one request after the other."""

    already_open = Signal(str)  # path of the last of the requested slides, if all were open

    def open(self, paths: Sequence[Path]) -> None:
        self._start(partial(_load_slides, list(paths)))

    def open_dropped(self, paths: Sequence[Path]) -> None:
        """Open dropped slides; ask whether images that may be photographs are slides."""
        self._start(partial(_load_dropped, list(paths)))

    def open_sample(self) -> None:
        self._start(_load_sample)

    def choose_files(self) -> None:
        dialog = QFileDialog(self.parent().window(), "Open slides")
        dialog.setObjectName("open_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        patterns = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        dialog.setNameFilters([f"Slides ({patterns})", "All files (*)"])
        dialog.filesSelected.connect(self._on_files)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_read(self, layers_and_errors: tuple[list[LayerData], list[Exception]]) -> None:
        """Add slides that are not open: the layers of a slide that is added twice would count as more channels."""
        layers, errors = layers_and_errors
        photographs = [error.path for error in errors if isinstance(error, NoPhotograph)]
        errors = [error for error in errors if not isinstance(error, NoPhotograph)]
        if photographs:
            self.ask_for_kind(photographs, "No marks of a slide are found in {}.", is_slide_likely=False)
        open_slides = {slide.identity for slide in list_slides(self._viewer)}
        paths = [str(attributes["metadata"][METADATA_KEY]["path"]) for _, attributes, _ in layers]
        new = [layer for layer, path in zip(layers, paths, strict=True) if path not in open_slides]
        super()._on_read((new, errors))
        if paths and not new:
            self.already_open.emit(paths[-1])


def _load_dropped(paths: list[Path], run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    """Read the layers of slides as ``_load_slides``; images that may be photographs are returned with the errors."""
    from napari_melanoma.io.formats import HEAD_BYTES, identify_format
    from napari_melanoma.slides.reading.detection import is_slide

    photographs: list[Path] = []
    for path in paths:
        if path.is_file() and not is_slide(path):
            with suppress(OSError), path.open("rb") as file:  # opening it as a slide reports the error
                photographs += [path] if identify_format(file.read(HEAD_BYTES)) else []
    layers, errors = _load_slides([path for path in paths if path not in photographs], run)
    return layers, [*errors, *map(NoPhotograph, photographs)]


def _load_slides(paths: list[Path], run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    """Read the layers of slides, also of those in folders; return them with the errors of files that failed."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.slides.reading.detection import find_slides
    from napari_melanoma.ui.viewer.slide_layers import read_slide_layers

    layers: list[tuple[Any, dict[str, Any], str]] = []
    errors: list[Exception] = []
    files: list[Path] = []
    for path in paths:
        try:
            files += find_slides([path]) if path.is_dir() else [path]
        except MelanomaError as error:
            errors.append(error)
    for path in run.track(list(dict.fromkeys(files)), "Opening"):  # a folder may be passed with a file in it
        try:
            layers += read_slide_layers(path)
        except MelanomaError as error:
            errors.append(error)
    return layers, errors


def _load_sample(run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    from napari_melanoma.samples.catalog import SLIDE, get_sample

    return _load_slides([get_sample(SLIDE).path], run)
