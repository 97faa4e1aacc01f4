"""Which slide the Slide dock is about, and opening slides."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QVBoxLayout, QWidget

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.slides.reading.slide import NOT_STATED
from napari_melanoma.ui.slide.showing import keep_sharp
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.photographs import KEY
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.viewer.slide_layers import open_slides
from napari_melanoma.ui.viewer.view_memory import LayerData, Opener, change_view, fit, hide_other_kind
from napari_melanoma.ui.widgets.look import ThemedIcons, Words, named, quiet, row, tool
from napari_melanoma.ui.widgets.status_line import without_options

if TYPE_CHECKING:
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide
    from napari_melanoma.ui.widgets.look import Connections

LONGEST = 18  # letters of a word that fit in half a dock
GIVEN = {"ruler": "from your ruler", "given": "given by you"}
REPEATED = ("openslide.level", "openslide.associated", "openslide.region")  # sizes of what is named anyway
LOOKED_AT = "Fluorescence is looked at, not analysed: the models learnt from brightfield stains."
NO_SCALE = "The size of a pixel is not known: nothing can be measured or analyzed. Set it with Scale, the ruler above."


class SlidePicker(QWidget):
    """A combo box of the viewer's slides, with next, previous and the ruler beside it."""

    changed = Signal()
    scale = Signal(bool)

    def __init__(self, viewer: Viewer, icons: ThemedIcons, connections: Connections) -> None:
        super().__init__()
        self._viewer, self._connections = viewer, connections
        self._shown: tuple[object, ...] | None = None
        following, before = shown_key("slide.next"), shown_key("slide.previous")
        tip = f"Which slide; picking one shows it and hides the others ({following}, {before})"
        self.combo = named(QComboBox(), "slide", "Slide", tip)
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._previous = tool("previous_slide", "Previous slide", f"Previous slide ({before})")
        self._next = tool("next_slide", "Next slide", f"Next slide ({following})")
        self.ruler = tool("scale", "Scale", "Scale: set the size of a pixel by a number or a ruler", checkable=True)
        self.fit = tool("fit_slide", "Fit", f"Fit: bring the whole slide into view ({shown_key('fit')})")
        self.fit.clicked.connect(lambda: fit(viewer))
        icons.add(self.fit, "home")
        for button, icon in ((self._previous, "left_arrow"), (self._next, "right_arrow"), (self.ruler, "line")):
            icons.add(button, icon)
        self._about = named(quiet(), "slide_about", "About the slide")
        self._about.setToolTip("")
        self.warnings = named(Words(), "slide_warnings", "What to know before trusting a number")
        self.warnings.setProperty("fault", True)
        self.warnings.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(row(self.combo, self._previous, self._next, self.fit, self.ruler, stretch=0))
        layout.addWidget(self._about)
        layout.addWidget(self.warnings)
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            connections.connect(emitter, self._on_layers)
        connections.connect(viewer.layers.selection.events.active, self._on_active)
        self.combo.activated.connect(self._on_picked)
        self._previous.clicked.connect(lambda: self.step(-1))
        self._next.clicked.connect(lambda: self.step(1))
        self.ruler.toggled.connect(self.scale)

    @property
    def slide(self) -> OpenSlide | None:
        """The slide, or None where there is none."""
        wanted = self.combo.currentData()
        return next((one for one in slide_layers.open_slides(self._viewer) if one.identity == wanted), None)

    def step(self, by: int) -> None:
        """Go to the next or previous slide."""
        if self.combo.count():
            self.combo.setCurrentIndex((self.combo.currentIndex() + by) % self.combo.count())
            self._on_picked()

    def pick(self, identity: str) -> None:
        """Show a slide that is open."""
        index = self.combo.findData(identity)
        if index >= 0:
            self.combo.setCurrentIndex(index)
            self._on_picked()

    def refresh(self) -> None:
        """List the slides as they are now; the one that is picked stays so, unless another one is new."""
        slides = slide_layers.open_slides(self._viewer)
        known = [self.combo.itemData(index) for index in range(self.combo.count())]
        fresh = [slide.identity for slide in slides if slide.identity not in known]
        kept = before = self.combo.currentData()
        if [slide.identity for slide in slides] != known:
            self.combo.clear()
            for slide in slides:
                self.combo.addItem(said_name(slide.info), slide.identity)
                self.combo.setItemData(self.combo.count() - 1, slide.identity, Qt.ItemDataRole.ToolTipRole)
        left = [slide.identity for slide in slides]
        kept = fresh[-1] if fresh else kept if kept in left else next(reversed(left), None)
        self.combo.setCurrentIndex(self.combo.findData(kept))
        for slide in slides:
            if slide.identity in fresh:
                self._connections.connect(slide.layers[0].events.visible, self._on_visible)
                keep_sharp(slide.slide, slide.layers)
        if fresh or (before is not None and before not in left):
            self._on_picked()
        self.tell()

    def tell(self) -> None:
        """Say what is known of the slide, as it is now."""
        slide = self.slide
        info = None if slide is None else slide.info
        self._about.setText("" if info is None else said_facts(info))
        warnings = [] if info is None else said_warnings(info)
        self.warnings.setText("\n".join(f"{warning[:1].upper()}{warning[1:]}" for warning in warnings))
        self.warnings.setVisible(bool(warnings))
        several = self.combo.count() > 1
        self._previous.setVisible(several)
        self._next.setVisible(several)
        self.ruler.setEnabled(slide is not None)
        self.fit.setEnabled(slide is not None)
        # A slide that was closed and opened again is another one: its layers are.
        now = None if slide is None else (slide.identity, slide.slide)
        if now != self._shown:
            self._shown = now
            self.ruler.setChecked(False)
            self.changed.emit()

    def _on_layers(self, event: Event) -> None:
        self.refresh()

    def _on_active(self, event: Event) -> None:
        """Go along when the user selects a layer of another slide."""
        index = self.combo.findData(slide_layers.slide_of(self._viewer, event.value) or "")
        if index >= 0 and index != self.combo.currentIndex():
            self.combo.setCurrentIndex(index)
            slide = self.slide
            if slide is not None and not slide.layers[0].visible:  # else numbers of one would stand beside another
                self._on_picked()
            self.tell()

    def _on_visible(self, event: Event) -> None:
        """Go to the slide that is in view where the one that is picked was hidden."""
        slide = self.slide
        if slide is None or slide.layers[0].visible:
            return
        seen = [one for one in slide_layers.open_slides(self._viewer) if one.layers[0].visible]
        if len(seen) == 1:
            self.combo.setCurrentIndex(self.combo.findData(seen[0].identity))
            self.tell()

    def _on_picked(self, index: int = 0) -> None:
        slide = self.slide
        if slide is not None:
            slide_layers.show_only(self._viewer, slide)
            hide_other_kind(self._viewer, tuple(slide.layers))
            change_view(self._viewer, tuple(slide.layers))
        self.tell()


