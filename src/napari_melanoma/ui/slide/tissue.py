"""The tissue of a slide: found by a method, shown as a layer that can be corrected, and honoured as it was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMessageBox, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import named, quiet_label, row

if TYPE_CHECKING:
    import numpy as np
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.slides.tissue import TissueMethod
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

CORRECTED_FILE, BACKUP_FILE = "tissue-corrected.png", "tissue-corrected-before.png"
METHOD_TIPS: dict[TissueMethod, str] = {
    "auto": "Above the noise of the glass",
    "otsu": "Otsu's threshold on the staining",
    "entropy": "Kapur's threshold of most entropy",
    "triangle": "The triangle threshold on the staining",
    "luminance": "Otsu's threshold on the brightness",
}
NOT_DETECTED = "Found when the slide is analysed. Find it now to see it, and correct it where it is wrong."
CORRECTED_TEXT = (
    "{:.0f} % of the slide, as you corrected it before: the analysis keeps to it, until you press Find anew."
)


@dataclass(frozen=True)
class DetectedTissue:
    """Tissue as it was found: mask bool (row, column), its share of the slide, what to look at, and by which method."""

    identity: str
    mask: NDArray[np.bool_]
    share: float
    warnings: tuple[str, ...]
    method: str


class TissueSection(QWidget):
    """Method, share, and the layer of the tissue."""

    edit_requested = Signal()
    method_changed = Signal()
    reset_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.method_combo = named(NoWheelComboBox(), "tissue_method", "Method", "How tissue is told from glass")
        self.method_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for place, name in enumerate(METHOD_TIPS):
            self.method_combo.addItem(name, name)
            self.method_combo.setItemData(place, METHOD_TIPS[name], 3)
        tip = "Show the tissue as a layer: paint or erase, and the analysis keeps to what you drew"
        self.edit_button = named(QPushButton("Find and edit"), "tissue_find", "Find the tissue", tip)
        tip = "Take the tissue as it is found, without what you corrected"
        self.reset_button = named(QPushButton("Find anew"), "tissue_anew", "Find the tissue anew", tip)
        self.reset_button.hide()
        self._summary_label = named(quiet_label(NOT_DETECTED), "tissue_words", "About the tissue")
        self._summary_label.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(self.method_combo, self.edit_button, stretch=0))
        layout.addWidget(self._summary_label)
        layout.addWidget(self.reset_button)
        self.method_combo.activated.connect(self.method_changed)
        self.edit_button.clicked.connect(self.edit_requested)
        self.reset_button.clicked.connect(self.reset_requested)

    @property
    def method(self) -> str:
        """How tissue is told from glass."""
        return str(self.method_combo.currentData())

    @method.setter
    def method(self, method: str) -> None:
        self.method_combo.setCurrentIndex(max(0, self.method_combo.findData(method)))

    def set_summary(self, summary: str) -> None:
        """Say how much tissue there is."""
        self._summary_label.setText(summary)


class TissueController(QObject):
    """Finds the tissue of slides, shows it, and knows whether somebody corrected it."""

    failed = Signal(object)
    started = Signal()
    finished = Signal()

    def __init__(self, viewer: Viewer, section: TissueSection) -> None:
        super().__init__(section)
        self._viewer, self._section = viewer, section
        self._detected: dict[str, DetectedTissue] = {}
        self._corrected_masks: dict[str, NDArray[np.bool_]] = {}  # corrected when a slide was analysed before
        self._slide: ViewerSlide | None = None
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_detected)
        self._latest.failed.connect(self._on_failed)
        section.edit_requested.connect(self._on_edit)
        section.method_changed.connect(self._on_method)
        section.reset_requested.connect(self._on_reset)

    @property
    def busy(self) -> bool:
        """Whether tissue is being found."""
        return self._latest.busy

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        found = None if slide is None else self._detected.get(slide.identity)
        if found is not None:
            self._section.method = found.method
        able = slide is not None and slide.info.kind == "brightfield"
        self._section.setEnabled(able)
        self._update_section()

    def clear(self, identity: str) -> None:
        """Forget the tissue of a slide that was closed, or that is read again."""
        self._detected.pop(identity, None)
        self._corrected_masks.pop(identity, None)

    def set_corrected_mask(self, mask: NDArray[np.bool_] | None) -> None:
        """Go on with the tissue that was corrected when the slide was analysed before.

        ``mask``: bool (row, column) of the whole slide; None where nobody corrected it.
        """
        slide = self._slide
        if slide is None or slide_layers.find_layer(self._viewer, slide, "tissue") is not None:
            return
        self.clear(slide.identity)
        if mask is not None:
            self._corrected_masks[slide.identity] = mask
        self._update_section()

    def get_corrected_mask(self, slide: ViewerSlide) -> NDArray[np.bool_] | None:
        """Give the tissue as it was corrected by hand.

        Returns bool (row, column) of the whole slide; None where nobody changed what was found.
        """
        import numpy as np

        layer, found = slide_layers.find_layer(self._viewer, slide, "tissue"), self._detected.get(slide.identity)
        if layer is None:
            return self._corrected_masks.get(slide.identity)
        drawn = np.asarray(layer.data) != 0
        return None if found is not None and np.array_equal(drawn, found.mask) else drawn

    def _on_edit(self) -> None:
        """Show the layer, found first where there is none."""
        slide = self._slide
        if slide is None:
            return
        layer = slide_layers.find_layer(self._viewer, slide, "tissue")
        if layer is not None:
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = "paint"
        elif slide.identity in self._corrected_masks:
            self._show_mask(slide, self._corrected_masks[slide.identity])
        else:
            self._detect(slide)

    def _on_reset(self) -> None:
        """Go back to what is found, after asking."""
        slide = self._slide
        if slide is not None and (self.get_corrected_mask(slide) is None or self._confirm_replacing()):
            self._detect(slide)

    def _on_method(self) -> None:
        """Find it by the other method where it is shown, after asking where somebody corrected it."""
        slide = self._slide
        if slide is None:
            return
        if (
            slide_layers.find_layer(self._viewer, slide, "tissue") is None
            and slide.identity not in self._corrected_masks
        ):
            return
        if self.get_corrected_mask(slide) is not None and not self._confirm_replacing():
            found = self._detected.get(slide.identity)
            self._section.method = "auto" if found is None else found.method
            return
        self._detect(slide)

    def _confirm_replacing(self) -> bool:
        box = create_question(
            self._section, "replace_tissue", "Find the tissue anew?", "What you drew is lost.", "Slide"
        )
        box.addButton("Find anew", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        return pressed is not None and pressed.objectName() == "replace"

    def _detect(self, slide: ViewerSlide) -> None:
        self.started.emit()
        work = partial(_detect_tissue, slide.slide, slide.identity, slide.info.pixel_size, self._section.method)
        self._latest.submit(slide.identity, lambda: work)

    def _on_detected(self, found: DetectedTissue) -> None:
        self.finished.emit()
        self._detected[found.identity] = found
        slide = self._slide
        if slide is None or slide.identity != found.identity:
            return
        self._corrected_masks.pop(found.identity, None)
        self._show_mask(slide, found.mask)
        self._update_section()

    def _show_mask(self, slide: ViewerSlide, mask: NDArray[np.bool_]) -> None:
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        def make() -> Labels:
            colours = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: "#2f9e6e"})
            return Labels(mask.astype("uint8"), opacity=0.35, colormap=colours)

        place = MapPlacement.from_thumbnail(mask.shape, slide.size, slide.info.pixel_size)
        layer = slide_layers.get_or_add_layer(self._viewer, slide, "tissue", make, place)
        layer.data = mask.astype("uint8")
        layer.visible = True
        layer.selected_label, layer.brush_size = 1, max(10, max(mask.shape) // 60)
        self._viewer.layers.selection.active = layer

    def _on_failed(self, error: Exception) -> None:
        self.finished.emit()
        self.failed.emit(error)

    def _update_section(self) -> None:
        slide = self._slide
        found = None if slide is None else self._detected.get(slide.identity)
        kept = None if slide is None else self._corrected_masks.get(slide.identity)
        self._section.reset_button.setVisible(kept is not None or found is not None)
        if slide is not None and slide.info.kind != "brightfield":
            self._section.set_summary("Tissue is found on brightfield slides only.")
        elif kept is not None:
            self._section.set_summary(CORRECTED_TEXT.format(100 * kept.mean()))
        elif found is None:
            self._section.set_summary(NOT_DETECTED)
        else:
            said = f"{100 * found.share:.0f} % of the slide. Paint or erase in the layer: the analysis keeps to it."
            self._section.set_summary("\n".join((said, *found.warnings)))


def write_corrected_mask(folder: Path, mask: NDArray[np.bool_]) -> Path:
    """Keep tissue that was drawn beside the results.

    ``mask``: bool (row, column) of the whole slide.
    """
    from napari_melanoma.io.results import write_mask

    write_mask(folder / CORRECTED_FILE, mask)
    return folder / CORRECTED_FILE


def read_corrected_mask(folders: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Read the tissue that was corrected last.

    Returns bool (row, column) of the whole slide; None where nobody corrected it.
    """
    from napari_melanoma.io.results import read_mask

    kept = [folder / CORRECTED_FILE for folder in folders if (folder / CORRECTED_FILE).is_file()]
    return read_mask(max(kept, key=lambda path: path.stat().st_mtime)) if kept else None


def back_up_corrected_masks(folders: Sequence[Path]) -> None:
    """Let the tissue be found again from now on; what was drawn stays in a file beside."""
    for folder in folders:
        if (folder / CORRECTED_FILE).is_file():
            (folder / CORRECTED_FILE).replace(folder / BACKUP_FILE)


def _detect_tissue(slide: TiledSlide, identity: str, size: Any, method: str, run: RunContext) -> DetectedTissue:  # noqa: ANN401
    """Find the tissue as the analysis would."""
    from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview

    overview = read_overview(slide)
    run.check()
    mask, warnings = tissue_of_overview(slide.info, overview, TissueConfig(method=method), size)
    return DetectedTissue(identity, mask, float(mask.mean()), warnings, method)
