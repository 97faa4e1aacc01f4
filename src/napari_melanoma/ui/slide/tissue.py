"""The Tissue section of the Slide dock: detection of tissue, manual correction in a layer, and the corrected files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QMessageBox, QPushButton, QSizePolicy, QWidget

from napari_melanoma.core.files import move
from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import fill_column, named, quiet_label, row

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
    "auto": "Threshold above the noise of the glass",
    "otsu": "Otsu's threshold on the stain density",
    "entropy": "Kapur's maximum-entropy threshold",
    "triangle": "Triangle threshold on the stain density",
    "luminance": "Otsu's threshold on the brightness",
}
NOT_DETECTED = "Tissue is detected during the analysis. Detect it now to review and correct it."
CORRECTED_TEXT = "{:.0f} % of the slide, corrected by you. The analysis uses this mask until you press Detect again."


@dataclass(frozen=True)
class DetectedTissue:
    """Detected tissue of a slide.

    ``mask``: bool (row, column) of the whole slide. ``share``: of the slide that is tissue, 0 to 1.
    """

    identity: str
    mask: NDArray[np.bool_]
    share: float
    warnings: tuple[str, ...]
    method: str


class TissueSection(QWidget):
    """The widgets: the method of detection, its buttons, and a summary.

    ``method_changed``: the user has selected another method.
    """

    edit_requested = Signal()
    method_changed = Signal(str)  # the previous method
    reset_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.method_combo = named(
            NoWheelComboBox(), "tissue_method", "Method", "How tissue is distinguished from glass"
        )
        self.method_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for index, name in enumerate(METHOD_TIPS):
            self.method_combo.addItem(name, name)
            self.method_combo.setItemData(index, METHOD_TIPS[name], Qt.ItemDataRole.ToolTipRole)
        tip = "Show the tissue as a layer. Paint or erase: the analysis uses the corrected mask"
        self.edit_button = named(QPushButton("Detect and edit"), "tissue_find", "Detect the tissue", tip)
        tip = "Detect the tissue again, without your corrections"
        self.reset_button = named(QPushButton("Detect again"), "tissue_anew", "Detect the tissue again", tip)
        self.reset_button.hide()
        self._summary_label = named(quiet_label(NOT_DETECTED), "tissue_summary", "Summary of the tissue")
        self._summary_label.setToolTip("")
        fill_column(self, row(self.method_combo, self.edit_button, stretch=0), self._summary_label, self.reset_button)
        self._previous_method = self.method
        self.method_combo.activated.connect(self._on_method)
        self.edit_button.clicked.connect(self.edit_requested)
        self.reset_button.clicked.connect(self.reset_requested)

    @property
    def method(self) -> str:
        """The selected method of detection."""
        return str(self.method_combo.currentData())

    @method.setter
    def method(self, method: str) -> None:
        self.method_combo.setCurrentIndex(max(0, self.method_combo.findData(method)))
        self._previous_method = self.method

    def _on_method(self) -> None:
        previous, self._previous_method = self._previous_method, self.method
        self.method_changed.emit(previous)

    def set_summary(self, summary: str) -> None:
        """Show a summary of the tissue."""
        self._summary_label.setText(summary)


class TissueController(QObject):
    """Detect the tissue of slides, show it, and track manual corrections."""

    failed = Signal(object)  # the exception
    started = Signal()
    finished = Signal(str)  # a message; empty after an error

    def __init__(self, viewer: Viewer, section: TissueSection) -> None:
        super().__init__(section)
        self._viewer, self._section = viewer, section
        self._detected: dict[str, DetectedTissue] = {}
        self._corrected_masks: dict[str, NDArray[np.bool_]] = {}  # of previous analyses, by slide
        self._previous_methods: dict[str, str] = {}  # by slide: methods that cancel may select again
        self._slide: ViewerSlide | None = None
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_detected)
        self._latest.failed.connect(self._on_failed)
        section.edit_requested.connect(self._on_edit)
        section.method_changed.connect(self._on_method)
        section.reset_requested.connect(self._on_reset)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._slide = slide
        detected = None if slide is None else self._detected.get(slide.identity)
        if detected is not None:
            self._section.method = detected.method
        self._section.setEnabled(slide is not None and slide.info.kind == "brightfield")
        self._update_section()

    def set_corrected_mask(self, mask: NDArray[np.bool_] | None) -> None:
        """Use the corrected tissue of a previous analysis, unless the tissue layer exists.

        ``mask``: bool (row, column) of the whole slide; None if it was not corrected.
        """
        slide = self._slide
        if slide is None or slide_layers.find_layer(self._viewer, slide, "tissue") is not None:
            return
        self._detected.pop(slide.identity, None)
        self._corrected_masks.pop(slide.identity, None)
        if mask is not None:
            self._corrected_masks[slide.identity] = mask
        self._update_section()

    def get_corrected_mask(self, slide: ViewerSlide) -> NDArray[np.bool_] | None:
        """Return the corrected tissue, bool (row, column) of the whole slide; None if it was not corrected."""
        import numpy as np

        layer, detected = slide_layers.find_layer(self._viewer, slide, "tissue"), self._detected.get(slide.identity)
        if layer is None:
            return self._corrected_masks.get(slide.identity)
        mask = np.asarray(layer.data) != 0
        return None if detected is not None and np.array_equal(mask, detected.mask) else mask

    def cancel(self) -> None:
        """Cancel the detection; previously detected tissue remains, and the previous method is selected again."""
        self._latest.cancel()
        methods, self._previous_methods = self._previous_methods, {}
        if self._slide is not None and self._slide.identity in methods:
            self._restore_method(self._slide, methods[self._slide.identity])
        self.finished.emit("Canceled.")

    def _on_edit(self) -> None:
        """Show the tissue layer; detect the tissue first if necessary."""
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
        """Detect the tissue again, after confirmation if it was corrected."""
        slide = self._slide
        if slide is not None and (self.get_corrected_mask(slide) is None or self._confirm_replacing()):
            self._detect(slide)

    def _on_method(self, previous: str) -> None:
        """Detect the tissue with the new method if tissue is shown, after confirmation if it was corrected."""
        slide = self._slide
        if slide is None:
            return
        if (
            slide_layers.find_layer(self._viewer, slide, "tissue") is None
            and slide.identity not in self._corrected_masks
        ):
            return
        if self.get_corrected_mask(slide) is not None and not self._confirm_replacing():
            self._restore_method(slide, previous)
            return
        self._previous_methods.setdefault(slide.identity, previous)
        self._detect(slide)

    def _restore_method(self, slide: ViewerSlide, previous: str) -> None:
        """Select the method of the shown tissue, or ``previous`` if that tissue comes from an earlier analysis."""
        detected = self._detected.get(slide.identity)
        self._section.method = previous if detected is None else detected.method

    def _confirm_replacing(self) -> bool:
        """Ask whether the corrections may be discarded; return the answer."""
        box = create_question(
            self._section, "replace_tissue", "Detect the tissue again?", "Your corrections will be lost.", "Slide"
        )
        box.addButton("Detect again", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        return pressed is not None and pressed.objectName() == "replace"

    def _detect(self, slide: ViewerSlide) -> None:
        self.started.emit()
        work = partial(_detect_tissue, slide.slide, slide.identity, slide.info.pixel_size, self._section.method)
        self._latest.submit(slide.identity, lambda: work)

    def _on_detected(self, detected: DetectedTissue) -> None:
        """Show the detected tissue; if another slide is displayed by now, only update an existing layer."""
        self.finished.emit("Tissue detected.")
        self._detected[detected.identity] = detected
        self._corrected_masks.pop(detected.identity, None)
        slide = self._slide
        if slide is not None and slide.identity == detected.identity:
            self._show_mask(slide, detected.mask)
            self._update_section()
            return
        other = next((one for one in slide_layers.list_slides(self._viewer) if one.identity == detected.identity), None)
        layer = None if other is None else slide_layers.find_layer(self._viewer, other, "tissue")
        if layer is not None:
            layer.data = detected.mask.astype("uint8")

    def _show_mask(self, slide: ViewerSlide, mask: NDArray[np.bool_]) -> None:
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        def create_layer() -> Labels:
            colormap = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: "#2f9e6e"})
            return Labels(mask.astype("uint8"), opacity=0.35, colormap=colormap)

        placement = MapPlacement.from_thumbnail(mask.shape, slide.size, slide.info.pixel_size)
        layer = slide_layers.get_or_add_layer(self._viewer, slide, "tissue", create_layer, placement)
        layer.data = mask.astype("uint8")
        layer.visible = True
        layer.selected_label, layer.brush_size = 1, max(10, max(mask.shape) // 60)
        self._viewer.layers.selection.active = layer

    def _on_failed(self, error: Exception) -> None:
        self.finished.emit("")
        self.failed.emit(error)

    def _update_section(self) -> None:
        slide = self._slide
        detected = None if slide is None else self._detected.get(slide.identity)
        corrected = None if slide is None else self._corrected_masks.get(slide.identity)
        self._section.reset_button.setVisible(corrected is not None or detected is not None)
        if slide is not None and slide.info.kind != "brightfield":
            self._section.set_summary("Tissue is detected on brightfield slides only.")
        elif corrected is not None:
            self._section.set_summary(CORRECTED_TEXT.format(100 * corrected.mean()))
        elif detected is None:
            self._section.set_summary(NOT_DETECTED)
        else:
            summary = f"{100 * detected.share:.0f} % of the slide. Paint or erase in the layer to correct it."
            self._section.set_summary("\n".join((summary, *detected.warnings)))


def write_corrected_mask(folder: Path, mask: NDArray[np.bool_]) -> Path:
    """Save corrected tissue, bool (row, column) of the whole slide, next to the results."""
    from napari_melanoma.io.results import write_mask

    write_mask(folder / CORRECTED_FILE, mask)
    return folder / CORRECTED_FILE


def read_corrected_mask(folders: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Read the latest corrected tissue in some folders, as ``write_corrected_mask`` saves it; None if there is none."""
    from napari_melanoma.io.results import read_mask

    paths = [folder / CORRECTED_FILE for folder in folders if (folder / CORRECTED_FILE).is_file()]
    return read_mask(max(paths, key=lambda path: path.stat().st_mtime)) if paths else None


def back_up_corrected_masks(folders: Sequence[Path]) -> None:
    """Back up the corrected tissue in some folders, so that the next analysis detects the tissue again."""
    for folder in folders:
        if (folder / CORRECTED_FILE).is_file():
            move(folder / CORRECTED_FILE, folder / BACKUP_FILE)


def _detect_tissue(slide: TiledSlide, identity: str, size: Any, method: str, run: RunContext) -> DetectedTissue:  # noqa: ANN401
    """Detect the tissue as the analysis does. ``size``: PixelSize of the slide, None if unknown."""
    from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview

    overview = read_overview(slide)
    run.check()
    mask, warnings = tissue_of_overview(slide.info, overview, TissueConfig(method=method), size)
    return DetectedTissue(identity, mask, float(mask.mean()), warnings, method)