class SlideFacts(Words):
    """What the file says of the slide, in two columns; what could point at a patient is not among it."""

    def __init__(self) -> None:
        super().__init__()
        named(self, "slide_facts", "What the file says").setToolTip("")
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def show_info(self, info: SlideInfo | None) -> None:
        """Show another slide."""
        if info is None:
            self.setText("")
            return
        levels = ", ".join(f"1:{level.downsample:g}" + (" (made here)" if level.built else "") for level in info.levels)
        said = {name: value for name, value in info.properties.items() if not name.startswith(REPEATED)}
        rows = {"levels": levels, "channels": ", ".join(info.channels), **said}
        if info.kind == "brightfield":
            rows.pop("channels")
        lines = (
            f"<tr><td style='padding-right: 8px'><i>{html.escape(_wrapping(name))}</i></td>"
            f"<td>{html.escape(_wrapping(str(value)))}</td></tr>"
            for name, value in rows.items()
        )
        names = html.escape(", ".join(info.associated))
        beside = f"<p>Not opened, for it may name the patient: {names}.</p>" if names else ""
        self.setText(f"<table>{''.join(lines)}</table>{beside}")


def said_name(info: SlideInfo) -> str:
    """Name a slide: its file, or the folder of a slide whose files have numbers for names."""
    return info.path.name if info.path.name.startswith(info.name) else info.name


def said_facts(info: SlideInfo) -> str:
    """Say what a slide is, in one or two lines.

    Scale, magnification, format, size.
    """
    size = info.pixel_size
    if size is None:
        scale = "no scale"
    else:
        same = abs(size.y_um / size.x_um - 1) < 0.005
        number = f"{size.x_um:.4g}" if same else f"{size.x_um:.4g} x {size.y_um:.4g}"
        scale = f"{number} µm/px" + (f" ({GIVEN[size.source]})" if size.source in GIVEN else "")
    full = info.levels[0]
    facts = [scale, "" if info.magnification is None else f"{info.magnification:g}x", info.format]
    if info.kind == "fluorescence":
        count = len(info.channels)
        facts.append(f"fluorescence, {count} channel{'' if count == 1 else 's'}")
    extent = f"{full.width:,} x {full.height:,} px"
    if size is not None:
        extent += f", {full.width * size.x_um / 1000:.3g} x {full.height * size.y_um / 1000:.3g} mm"
    return f"{'  ·  '.join(fact for fact in facts if fact)}\n{extent}"


def said_warnings(info: SlideInfo) -> list[str]:
    """Say what a user should know before trusting a number; what the user has set is no longer missing.

    In their order.
    """
    others = [without_options(warning) for warning in info.warnings if warning not in info.doubts]
    doubts = [without_options(doubt) for doubt in info.doubts if doubt != NOT_STATED]
    kind = [LOOKED_AT] if info.kind == "fluorescence" else []
    if info.pixel_size is None:
        return [*others, *kind, NO_SCALE, *doubts]
    return [*others, *kind, *(() if info.pixel_size.source in GIVEN else doubts)]


def _wrapping(text: str) -> str:
    """Let a long word without a blank wrap where its parts end, so that it does not widen the dock."""
    parts = re.split(r"(?<=[._\-/\[\]:;,|=])", text)
    return "\u200b".join(part[at : at + LONGEST] for part in parts for at in range(0, len(part), LONGEST))


SUFFIXES = (
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".qptiff"),
    *(".tif", ".tiff", ".dcm", ".png", ".jpg", ".jpeg"),
)


class SlideOpener(Opener):
    """Opens slides and the sample slide, one wish after the other."""

    known = Signal(str)

    def open(self, paths: Sequence[Path]) -> None:
        """Open slides."""
        self._start(partial(_read, list(paths)))

    def sample(self) -> None:
        """Open a synthetic slide, which is drawn the first time."""
        self._start(_sample)

    def ask(self) -> None:
        """Let the user choose files."""
        dialog = QFileDialog(self.parent().window(), "Open slides")
        dialog.setObjectName("open_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        patterns = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        dialog.setNameFilters([f"Slides ({patterns})", "All files (*)"])
        dialog.filesSelected.connect(self._on_files)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_read(self, found: tuple[list[LayerData], list[Exception]]) -> None:
        """Add what is not open yet: the layers of a slide that is added twice would count as its channels."""
        layers, errors = found
        there = {slide.identity for slide in open_slides(self._viewer)}
        paths = [str(attributes["metadata"][KEY]["path"]) for _, attributes, _ in layers]
        new = [layer for layer, path in zip(layers, paths, strict=True) if path not in there]
        super()._on_read((new, errors))
        if paths and not new:
            self.known.emit(paths[-1])


def _read(paths: list[Path], run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    """Open what can be opened; what cannot is said, and the others are opened."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.slides.reading.opening import find_slides, is_slide
    from napari_melanoma.ui.viewer.slide_layers import slide_layers_of

    layers: list[tuple[Any, dict[str, Any], str]] = []
    errors: list[Exception] = []
    named: list[Path] = []
    for path in paths:
        try:
            named += find_slides([path]) if path.is_dir() and not is_slide(path) else [path]
        except MelanomaError as error:
            errors.append(error)
    for path in run.track(named, "Opening"):
        try:
            layers += slide_layers_of(path)
        except MelanomaError as error:
            errors.append(error)
    return layers, errors


def _sample(run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    from napari_melanoma.ui.sample_data import slide_sample

    run.report(Progress(0, None, "Drawing the sample slide, once"))
    return slide_sample(), []
